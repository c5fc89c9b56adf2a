//! How well the machine uses its sources: windows, help for the slow, the end of a download.

use dig_nat_core::base::limits;
use dig_nat_core::transfer::download::{Input, SourceId};
use dig_nat_core::wire::transfer::ServerFrame;

use crate::rig::{Line, Rig, pretend, seconds};

const MB: f64 = 1e6;

#[test]
fn the_window_grows_until_the_line_is_full() {
    // 25 MB/s with 200 ms there and back hold 5 MB; the first window is 1 MiB.
    let description = pretend(200_000_000);
    let mut rig = Rig::of(&description, false);
    rig.connect(1, Line::zeros("far", 25.0 * MB, 100, &description));
    rig.run_until(seconds(60.0));
    // 8 s of pure transfer, three round trips of 0.2 s before the first byte, and three more in which 1, 2 and 4 MiB
    // come instead of 5 MB, which costs 0.32 s.
    let took = rig.finished.expect("done").as_micros() as f64 / 1e6;
    assert!(took < 9.0, "{took} s");
    assert_eq!(rig.received, 200_000_000);
}

#[test]
fn the_first_request_follows_the_second_answer() {
    let description = pretend(10 << 20);
    let mut rig = Rig::of(&description, false);
    rig.connect(1, Line::zeros("far", 100.0 * MB, 20, &description));
    // INFO after one round trip of 40 ms, states after the second; the requests reach the source 20 ms later.
    rig.run_until(seconds(0.0805));
    let (requests, _) = rig.sent(SourceId(1));
    assert_eq!(requests as u64 * u64::from(limits::MIN_PIECE_BYTES), limits::INITIAL_WINDOW_BYTES);
}

#[test]
fn four_uneven_sources_give_nearly_the_sum() {
    let description = pretend(750_000_000);
    let mut rig = Rig::of(&description, false);
    for (id, rate) in [(1, 40.0), (2, 20.0), (3, 10.0), (4, 5.0)] {
        rig.connect(id, Line::zeros(&format!("s{id}"), rate * MB, 5, &description));
    }
    rig.run_until(seconds(60.0));
    let took = rig.finished.expect("done").as_micros() as f64 / 1e6;
    assert!(took < 10.0 / 0.95, "{took} s, ideal 10 s");
    let waste = rig.received as f64 / 750e6 - 1.0;
    assert!(waste < 0.02, "{waste} of the data came twice");
}

#[test]
fn a_slow_source_does_not_hold_the_end() {
    let description = pretend(50_000_000);
    let mut rig = Rig::of(&description, false);
    rig.connect(1, Line::zeros("slow", 20_000.0, 5, &description));
    rig.connect(2, Line::zeros("fast", 50.0 * MB, 5, &description));
    rig.run_until(seconds(60.0));
    // One second for the fast one alone. The slow one would need 52 s for its first window.
    let took = rig.finished.expect("done").as_micros() as f64 / 1e6;
    assert!(took < 1.5, "{took} s");
}

#[test]
fn blocks_of_a_stalled_source_are_fetched_elsewhere_at_once() {
    let description = pretend(50_000_000);
    let mut rig = Rig::of(&description, false);
    let mut stalled = Line::zeros("stalled", 50.0 * MB, 5, &description);
    stalled.answer = Box::new(|_| None);
    rig.connect(1, stalled);
    rig.connect(2, Line::zeros("alive", 50.0 * MB, 5, &description));
    rig.run_until(seconds(60.0));
    let took = rig.finished.expect("done").as_micros() as f64 / 1e6;
    assert!(took < 3.0, "{took} s, although the stall is certain only after 30 s");
    assert_eq!(rig.banned(), Vec::<String>::new());
}

#[test]
fn a_lone_source_that_pauses_is_waited_for_and_then_given_up() {
    let description = pretend(5_000_000);
    let mut rig = Rig::of(&description, false);
    let mut line = Line::zeros("stalls", 50.0 * MB, 5, &description);
    line.answer = Box::new(|_| None);
    let id = rig.connect(1, line);
    rig.run_until(seconds(29.9));
    assert_eq!(rig.download.wants_peers(), limits::DEFAULT_MAX_PEERS - 1);
    rig.run_until(seconds(30.5));
    assert_eq!(rig.download.wants_peers(), limits::DEFAULT_MAX_PEERS);
    assert_eq!(rig.sent(id).1, 0, "nobody else could take the requests");
}

#[test]
fn work_is_taken_from_the_end_of_the_slower_queue() {
    // The first source gets the whole file in its first window; the second one joins and takes its share.
    let description = pretend(1_000_000);
    let mut rig = Rig::of(&description, false);
    let first = rig.connect(1, Line::zeros("first", 100_000.0, 5, &description));
    rig.run_until(seconds(0.5));
    let second = rig.connect(2, Line::zeros("second", 100_000.0, 5, &description));
    rig.run_until(seconds(30.0));
    let took = rig.finished.expect("done").as_micros() as f64 / 1e6;
    // 50 kB come before the second one is there, the rest at twice the rate; blocks are 65 kB.
    assert!(took < 0.5 + 0.95 / 0.2 + 1.0, "{took} s");
    assert!(rig.sent(first).1 > 4 && rig.sent(second).0 > 4);
    assert!(rig.received < 1_000_000 + 2 * u64::from(limits::MIN_PIECE_BYTES), "{}", rig.received);
}

#[test]
fn in_the_endgame_the_first_answer_wins_and_the_others_are_cancelled() {
    let description = pretend(64 * 1024);
    let mut rig = Rig::of(&description, false);
    let mut silent = Line::zeros("silent", 1.0 * MB, 5, &description);
    silent.answer = Box::new(|_| None);
    let silent = rig.connect(1, silent);
    rig.run_until(seconds(0.1));
    let helper = rig.connect(2, Line::zeros("helper", 1.0 * MB, 5, &description));
    rig.run_until(seconds(20.0));
    let took = rig.finished.expect("done").as_micros() as f64 / 1e6;
    assert!(took < 3.0, "{took} s");
    assert_eq!((rig.sent(silent), rig.sent(helper)), ((1, 1), (1, 0)));
}

#[test]
fn a_source_that_joins_late_is_used() {
    let description = pretend(100_000_000);
    let mut rig = Rig::of(&description, false);
    rig.connect(1, Line::zeros("first", 10.0 * MB, 5, &description));
    rig.run_until(seconds(2.0));
    rig.connect(2, Line::zeros("second", 30.0 * MB, 5, &description));
    rig.run_until(seconds(60.0));
    let took = rig.finished.expect("done").as_micros() as f64 / 1e6;
    // 20 MB alone, the other 80 MB at 40 MB/s.
    assert!(took < 4.0 * 1.08, "{took} s");
}

#[test]
fn a_choke_gives_the_work_to_others() {
    let description = pretend(20_000_000);
    let mut rig = Rig::of(&description, false);
    let choking = rig.connect(1, Line::zeros("choking", 1.0 * MB, 5, &description));
    rig.run_until(seconds(0.5));
    rig.lines.get_mut(&choking).expect("connected").answer = Box::new(|_| None);
    rig.input(Input::Frame { source: choking, frame: ServerFrame::Choke });
    rig.connect(2, Line::zeros("other", 20.0 * MB, 5, &description));
    rig.run_until(seconds(10.0));
    assert!(rig.finished.expect("done") < seconds(2.0));
}

#[test]
fn memory_is_bounded_and_still_everything_comes() {
    // Pieces of 64 KiB, room for four of them, ten sources.
    let description = pretend(20_000_000);
    let mut rig = Rig::of(&description, false);
    let mut config = dig_nat_core::transfer::download::DownloadConfig::new(
        dig_nat_core::base::ids::ContentKey::Hash(description.hash()),
        1,
    );
    config.assembly_bytes = 4 * u64::from(limits::MIN_PIECE_BYTES);
    rig.download = dig_nat_core::transfer::download::Download::new(config, rig.now);
    for id in 0..10 {
        rig.connect(id, Line::zeros(&format!("s{id}"), 2.0 * MB, 5, &description));
    }
    rig.run_until(seconds(60.0));
    assert!(rig.finished.is_some());
}

#[test]
#[ignore = "a measurement, not a test: cargo test --release -- --ignored --nocapture blocks_per_second"]
fn blocks_per_second_of_the_machine() {
    for (sources, length) in [(1_u32, 1_u64 << 30), (4, 1 << 30), (500, 1 << 30), (1, 200 << 30)] {
        let description = pretend(length);
        let mut rig = Rig::of(&description, false);
        rig.input(Input::MaxPeers(500));
        for id in 0..sources {
            rig.connect(id, Line::zeros(&format!("s{id}"), 400.0 * MB / f64::from(sources), 1, &description));
        }
        let start = std::time::Instant::now();
        rig.run_until(seconds(10_000.0));
        assert!(rig.finished.is_some());
        let took = start.elapsed().as_secs_f64();
        let blocks = length.div_ceil(u64::from(limits::MAX_BLOCK_BYTES.min(description.layout().piece_length())));
        println!(
            "{sources} sources, {} pieces: {:.0} blocks/s with the rig around it, virtual time {:?}",
            description.layout().pieces(),
            blocks as f64 / took,
            rig.finished.map(|time| time.as_micros() as f64 / 1e6)
        );
    }
}
