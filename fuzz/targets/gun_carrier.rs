//! What strangers write into our inbox and into the slots of a passage: reading never fails otherwise than by saying so,
//! and the mailbox stays within its bounds whatever comes, in any order.
#![no_main]

use dig_nat_core::base::limits;
use dig_nat_core::nat::carrier::ring::{self, Incoming};
use dig_nat_core::nat::carrier::{Content, Letter, Mailbox};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Some(letter) = Letter::decode(text) {
            assert_eq!(Letter::decode(&letter.encode()).as_ref(), Some(&letter));
        }
        if let Some((number, sealed)) = ring::decode(text) {
            assert_eq!(ring::decode(&ring::encode(number, &sealed)), Some((number, sealed)));
        }
    }
    if let Some(content) = Content::decode(data) {
        assert_eq!(Content::decode(&content.encode()), Some(content));
    }
    // Genuine letters of a hostile peer: each takes three bytes of the input.
    let (mut mailbox, mut incoming, now) = (Mailbox::default(), Incoming::default(), 1_700_000_000_000);
    for (at, step) in data.chunks_exact(3).enumerate() {
        let session = dig_nat_core::nat::carrier::SessionId([step[0] % 8; 16]);
        let from = dig_nat_core::base::ids::PeerId::from_text(["A", "B"][usize::from(step[0] >> 7)]);
        let number = u32::from(step[1] % 32);
        let letter = Letter { from, session, number, sent_ms: now, body: Vec::new(), signature: Vec::new() };
        let content = Content::decode(&[step[2] % 3, 0, 0, 0, step[2] / 3]).expect("a content without a message");
        if let Ok(arrived) = mailbox.take(now, &letter, content) {
            assert!(arrived.len() <= 3 * limits::GUN_LETTER_SLOTS as usize + 1);
        }
        let _ = mailbox.number(&letter.from, session, step[2] > 127);
        if step[2] == 255 {
            mailbox.close(&letter.from, session);
        }
        let (sessions, held) = mailbox.sizes();
        assert!(sessions <= 16 && held <= limits::MAX_GUN_HELD_BYTES);
        let count = incoming.count();
        let ordered = incoming.take(u64::from(step[1]), (at as u64).to_be_bytes().to_vec().into());
        assert_eq!(incoming.count(), count + ordered.len() as u64);
    }
});
