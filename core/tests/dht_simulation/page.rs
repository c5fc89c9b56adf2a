//! The page `docs/dht.md`: what the simulation measured. Not here: measuring (`dht_simulation`).

use std::fmt::Write;
use std::time::Duration;

use crate::network::Sought;

/// What it took to announce everything once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Requests and answers of lookups.
    pub lookups: u64,
    /// Messages with records.
    pub records: u64,
    pub took: Duration,
}

/// One node announced many files.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    pub nodes: usize,
    pub files: u64,
    /// Messages that one file alone takes.
    pub alone: f64,
    /// At first, and again.
    pub rounds: [Round; 2],
}

impl Many {
    pub fn per_file(&self, round: usize) -> f64 {
        let Round { lookups, records, .. } = self.rounds[round];
        (lookups + records) as f64 / self.files as f64
    }

    /// How many times more messages it would be one by one.
    pub fn saving(&self, round: usize) -> f64 {
        self.alone / self.per_file(round)
    }
}

/// What came of the searches under one set of conditions.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub searches: usize,
    pub success: usize,
    /// Answers that led to the first true provider, on average.
    pub hops: f64,
    /// Median time to it.
    pub first_ms: u128,
    /// Slowest of 95 of 100.
    pub first_late_ms: u128,
    /// Nodes asked until then, median.
    pub asked_before: usize,
    /// Nodes asked in all, median.
    pub asked: usize,
    /// Time until the lookup was over, median.
    pub end_ms: u128,
}

fn at<T: Ord + Copy + Default>(mut values: Vec<T>, percent: usize) -> T {
    values.sort_unstable();
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl Row {
    pub fn of(name: &str, results: &[Sought]) -> Self {
        let firsts: Vec<(Duration, u32)> = results.iter().filter_map(|sought| sought.first).collect();
        let times: Vec<u128> = firsts.iter().map(|(time, _)| time.as_millis()).collect();
        let hops: u32 = firsts.iter().map(|(_, hops)| hops).sum();
        let found = || results.iter().filter(|sought| sought.first.is_some());
        let ends = || results.iter().filter_map(|sought| sought.end);
        Self {
            name: name.to_owned(),
            searches: results.len(),
            success: firsts.len(),
            hops: f64::from(hops) / firsts.len().max(1) as f64,
            first_ms: at(times.clone(), 50),
            first_late_ms: at(times, 95),
            asked_before: at(found().map(|sought| sought.asked_before).collect(), 50),
            asked: at(ends().map(|(_, summary)| summary.asked).collect(), 50),
            end_ms: at(ends().map(|(time, _)| time.as_millis()).collect(), 50),
        }
    }
}

pub fn render(rows: &[Row], many: &[Many]) -> String {
    let mut text = String::from(
        "# The distributed hash table in numbers\n\n\
         Nodes of the table in virtual time, 50 ms from each to each other, seeded; every request is encoded and\n\
         decoded. Written by\n\
         `DIG_NAT_UPDATE=1 cargo test --release -p dig-nat-core --test dht_simulation -- --ignored`; the same with\n\
         fewer nodes runs with all other tests.\n\n\
         Routing tables are those of a network that has run for long. \"Gone\" nodes died after the content was\n\
         announced, and nobody but the searcher notices. Hostile nodes are nearer to the key than any honest one;\n\
         they keep nothing, name only each other, and one of them as a provider. Each search is by another node. A\n\
         hop is an answer on the way to the first true provider; a lookup goes on after it, to find the others. Each row\n\
         is four networks from seeds of their own, on which nothing was tuned.\n\n\
         | nodes | conditions | found | hops | first provider, median | of 95 % | nodes asked for it | asked in all | lookup over |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let Row { name, searches, success, hops, first_ms, first_late_ms, asked_before, asked, end_ms } = row;
        writeln!(
            text,
            "| {name} | {success}/{searches} | {hops:.1} | {first_ms} ms | {first_late_ms} ms | {asked_before} | {asked} | {end_ms} ms |"
        )
        .expect("a string");
    }
    text.push_str(
        "\n## Many files\n\n\
         One node announces 50 000 files, each to 20 nodes, and later announces all of them again. \"One by one\" is\n\
         what a file takes that is announced alone, measured in the same network: its lookup, and 20 messages with the\n\
         record. Announced together, one lookup serves a region, and a message carries up to 100 records.\n\n\
         | nodes | round | messages of lookups | messages with records | for each file | one by one | took |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for of in many {
        for (number, name) in ["first", "renewal"].into_iter().enumerate() {
            let Round { lookups, records, took } = of.rounds[number];
            let (nodes, each, alone) = (of.nodes, of.per_file(number), of.alone);
            let seconds = took.as_secs();
            writeln!(text, "| {nodes} | {name} | {lookups} | {records} | {each:.2} | {alone:.0} | {seconds} s |")
                .expect("a string");
        }
    }
    text
}
