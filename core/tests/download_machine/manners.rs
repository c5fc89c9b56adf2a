//! The course of a download apart from speed and trust: small files, resuming, content ids, places for sources, what
//! the user is told.

use bytes::Bytes;
use dig_nat_core::base::error::ErrorKind;
use dig_nat_core::base::events::PeerStatus;
use dig_nat_core::base::ids::ContentKey;
use dig_nat_core::base::limits;
use dig_nat_core::transfer::download::{DownloadConfig, Input, Output, SourceId};
use dig_nat_core::wire::transfer::{ClientFrame, ServerFrame};

use crate::rig::{Line, Rig, describe, file, pretend, seconds};

const RATE: f64 = 10e6;
const PIECE: u32 = 16 * 1024;

#[test]
fn the_empty_file_needs_no_piece() {
    let description = describe(&[], None);
    let mut rig = Rig::of(&description, true);
    let unknown = rig.download.progress(rig.now);
    assert!(unknown.fraction.abs() < f64::EPSILON && unknown.eta.is_none());
    let source = rig.connect(1, Line::honest("host", RATE, 5, &description, &Bytes::new()));
    rig.run_until(seconds(1.0));
    assert!(rig.finished.is_some());
    assert_eq!(rig.sent(source).0, 0);
    let progress = rig.download.progress(rig.now);
    assert!((progress.fraction - 1.0).abs() < f64::EPSILON);
    assert!(progress.rate.abs() < f64::EPSILON && progress.eta == Some(0.0));
}

#[test]
fn one_piece_needs_no_states() {
    let file = file(1, 16 * 1024);
    let description = describe(&file, None);
    let mut rig = Rig::of(&description, true);
    rig.connect(1, Line::honest("host", RATE, 5, &description, &file));
    rig.run_until(seconds(1.0));
    assert!(rig.finished.is_some() && rig.disk == file);
    let frames: Vec<_> = rig.log.iter().filter(|(_, output)| matches!(output, Output::Send { .. })).collect();
    assert!(matches!(frames.as_slice(), [(_, Output::Send { frame: ClientFrame::Request(_), .. })]), "{frames:?}");
    // Two round trips of 10 ms, the transfer at 10 MB/s, opening and checking.
    assert!(rig.finished.expect("done") < seconds(0.024));
}

#[test]
fn data_of_an_earlier_run_is_verified_and_only_the_rest_is_fetched() {
    let file = file(1, 64 * PIECE as usize);
    let description = describe(&file, Some(PIECE));
    let mut rig = Rig::of(&description, true);
    rig.disk = file.to_vec();
    // Pieces 0 to 39 are there, piece 7 was damaged, the rest is zeros although the file system says it is data.
    rig.disk[7 * PIECE as usize] ^= 1;
    rig.disk[40 * PIECE as usize..].fill(0);
    let disk = rig.disk.clone();
    rig.on_disk.push(0..44 * u64::from(PIECE) + 5);
    rig.connect(1, Line::honest("host", RATE, 5, &description, &file));
    assert_eq!(disk.len(), file.len());
    rig.run_until(seconds(5.0));
    assert!(rig.finished.is_some() && rig.disk == file);
    assert_eq!(rig.received, 25 * u64::from(PIECE));
    let read_back = rig.log.iter().filter(|(_, output)| matches!(output, Output::CheckDisk { .. })).count();
    assert_eq!(read_back, 44);
    assert_eq!(rig.banned(), Vec::<String>::new());
}

#[test]
fn a_content_id_takes_the_hash_of_the_first_that_answers() {
    let (one, two) = (file(1, 100_000), file(2, 100_000));
    let (first, second) = (describe(&one, None), describe(&two, None));
    let mut rig = Rig::new(DownloadConfig::new(ContentKey::Id("holiday".into()), 1), true);
    rig.connect(1, Line::honest("first", 0.1e6, 5, &first, &one));
    rig.connect(2, Line::honest("second", 0.1e6, 50, &second, &two));
    rig.run_until(seconds(0.5));
    assert!(rig.log.iter().any(|(_, output)| matches!(output, Output::Close { source: SourceId(2), .. })));
    rig.run_until(seconds(10.0));
    assert!(rig.finished.is_some() && rig.disk == one);
    assert_eq!(rig.banned(), Vec::<String>::new());
}

#[test]
fn a_content_id_is_resolved_anew_when_its_first_source_proves_nothing() {
    let file = file(1, 300_000);
    let description = describe(&file, None);
    let mut rig = Rig::new(DownloadConfig::new(ContentKey::Id("holiday".into()), 1), true);
    let other = describe(&crate::rig::file(9, 300_000), None);
    let mut liar = Line::honest("liar", RATE, 5, &other, &file);
    liar.answer = Box::new(|span| Some(Bytes::from(vec![0; span.length as usize])));
    rig.connect(1, liar);
    rig.run_until(seconds(1.0));
    assert_eq!(rig.banned(), ["liar"]);
    rig.connect(2, Line::honest("honest", RATE, 5, &description, &file));
    rig.run_until(seconds(5.0));
    assert!(rig.finished.is_some() && rig.disk == file);
}

#[test]
fn places_are_limited_and_each_peer_has_one() {
    let description = pretend(100_000_000);
    let mut rig = Rig::of(&description, false);
    rig.input(Input::MaxPeers(2));
    rig.connect(1, Line::zeros("a", 1e6, 5, &description));
    rig.input(Input::SourceOpened { source: SourceId(2), peer: "a".into() });
    assert!(matches!(rig.log.last(), Some((_, Output::Close { source: SourceId(2), retry: None }))));
    assert_eq!(rig.download.wants_peers(), 1);
    rig.connect(3, Line::zeros("b", 1e6, 5, &description));
    rig.input(Input::SourceOpened { source: SourceId(4), peer: "c".into() });
    assert!(matches!(rig.log.last(), Some((_, Output::Close { source: SourceId(4), retry: Some(_) }))));
    rig.run_until(seconds(2.0));
    rig.input(Input::MaxPeers(1));
    assert_eq!(rig.download.wants_peers(), 0);
    assert_eq!(rig.lines.len(), 2);
    assert_eq!(rig.log.iter().filter(|(_, output)| matches!(output, Output::Close { .. })).count(), 3);
}

#[test]
fn a_useless_source_makes_room_for_a_candidate_but_only_then() {
    let description = pretend(500_000_000);
    let mut rig = Rig::of(&description, false);
    rig.input(Input::MaxPeers(2));
    rig.connect(1, Line::zeros("good", 1e6, 5, &description));
    let mut choking = Line::zeros("choking", 1e6, 5, &description);
    choking.answer = Box::new(|_| None);
    rig.connect(2, choking);
    rig.run_until(seconds(0.1));
    rig.input(Input::Frame { source: SourceId(2), frame: ServerFrame::Choke });
    rig.run_until(seconds(50.0));
    assert_eq!(rig.download.wants_peers(), 0);
    rig.input(Input::Candidates(3));
    rig.run_until(seconds(60.0));
    assert_eq!(rig.download.wants_peers(), 1);
    assert!(rig.log.iter().any(|(_, output)| matches!(output, Output::Close { source: SourceId(2), retry: Some(_) })));
}

#[test]
fn refused_pieces_are_asked_for_again_later() {
    let description = pretend(1_000_000);
    let mut rig = Rig::of(&description, false);
    let mut line = Line::zeros("fickle", 1e6, 5, &description);
    line.answer = Box::new(|_| None);
    let id = rig.connect(1, line);
    rig.run_until(seconds(0.1));
    let asked = rig.log.iter().filter_map(|(_, output)| match output {
        Output::Send { frame: ClientFrame::Request(span), .. } => Some(*span),
        _ => None,
    });
    let asked = asked.collect::<Vec<_>>();
    assert_eq!(asked.len(), 16);
    for span in asked {
        rig.input(Input::Frame { source: id, frame: ServerFrame::Reject(span) });
    }
    rig.run_until(seconds(1.0));
    assert_eq!(rig.sent(id).0, 16, "not at once");
    let zeros = Bytes::from(vec![0; 128 * 1024]);
    let answer = move |span: dig_nat_core::wire::transfer::Span| Some(zeros.slice(..span.length as usize));
    rig.lines.get_mut(&id).expect("connected").answer = Box::new(answer);
    rig.run_until(seconds(20.0));
    assert!(rig.finished.is_some());
}

#[test]
fn progress_is_told_truly_at_all_times() {
    let description = pretend(50_000_000);
    let mut rig = Rig::of(&description, false);
    rig.connect(1, Line::zeros("fast", 10e6, 5, &description));
    rig.connect(2, Line::zeros("slow", 1e6, 5, &description));
    let mut last = 0;
    for step in 1..40 {
        rig.run_until(seconds(f64::from(step) * 0.2));
        let progress = rig.download.progress(rig.now);
        assert!(progress.bytes >= last && progress.bytes <= 50_000_000);
        assert!((0.0..=1.0).contains(&progress.fraction) && progress.rate.is_finite() && progress.rate >= 0.0);
        assert!(progress.eta.is_none_or(|eta| eta.is_finite() && eta >= 0.0));
        if step == 15 {
            let status: Vec<_> = progress.peers.iter().map(|peer| peer.status).collect();
            assert_eq!(status, [PeerStatus::Active, PeerStatus::Slow]);
            assert!((progress.rate - 11e6).abs() < 2e6, "{}", progress.rate);
        }
        last = progress.bytes;
    }
    assert!(rig.finished.is_some());
    assert!((rig.download.progress(rig.now).fraction - 1.0).abs() < f64::EPSILON);
    let total: u64 = rig.download.progress(rig.now).peers.iter().map(|peer| peer.bytes).sum();
    assert_eq!(total, rig.received);
}

#[test]
fn the_verdict_names_what_went_wrong() {
    let description = pretend(1_000_000);
    let mut rig = Rig::of(&description, false);
    assert_eq!(rig.download.verdict().0, ErrorKind::NoPeers);
    rig.input(Input::SourceOpened { source: SourceId(1), peer: "a".into() });
    let frame = ServerFrame::Gone(dig_nat_core::wire::transfer::GoneReason::Unknown);
    rig.input(Input::Frame { source: SourceId(1), frame });
    assert_eq!(rig.download.verdict().0, ErrorKind::ContentNotFound);
    rig.input(Input::SourceOpened { source: SourceId(2), peer: "b".into() });
    rig.input(Input::SourceClosed { source: SourceId(2) });
    assert_eq!(rig.download.verdict().0, ErrorKind::ConnectionClosed);
    rig.input(Input::SourceOpened { source: SourceId(3), peer: "c".into() });
    let mut info = crate::rig::info_of(&description, true);
    info.piece_length *= 2;
    rig.input(Input::Frame { source: SourceId(3), frame: ServerFrame::Info(info) });
    assert_eq!(rig.download.verdict().0, ErrorKind::VerificationFailed);
    assert_eq!(limits::DEFAULT_MAX_PEERS, rig.download.wants_peers());
}
