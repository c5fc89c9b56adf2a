//! The page `docs/nat-grid.md`: what was measured, beside what theory says. It is also where results are kept: a run
//! replaces the cells that it measures and leaves the others alone. Not here: measuring (`meeting`).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::kinds::{Kind, Neighbours, can_be_direct};
use super::meeting::Meeting;

/// Meetings of the kinds with these indices, the greater one first.
pub type Grid = BTreeMap<(usize, usize), Vec<Meeting>>;

/// What the page says of one pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// `5/5 udp 0.72 s`, `relay 5/5` or nothing.
    pub text: String,
    /// Measured with the engine as it is now.
    pub fresh: bool,
}

impl Cell {
    /// What these meetings give.
    pub fn of(meetings: &[Meeting], possible: bool) -> Self {
        Self { text: cell(meetings, possible), fresh: true }
    }

    fn parse(text: &str) -> Self {
        let text = text.trim();
        let bold = text.strip_prefix("**").and_then(|text| text.strip_suffix("**"));
        Self { text: bold.unwrap_or(text).to_owned(), fresh: bold.is_some() }
    }

    fn shown(&self) -> String {
        if self.fresh { format!("**{}**", self.text) } else { self.text.clone() }
    }

    /// In how many rounds the pair was direct, and of how many.
    fn met(&self) -> Option<(usize, usize)> {
        let (met, of) = self.text.split_once(' ').map_or(&*self.text, |(first, _)| first).split_once('/')?;
        Some((met.parse().ok()?, of.parse().ok()?))
    }

    fn was_direct(&self) -> bool {
        self.met().is_some_and(|(met, _)| met > 0)
    }

    fn was_always_direct(&self) -> bool {
        self.met().is_some_and(|(met, of)| met == of)
    }
}

/// All that the page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// By row and column, counted from 0; the row is never the smaller one.
    pub cells: BTreeMap<(usize, usize), Cell>,
    /// By the name of the pair.
    pub near: BTreeMap<String, Cell>,
}

impl Page {
    /// Reads a page that [`render`](Self::render) has written, of any age.
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines() {
            let Some(row) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else { continue };
            let mut cells = row.split(" | ");
            let name = cells.next().unwrap_or_default();
            let number = name.split_once(' ').and_then(|(number, _)| number.parse::<usize>().ok());
            match number {
                Some(number) if number > 0 => {
                    let cells = cells.enumerate().take(number);
                    page.cells.extend(cells.map(|(column, text)| ((number - 1, column), Cell::parse(text))));
                }
                _ if !name.is_empty() && name != "pair" => {
                    page.near.insert(name.to_owned(), Cell::parse(cells.next().unwrap_or("")));
                }
                _ => {}
            }
        }
        page
    }

    /// The page's text.
    pub fn render(&self, kinds: &[Kind], neighbours: &[Neighbours]) -> String {
        let mut text = String::from(
            "# The grid of NATs\n\n\
             Two nodes know a relay and each other's peer id, nothing else. Do they meet directly? Each cell says in how\n\
             many of the rounds they did, over what, and the median time from dialling to the direct link. Where they did\n\
             not, the relay carries the bytes: no pair was ever without a connection. `relay` stands where theory says\n\
             that no direct way exists, `0/…` where one exists that the nodes did not find. Written by\n\
             `cargo test --workspace --test nat_grid -- --ignored the_whole_grid` in network namespaces with real NATs and\n\
             25 ms of delay on each site's line; [the NAT lab](nat-lab.md) says what each type does.\n\n\
             Each pair is written down here when its rounds are over, so a run that is cut goes on where it was: cells in\n\
             bold were measured with the engine as it is now, and are left alone; `DIG_NAT_AGAIN=1` makes all cells plain\n\
             first, `DIG_NAT_PAIRS=2x2,11x5` measures these rows and columns only, `DIG_NAT_ROUNDS` says how often.\n\
             160 of the pairs took 17 minutes on two busy cores.\n\
             Times are those of a debug build on a machine that does other work, too; plain cells are from an engine that\n\
             did not yet open the way for the other side as soon as it knows where that is.\n\n|  |",
        );
        let put = |text: &mut String, cell: &str| write!(text, " {cell} |").expect("a string");
        for number in 1..=kinds.len() {
            put(&mut text, &number.to_string());
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(kinds.len()));
        let (mut short, mut beyond) = (Vec::new(), Vec::new());
        let (mut possible, mut all, mut fresh) = (0, 0, 0);
        for (row, kind) in kinds.iter().enumerate() {
            write!(text, "\n| {} {} |", row + 1, kind.name).expect("a string");
            for (column, other) in kinds.iter().enumerate() {
                let Some(cell) = self.cells.get(&(row, column)).filter(|_| column <= row) else {
                    put(&mut text, "");
                    continue;
                };
                let direct = can_be_direct(kind, other);
                all += 1;
                fresh += usize::from(cell.fresh);
                possible += usize::from(direct);
                if !direct && cell.was_direct() {
                    beyond.push(format!("{} and {}", kind.name, other.name));
                }
                if direct && !cell.was_always_direct() {
                    short.push(format!("{} and {}", kind.name, other.name));
                }
                put(&mut text, &cell.shown());
            }
        }
        text.push_str(
            "\n\nNeighbours, whose addresses tell them that they share something:\n\n| pair | met |\n|---|---|\n",
        );
        for pair in neighbours {
            let cell = self.near.get(pair.name).cloned().unwrap_or_default();
            all += 1;
            fresh += usize::from(cell.fresh);
            possible += usize::from(pair.direct);
            if pair.direct && !cell.was_always_direct() {
                short.push(pair.name.to_owned());
            }
            writeln!(text, "| {} | {} |", pair.name, cell.shown()).expect("a string");
        }
        let met = possible - short.len();
        write!(text, "\nOf {all} pairs {possible} can be direct by theory, and {met} were in every round; {fresh} pairs are in bold.")
            .expect("a string");
        let mut list = |title: &str, names: Vec<String>| {
            if !names.is_empty() {
                write!(text, "\n\n{title}:\n\n- {}", names.join("\n- ")).expect("a string");
            }
        };
        list("Short of theory", short);
        list("Direct although theory promises nothing", beyond);
        text + "\n"
    }
}

/// What one cell of the grid says.
pub fn cell(meetings: &[Meeting], possible: bool) -> String {
    let mut direct: Vec<&Meeting> = meetings.iter().filter(|meeting| meeting.by != "relay").collect();
    direct.sort_by_key(|meeting| meeting.took);
    let Some(median) = direct.get(direct.len() / 2) else {
        let rounds = meetings.len();
        return if possible { format!("0/{rounds}") } else { format!("relay {rounds}/{rounds}") };
    };
    let mut ways: Vec<&str> = direct.iter().map(|meeting| meeting.by).collect();
    ways.sort_unstable();
    ways.dedup();
    let seconds = median.took.as_secs_f64();
    format!("{}/{} {} {seconds:.2} s", direct.len(), meetings.len(), ways.join("+"))
}
