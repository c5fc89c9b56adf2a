//! Every pair of NAT types: do two nodes that know only a relay meet directly, how, and how fast? The whole grid takes
//! many minutes and writes `docs/nat-grid.md`; run it with
//! `cargo test --workspace --test nat_grid -- --ignored --nocapture`. A part of it runs with all other tests.
#![cfg(target_os = "linux")]

mod kinds;
mod meeting;
mod page;

use std::time::{Duration, Instant};

use dig_nat_tests::lab::{self, Lab, PortMapping};
use dig_nat_tests::tree;

use kinds::{Kind, can_be_direct, kinds, neighbourhood, neighbours};
use meeting::{Party, meet_all};
use page::Grid;

const ROUNDS: usize = 5;
/// Rows of the grid that share one lab with all columns: a lab has room for 31 sites.
const ROWS: usize = 9;

/// A lab with the site `a<row>` for each of these rows and `b<column>` for each of these columns.
fn build(kinds: &[Kind], rows: &[usize], columns: &[usize]) -> (Lab, Vec<PortMapping>) {
    let sites = rows.iter().map(|row| ("a", row)).chain(columns.iter().map(|column| ("b", column)));
    let name = |(side, kind): (&str, &usize)| format!("{side}{kind}");
    let builder = sites
        .clone()
        .fold(Lab::builder(), |builder, (side, kind)| builder.site(&name((side, kind)), kinds[*kind].site()));
    let lab = builder.build();
    let mapping = sites.filter(|(_, kind)| kinds[**kind].maps_ports).map(|site| lab.map_ports(&name(site))).collect();
    (lab, mapping)
}

fn party(kinds: &[Kind], side: &str, kind: usize) -> Party {
    Party { host: format!("{side}{kind}"), maps_ports: kinds[kind].maps_ports }
}

fn plain(host: &str) -> Party {
    Party { host: host.to_owned(), maps_ports: false }
}

fn sorted(mut all: Vec<usize>) -> Vec<usize> {
    all.sort_unstable();
    all.dedup();
    all
}

/// Pairs that need each of the ways to meet, and some that have none.
#[test]
fn hard_pairs_meet_directly() {
    lab::run(|| {
        let kinds = kinds();
        let index = |name: &str| kinds.iter().position(|kind| kind.name == name).expect("a kind of the grid");
        let pairs: Vec<(usize, usize)> = [
            ("port-restricted", "port-restricted, other ports"),
            ("symmetric, random", "address-restricted"),
            ("symmetric, counting", "port-restricted"),
            ("port-restricted", "symmetric, random"),
            ("port-restricted, forgets in 5 s", "port-restricted"),
            ("UDP blocked", "UDP blocked"),
            ("symmetric, random", "symmetric, random"),
            ("port-restricted", "web only"),
            ("IPv6 only, firewall", "IPv6 only, firewall"),
            ("IPv6 only", "port-restricted"),
        ]
        .iter()
        .map(|(waiting, coming)| (index(waiting), index(coming)))
        .collect();
        let rows = sorted(pairs.iter().map(|(waiting, _)| *waiting).collect());
        let columns = sorted(pairs.iter().map(|(_, coming)| *coming).collect());
        let (lab, _mapping) = build(&kinds, &rows, &columns);
        let parties: Vec<_> =
            pairs.iter().map(|(waiting, coming)| (party(&kinds, "a", *waiting), party(&kinds, "b", *coming))).collect();
        let mut wrong = Vec::new();
        for ((waiting, coming), meeting) in pairs.iter().zip(meet_all(&lab, &parties)) {
            let (waiting, coming) = (&kinds[*waiting], &kinds[*coming]);
            if (meeting.by != "relay") != can_be_direct(waiting, coming) {
                wrong.push(format!("{} and {}: {meeting:?}", waiting.name, coming.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// The pairs of rows and columns in `DIG_NAT_PAIRS` ("2x2,11x5", numbered as on the page), `DIG_NAT_ROUNDS` times each,
/// for looking closely: one pair at a time, and what the nodes log with `RUST_LOG`. Writes nothing.
#[test]
#[ignore = "for looking at single pairs"]
fn chosen_pairs() {
    lab::run_within(Duration::from_secs(2 * 3600), || {
        let wanted = std::env::var("DIG_NAT_PAIRS").unwrap_or_else(|_| "2x2".to_owned());
        let rounds = std::env::var("DIG_NAT_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
        let kinds = kinds();
        let number = |text: &str| text.trim().parse::<usize>().expect("a number of the page") - 1;
        let pairs: Vec<(usize, usize)> = wanted
            .split(',')
            .map(|pair| pair.split_once('x').expect("ROWxCOLUMN"))
            .map(|(row, column)| (number(row), number(column)))
            .collect();
        let rows = sorted(pairs.iter().map(|(row, _)| *row).collect());
        let columns = sorted(pairs.iter().map(|(_, column)| *column).collect());
        let (lab, _mapping) = build(&kinds, &rows, &columns);
        let mut grid = Grid::new();
        for round in 0..rounds {
            let parties: Vec<_> = pairs
                .iter()
                .map(|(row, column)| (party(&kinds, "a", *row), party(&kinds, "b", *column)))
                .map(|(one, other)| if round % 2 == 0 { (one, other) } else { (other, one) })
                .collect();
            for (pair, meeting) in pairs.iter().zip(meet_all(&lab, &parties)) {
                grid.entry(*pair).or_default().push(meeting);
            }
        }
        for ((row, column), meetings) in &grid {
            println!("{} and {}: {}", kinds[*row].name, kinds[*column].name, page::cell(meetings, true));
        }
    });
}

#[test]
#[ignore = "takes many minutes; writes docs/nat-grid.md"]
fn the_whole_grid() {
    lab::run_within(Duration::from_secs(2 * 3600), || {
        let kinds = kinds();
        let mut grid = Grid::new();
        let columns: Vec<usize> = (0..kinds.len()).collect();
        for rows in columns.chunks(ROWS) {
            let pairs: Vec<_> = rows.iter().flat_map(|row| (0..=*row).map(move |column| (*row, column))).collect();
            let (lab, _mapping) = build(&kinds, rows, &columns[..=*rows.last().expect("not empty")]);
            for round in 0..ROUNDS {
                // Once is enough where there is nothing to find.
                let hopeful = |pair: &&(usize, usize)| round == 0 || can_be_direct(&kinds[pair.0], &kinds[pair.1]);
                let pairs: Vec<_> = pairs.iter().filter(hopeful).collect();
                let parties: Vec<_> = pairs
                    .iter()
                    .map(|(row, column)| (party(&kinds, "a", *row), party(&kinds, "b", *column)))
                    // Both take both parts.
                    .map(|(one, other)| if round % 2 == 0 { (one, other) } else { (other, one) })
                    .collect();
                let begun = Instant::now();
                for (pair, meeting) in pairs.iter().zip(meet_all(&lab, &parties)) {
                    grid.entry(**pair).or_default().push(meeting);
                }
                println!("rows {rows:?}, round {} of {ROUNDS}: {:?}", round + 1, begun.elapsed());
            }
        }
        let lab = neighbourhood().build();
        let mut near: Vec<_> = neighbours().into_iter().map(|pair| (pair, Vec::new())).collect();
        for _ in 0..ROUNDS {
            let parties: Vec<_> = near.iter().map(|(pair, _)| (plain(pair.hosts[0]), plain(pair.hosts[1]))).collect();
            for ((_, meetings), meeting) in near.iter_mut().zip(meet_all(&lab, &parties)) {
                meetings.push(meeting);
            }
        }
        let text = page::render(&kinds, &grid, &near);
        println!("{text}");
        std::fs::write(tree::root().join("docs/nat-grid.md"), text).expect("written");
    });
}
