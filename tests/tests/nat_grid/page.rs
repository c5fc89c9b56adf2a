//! The page `docs/nat-grid.md`: what was measured, beside what theory says. Not here: measuring (`meeting`).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::kinds::{Kind, Neighbours, can_be_direct};
use super::meeting::Meeting;

/// Meetings of the kinds with these indices, the greater one first.
pub type Grid = BTreeMap<(usize, usize), Vec<Meeting>>;

pub fn render(kinds: &[Kind], grid: &Grid, neighbours: &[(Neighbours, Vec<Meeting>)]) -> String {
    let mut text = String::from(
        "# The grid of NATs\n\n\
         Two nodes know a relay and each other's peer id, nothing else. Do they meet directly? Each cell says in how\n\
         many of the rounds they did, over what, and the median time from dialling to the direct link. Where they did\n\
         not, the relay carries the bytes: no pair was ever without a connection. `relay` alone stands where theory\n\
         says that no direct way exists, `0/…` where one exists that the nodes did not find. Written by\n\
         `cargo test --workspace --test nat_grid -- --ignored` in network namespaces with real NATs and 25 ms of delay\n\
         on each site's line; [the NAT lab](nat-lab.md) says what each type does.\n\n|  |",
    );
    let put = |text: &mut String, cell: String| write!(text, " {cell} |").expect("a string");
    for number in 1..=kinds.len() {
        put(&mut text, number.to_string());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(kinds.len()));
    let (mut short, mut beyond) = (Vec::new(), Vec::new());
    let (mut possible, mut all) = (0, 0);
    for (row, kind) in kinds.iter().enumerate() {
        write!(text, "\n| {} {} |", row + 1, kind.name).expect("a string");
        for (column, other) in kinds.iter().enumerate() {
            let Some(meetings) = grid.get(&(row, column)) else {
                put(&mut text, String::new());
                continue;
            };
            let direct = can_be_direct(kind, other);
            all += 1;
            possible += usize::from(direct);
            if !direct && meetings.iter().any(|meeting| meeting.by != "relay") {
                beyond.push(format!("{} and {}", kind.name, other.name));
            }
            if direct && !always(meetings) {
                short.push(format!("{} and {}", kind.name, other.name));
            }
            put(&mut text, cell(meetings, direct));
        }
    }
    text.push_str(
        "\n\nNeighbours, whose addresses tell them that they share something:\n\n| pair | met |\n|---|---|\n",
    );
    for (pair, meetings) in neighbours {
        all += 1;
        possible += usize::from(pair.direct);
        if pair.direct && !always(meetings) {
            short.push(pair.name.to_owned());
        }
        writeln!(text, "| {} | {} |", pair.name, cell(meetings, pair.direct)).expect("a string");
    }
    write!(
        text,
        "\nOf {all} pairs {possible} can be direct by theory, and {} were in every round.",
        possible - short.len()
    )
    .expect("a string");
    if short.is_empty() {
        text.push('\n');
    } else {
        text.push_str(" Short of theory:\n\n");
        for name in short {
            writeln!(text, "- {name}").expect("a string");
        }
    }
    if !beyond.is_empty() {
        text.push_str("\nDirect although theory promises nothing:\n\n");
        for name in beyond {
            writeln!(text, "- {name}").expect("a string");
        }
    }
    text
}

fn always(meetings: &[Meeting]) -> bool {
    meetings.iter().all(|meeting| meeting.by != "relay")
}

/// What one cell of the grid says.
pub fn cell(meetings: &[Meeting], possible: bool) -> String {
    let mut direct: Vec<&Meeting> = meetings.iter().filter(|meeting| meeting.by != "relay").collect();
    direct.sort_by_key(|meeting| meeting.took);
    let Some(median) = direct.get(direct.len() / 2) else {
        return if possible { format!("0/{}", meetings.len()) } else { "relay".to_owned() };
    };
    let mut ways: Vec<&str> = direct.iter().map(|meeting| meeting.by).collect();
    ways.sort_unstable();
    ways.dedup();
    let seconds = median.took.as_secs_f64();
    format!("{}/{} {} {seconds:.2} s", direct.len(), meetings.len(), ways.join("+"))
}
