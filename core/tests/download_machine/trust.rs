//! Whom the machine believes and whom it accuses.

use std::time::Duration;

use bytes::Bytes;
use dig_nat_core::base::ids::{ContentKey, FileHash};
use dig_nat_core::base::limits;
use dig_nat_core::base::time::Time;
use dig_nat_core::content::description::Description;
use dig_nat_core::transfer::download::{Download, DownloadConfig, Input, Output, SourceId};
use dig_nat_core::wire::transfer::{ClientFrame, GoneReason, Info, ServerFrame, Span};

use crate::rig::{Line, Rig, describe, file, forge, info_of, seconds};

const RATE: f64 = 10e6;
const PIECE: u32 = 16 * 1024;

/// A file of 64 pieces and its description.
fn small() -> (Bytes, Description) {
    let file = file(1, 64 * PIECE as usize - 100);
    let description = describe(&file, Some(PIECE));
    (file, description)
}

/// Flips a bit of every answer that touches one of these pieces.
fn lying(mut line: Line, pieces: impl Fn(u32) -> bool + 'static) -> Line {
    line.answer = Box::new({
        let mut honest = std::mem::replace(&mut line.answer, Box::new(|_| None));
        move |span: Span| {
            let bytes = honest(span)?;
            if !pieces((span.offset / u64::from(PIECE)) as u32) {
                return Some(bytes);
            }
            let mut wrong = bytes.to_vec();
            wrong[0] ^= 1;
            Some(Bytes::from(wrong))
        }
    });
    line
}

fn done_right(rig: &Rig, file: &Bytes) {
    assert!(rig.finished.is_some(), "not finished: {:?}", rig.download.progress(rig.now));
    assert!(rig.disk == *file);
}

#[test]
fn a_lone_liar_wastes_one_window_at_most() {
    let (file, description) = small();
    let mut rig = Rig::of(&description, true);
    rig.connect(1, lying(Line::honest("liar", RATE, 5, &description, &file), |piece| piece < 40));
    rig.run_until(seconds(5.0));
    assert_eq!(rig.banned(), ["liar"]);
    // The tail is true and was proven piece by piece; everything asked after the first false piece is the waste.
    let progress = rig.download.progress(rig.now);
    assert_eq!(progress.bytes, 24 * u64::from(PIECE) - 100);
    assert!(rig.received - progress.bytes <= limits::INITIAL_WINDOW_BYTES + u64::from(PIECE));
    assert!(rig.download.is_banned("liar"));
    // It does not come in again, and an honest one completes what is there.
    rig.input(Input::SourceOpened { source: SourceId(2), peer: "liar".into() });
    assert!(matches!(rig.log.last(), Some((_, Output::Close { source: SourceId(2), retry: None }))));
    rig.connect(3, Line::honest("honest", RATE, 5, &description, &file));
    let before = rig.received;
    rig.run_until(seconds(10.0));
    done_right(&rig, &file);
    assert_eq!(rig.received - before, 40 * u64::from(PIECE));
}

#[test]
fn in_a_mixed_piece_only_the_liar_is_found_guilty() {
    // One piece of four blocks: two sources share it, one of them lies.
    let file = file(2, 4 * 128 * 1024);
    let description = describe(&file, Some(4 * 128 * 1024));
    let mut rig = Rig::of(&description, true);
    let mut liar = Line::honest("liar", 1e6, 5, &description, &file);
    liar.answer = Box::new(|span| Some(Bytes::from(vec![9; span.length as usize])));
    rig.connect(1, liar);
    rig.connect(2, Line::honest("honest", 1e6, 5, &description, &file));
    rig.run_until(seconds(20.0));
    done_right(&rig, &file);
    assert_eq!(rig.banned(), ["liar"]);
}

#[test]
fn a_decisive_piece_refutes_a_forged_description() {
    let (file, truth) = small();
    let other = self::file(7, file.len());
    let seam = 30;
    let forged = forge(&truth, &describe(&other, Some(PIECE)), seam);
    let seam_offset = truth.layout().range(seam).offset as usize;
    let mut mixed = other.to_vec();
    mixed[seam_offset..].copy_from_slice(&file[seam_offset..]);
    let mixed = Bytes::from(mixed);

    // The liar is believed first: it alone is there, sends the true tail, and false pieces that fit its states.
    let mut rig = Rig::of(&truth, true);
    let mut liar = Line::honest("liar", 0.2e6, 5, &forged, &mixed);
    liar.pieces = None;
    rig.connect(1, liar);
    rig.run_until(seconds(0.4));
    assert!(rig.download.progress(rig.now).bytes > 0);
    let honest = rig.connect(2, Line::honest("honest", RATE, 5, &truth, &file));
    rig.run_until(seconds(0.8));
    assert_eq!(rig.banned(), ["liar"]);
    let (described, withdrawn) = rig.log.iter().fold((0, 0), |(described, withdrawn), (_, output)| match output {
        Output::Described { .. } => (described + 1, withdrawn),
        Output::Unservable => (described, withdrawn + 1),
        _ => (described, withdrawn),
    });
    assert_eq!((described, withdrawn), (2, 1));
    rig.run_until(seconds(10.0));
    done_right(&rig, &file);
    // The decisive piece was asked for twice at most, everything else of the honest one once.
    assert!(rig.sent(honest).0 <= 65, "{}", rig.sent(honest).0);
}

#[test]
fn a_rival_costs_one_piece_and_is_refuted_by_one_that_is_here() {
    let (file, truth) = small();
    let other = self::file(7, file.len());
    let forged = forge(&truth, &describe(&other, Some(PIECE)), 63);
    let mut rig = Rig::of(&truth, true);
    rig.connect(1, Line::honest("honest", 0.1e6, 5, &truth, &file));
    rig.run_until(seconds(1.0));
    // Piece 63 decides, and came first: the liar is found out without being asked for anything but states.
    let liar = rig.connect(2, Line::honest("liar", RATE, 5, &forged, &other));
    rig.run_until(seconds(2.0));
    assert_eq!(rig.banned(), ["liar"]);
    assert_eq!(rig.sent(liar).0, 0);
    // The next one forges where we have nothing yet: one piece of it is tried.
    let forged = forge(&truth, &describe(&other, Some(PIECE)), 3);
    let liar = rig.connect(3, Line::honest("second", RATE, 5, &forged, &other));
    rig.run_until(seconds(2.5));
    assert_eq!(rig.banned(), ["liar", "second"]);
    assert_eq!(rig.sent(liar).0, 1);
    rig.run_until(seconds(60.0));
    done_right(&rig, &file);
}

#[test]
fn a_misled_partial_source_is_let_go_without_a_ban() {
    let (file, truth) = small();
    let other = self::file(7, file.len());
    let forged = forge(&truth, &describe(&other, Some(PIECE)), 30);
    let mut rig = Rig::of(&truth, true);
    let mut misled = Line::honest("misled", RATE, 5, &forged, &other);
    misled.pieces = Some((0..10).collect());
    rig.connect(1, misled);
    rig.run_until(seconds(0.5));
    assert!(rig.download.progress(rig.now).bytes > 0, "its pieces fit the states it gave");
    rig.connect(2, Line::honest("honest", RATE, 5, &truth, &file));
    rig.run_until(seconds(10.0));
    done_right(&rig, &file);
    assert_eq!(rig.banned(), Vec::<String>::new());
    let let_go = |(_, output): &(Time, Output)| matches!(output, Output::Close { source: SourceId(1), retry: Some(_) });
    assert!(rig.log.iter().any(let_go));
}

#[test]
fn a_description_of_another_length_falls() {
    let (file, truth) = small();
    let longer = Bytes::from([&file[..], &[0; 5000]].concat());
    let made_up = describe(&longer, Some(PIECE));
    let states: Vec<_> = (1..made_up.layout().pieces()).map(|boundary| made_up.before(boundary)).collect();
    let forged = Description::from_states(truth.hash(), made_up.layout(), states).expect("as many states");
    for liar_first in [true, false] {
        let mut rig = Rig::of(&truth, true);
        let order = if liar_first { [1, 2] } else { [2, 1] };
        for id in order {
            if id == 1 {
                rig.connect(1, Line::honest("liar", RATE, 5, &forged, &longer));
            } else {
                rig.connect(2, Line::honest("honest", RATE, 5, &truth, &file));
            }
        }
        rig.run_until(seconds(10.0));
        done_right(&rig, &file);
        assert_eq!(rig.banned(), ["liar"]);
    }
}

#[test]
fn false_states_are_banned_and_fetched_from_another() {
    // 10 000 boundaries are three ranges; the first source is asked for all of them.
    let file = file(3, 64 * 10_000);
    let description = describe(&file, Some(64));
    for liar_first in [true, false] {
        let mut rig = Rig::of(&description, true);
        let mut liar = Line::honest("liar", RATE, 5, &description, &file);
        liar.states = Box::new(|states| Bytes::from(vec![7; states.len()]));
        let honest = Line::honest("honest", RATE, 5, &description, &file);
        if liar_first {
            rig.connect(1, liar);
            rig.connect(2, honest);
        } else {
            rig.connect(2, honest);
            rig.connect(1, liar);
        }
        rig.run_until(seconds(30.0));
        done_right(&rig, &file);
        // A liar that is not asked for states does no harm.
        assert_eq!(rig.banned(), if liar_first { vec!["liar"] } else { vec![] });
    }
}

#[test]
fn false_states_in_a_mixture_are_traced_to_their_sender() {
    // The first source answers one range and is gone for the others, so the description becomes a mixture.
    let file = file(3, 64 * 10_000);
    let description = describe(&file, Some(64));
    let mut config = DownloadConfig::new(ContentKey::Hash(description.hash()), 1);
    config.piece_length = Some(64);
    let mut download = Download::new(config, Time::ZERO);
    let mut asked: Vec<(SourceId, u32, u32)> = Vec::new();
    let mut now = Time::ZERO;
    for (id, peer) in [(1, "liar"), (2, "honest")] {
        download.handle(now, Input::SourceOpened { source: SourceId(id), peer: peer.into() });
        let frame = ServerFrame::Info(info_of(&description, true));
        download.handle(now, Input::Frame { source: SourceId(id), frame });
    }
    let mut banned = Vec::new();
    let mut described = false;
    for _ in 0..100 {
        while let Some(output) = download.poll() {
            match output {
                Output::Send { source, frame: ClientFrame::GetStates { first, count } } => {
                    asked.push((source, first, count));
                }
                Output::Ban { peer, .. } => banned.push(peer),
                Output::Described { .. } => described = true,
                _ => {}
            }
        }
        let Some((source, first, count)) = asked.pop() else {
            // The liar leaves the rest unanswered; after five seconds the honest one is asked.
            now = now + limits::STATES_TIMEOUT;
            download.handle_timeout(now);
            if described {
                break;
            }
            continue;
        };
        let states = description.states_bytes(first, count).expect("existing states");
        let frame = match (source, first) {
            (SourceId(1), 1) => ServerFrame::States { first, states: Bytes::from(vec![7; states.len()]) },
            (SourceId(1), _) => continue,
            _ => ServerFrame::States { first, states },
        };
        download.handle(now, Input::Frame { source, frame });
    }
    assert!(described);
    assert_eq!(banned, ["liar"]);
}

#[test]
fn lies_in_info_are_banned_at_once() {
    let (_, description) = small();
    let lies: [fn(&mut Info); 6] = [
        |info| info.hash = FileHash::of(b"another"),
        |info| info.piece_length *= 2,
        |info| info.length = 0,
        |info| info.length += 1 << 40,
        |info| info.hash = FileHash::of(b""),
        |info| (info.length, info.digest) = (5, [1; 32]),
    ];
    for (index, lie) in lies.iter().enumerate() {
        let mut rig = Rig::of(&description, true);
        rig.input(Input::SourceOpened { source: SourceId(1), peer: "liar".into() });
        let mut info = info_of(&description, true);
        lie(&mut info);
        rig.input(Input::Frame { source: SourceId(1), frame: ServerFrame::Info(info) });
        assert_eq!(rig.banned(), ["liar"], "lie {index}");
        assert_eq!(rig.download.wants_peers(), limits::DEFAULT_MAX_PEERS);
    }
}

#[test]
fn short_answers_are_banned_and_unasked_ones_end_the_stream() {
    let (file, description) = small();
    let mut rig = Rig::of(&description, true);
    let mut short = Line::honest("short", RATE, 5, &description, &file);
    short.answer = Box::new(|span| Some(Bytes::from(vec![0; span.length as usize - 1])));
    rig.connect(1, short);
    rig.run_until(seconds(1.0));
    assert_eq!(rig.banned(), ["short"]);
    rig.connect(2, Line::honest("pushy", RATE, 5, &description, &file));
    rig.run_until(seconds(1.001));
    rig.input(Input::Block { source: SourceId(2), offset: 0, bytes: Bytes::from_static(&[0; 10]) });
    assert!(matches!(rig.log.last(), Some((_, Output::Close { source: SourceId(2), retry: None }))));
    assert_eq!(rig.banned(), ["short"]);
}

#[test]
fn gone_and_silence_are_no_crimes() {
    let (_, description) = small();
    let mut rig = Rig::of(&description, true);
    let reasons = [GoneReason::Unknown, GoneReason::Changed, GoneReason::Removed, GoneReason::Busy];
    for (id, reason) in (1..).zip(reasons) {
        rig.input(Input::SourceOpened { source: SourceId(id), peer: format!("p{id}") });
        rig.input(Input::Frame { source: SourceId(id), frame: ServerFrame::Gone(reason) });
        let again = matches!(reason, GoneReason::Changed | GoneReason::Busy);
        assert!(
            matches!(rig.log.last(), Some((_, Output::Close { retry, .. })) if retry.is_some() == again),
            "{reason:?}"
        );
    }
    rig.input(Input::SourceOpened { source: SourceId(9), peer: "mute".into() });
    rig.run_until(Time::ZERO + limits::HANDSHAKE_TIMEOUT + Duration::from_secs(1));
    assert!(matches!(rig.log.last(), Some((_, Output::Close { source: SourceId(9), .. }))));
    assert_eq!(rig.banned(), Vec::<String>::new());
}
