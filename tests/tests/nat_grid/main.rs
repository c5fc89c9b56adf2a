//! Every pair of NAT types: do two nodes that know only a relay meet directly, how, and how fast? The whole grid takes
//! long and writes each pair to `docs/nat-grid.md` as soon as it is measured, so that it can be cut and go on later; run it
//! with `cargo test --workspace --test nat_grid -- --ignored --nocapture the_whole_grid`. A part of it runs with all other
//! tests.
#![cfg(target_os = "linux")]

mod kinds;
mod meeting;
mod page;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dig_nat_tests::lab::{self, Lab, PortMapping};
use dig_nat_tests::tree;

use kinds::{Kind, can_be_direct, kinds, neighbourhood, neighbours};
use meeting::{Pair, Party, meet_all};
use page::{Cell, Grid, Page};

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

/// The waiting side at row `a`, the coming one at column `b`.
fn between(kinds: &[Kind], (row, column): (usize, usize), rounds: usize) -> Pair {
    Pair { one: party(kinds, "a", row), other: party(kinds, "b", column), rounds }
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
        let strict = lab.host(&format!("a{}", index("port-restricted"))).capture("eth0");
        let mut wrong = Vec::new();
        let parties: Vec<Pair> = pairs.iter().map(|pair| between(&kinds, *pair, 1)).collect();
        meet_all(&lab, &parties, |index, meetings| {
            let (waiting, coming) = (&kinds[pairs[index].0], &kinds[pairs[index].1]);
            if (meetings[0].by != "relay") != can_be_direct(waiting, coming) {
                wrong.push(format!("{} and {}: {meetings:?}", waiting.name, coming.name));
            }
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let known = lab.host("relay").place();
        let met = strict.destinations();
        assert!(known.relay.iter().any(|relay| met.contains(relay)), "the relay is not among {met:?}");
        // An entry node of the public hash table: each dial to one takes a port of a NAT that counts.
        assert!(!met.contains(&IpAddr::from([104, 131, 131, 82])), "{met:?}");
    });
}

/// The pairs of rows and columns in `DIG_NAT_PAIRS` ("2x2,11x5", numbered as on the page).
fn chosen() -> Option<Vec<(usize, usize)>> {
    let wanted = std::env::var("DIG_NAT_PAIRS").ok()?;
    let number = |text: &str| text.trim().parse::<usize>().expect("a number of the page") - 1;
    let pairs = wanted.split(',').map(|pair| pair.split_once('x').expect("ROWxCOLUMN"));
    Some(pairs.map(|(row, column)| (number(row), number(column))).map(|(a, b)| (a.max(b), a.min(b))).collect())
}

fn rounds() -> usize {
    std::env::var("DIG_NAT_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"))
}

/// Measures these pairs with as few labs as have room for them, and tells of each as soon as it is known.
fn measure(
    kinds: &[Kind],
    pairs: &[(usize, usize)],
    mut done: impl FnMut((usize, usize), Vec<meeting::Meeting>) + Send,
) {
    let rounds = rounds();
    let rows = sorted(pairs.iter().map(|(row, _)| *row).collect());
    for rows in rows.chunks(ROWS) {
        let pairs: Vec<_> = pairs.iter().copied().filter(|(row, _)| rows.contains(row)).collect();
        let columns = sorted(pairs.iter().map(|(_, column)| *column).collect());
        let (lab, _mapping) = build(kinds, rows, &columns);
        let parties: Vec<Pair> = pairs.iter().map(|pair| between(kinds, *pair, rounds)).collect();
        meet_all(&lab, &parties, |index, meetings| done(pairs[index], meetings));
    }
}

/// The pairs of `DIG_NAT_PAIRS`, `DIG_NAT_ROUNDS` times each, for looking closely, with what the nodes log with
/// `RUST_LOG`. Writes nothing.
#[test]
#[ignore = "for looking at single pairs"]
fn chosen_pairs() {
    lab::run_within(Duration::from_secs(2 * 3600), || {
        let kinds = kinds();
        let mut grid = Grid::new();
        measure(&kinds, &chosen().unwrap_or_else(|| vec![(1, 1)]), |pair, meetings| {
            grid.insert(pair, meetings);
        });
        for ((row, column), meetings) in &grid {
            println!("{} and {}: {}", kinds[*row].name, kinds[*column].name, page::cell(meetings, true));
        }
    });
}

/// All pairs that are not in bold yet, or those of `DIG_NAT_PAIRS`.
#[test]
#[ignore = "takes long; writes docs/nat-grid.md"]
fn the_whole_grid() {
    lab::run_within(Duration::from_secs(6 * 3600), || {
        let (kinds, around) = (kinds(), neighbours());
        let file = tree::root().join("docs/nat-grid.md");
        let read = || Page::parse(&std::fs::read_to_string(&file).expect("the page"));
        let write = |page: &Page| {
            // Never half a page, whatever cuts the run.
            let part = file.with_extension("md.part");
            std::fs::write(&part, page.render(&kinds, &around)).expect("written");
            std::fs::rename(&part, &file).expect("in its place");
        };
        if std::env::var_os("DIG_NAT_AGAIN").is_some() {
            let mut page = read();
            page.cells.values_mut().chain(page.near.values_mut()).for_each(|cell| cell.fresh = false);
            write(&page);
        }
        let known = read();
        let fresh = |pair: &(usize, usize)| known.cells.get(pair).is_some_and(|cell| cell.fresh);
        let all = (0..kinds.len()).flat_map(|row| (0..=row).map(move |column| (row, column)));
        let pairs = chosen().unwrap_or_else(|| all.filter(|pair| !fresh(pair)).collect());
        let (begun, mut left) = (Instant::now(), pairs.len());
        measure(&kinds, &pairs, |pair, meetings| {
            left -= 1;
            let cell = Cell::of(&meetings, can_be_direct(&kinds[pair.0], &kinds[pair.1]));
            println!("{}x{}: {}; {left} pairs left after {:?}", pair.0 + 1, pair.1 + 1, cell.text, begun.elapsed());
            // Another run may measure other pairs meanwhile.
            let mut page = read();
            page.cells.insert(pair, cell);
            write(&page);
        });
        let near: Vec<_> =
            around.iter().filter(|pair| known.near.get(pair.name).is_none_or(|cell| !cell.fresh)).collect();
        if chosen().is_none() && !near.is_empty() {
            let lab = neighbourhood().build();
            let parties: Vec<Pair> = near
                .iter()
                .map(|pair| Pair { one: plain(pair.hosts[0]), other: plain(pair.hosts[1]), rounds: rounds() })
                .collect();
            meet_all(&lab, &parties, |index, meetings| {
                let mut page = read();
                page.near.insert(near[index].name.to_owned(), Cell::of(&meetings, near[index].direct));
                write(&page);
            });
        }
    });
}

/// The page can be gone on with, and says of its own cells what follows from them.
#[test]
fn the_page_is_what_its_cells_make_it() {
    let (kinds, around) = (kinds(), neighbours());
    let text = tree::read("docs/nat-grid.md");
    let page = Page::parse(&text);
    assert_eq!((page.cells.len(), page.near.len()), (kinds.len() * (kinds.len() + 1) / 2, around.len()));
    assert_eq!(page.render(&kinds, &around), text);
    let mut changed = page.clone();
    changed.cells.insert((10, 4), Cell { text: "3/5 udp 2.00 s".to_owned(), fresh: true });
    let rendered = changed.render(&kinds, &around);
    assert_eq!(Page::parse(&rendered), changed);
    assert!(rendered.contains("Short of theory:\n\n- symmetric, counting and port-restricted"), "{rendered}");
}
