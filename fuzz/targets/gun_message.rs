//! Frames of Gun peers, and the records of our discovery in them: reading never fails otherwise than by saying so, what is
//! read is within its bounds, and what is written of it reads the same.
#![no_main]

use std::collections::BTreeMap;

use dig_nat_core::base::limits;
use dig_nat_core::discovery::gun::record::{self, Claim};
use dig_nat_core::gun::Record;
use dig_nat_core::gun::message::{self, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(messages) = message::decode(text) else { return };
    assert!(messages.len() <= limits::MAX_GUN_BATCH);
    for read in &messages {
        assert!(read.put.as_ref().is_none_or(|put| put.len() <= limits::MAX_GUN_FIELDS_PER_MESSAGE));
        assert!(read.id.len() <= limits::MAX_GUN_ID_BYTES);
        let mut nodes: BTreeMap<&str, Record> = BTreeMap::new();
        for field in read.put.iter().flatten() {
            nodes.entry(&field.soul).or_default().insert(field.key.clone(), field.cell.clone());
        }
        nodes.iter().for_each(|(soul, node)| claims(soul, node));
        let written = read.encode();
        let again = message::decode(&written).expect("our own messages can be read");
        assert_eq!(again.len(), 1);
        assert_eq!(fields(&again[0]), fields(read));
    }
    let frames = message::pack(messages.iter().map(Message::encode));
    let count: usize = frames.iter().map(|frame| message::decode(frame).map_or(0, |messages| messages.len())).sum();
    assert_eq!(count, messages.len());
});

/// What a node would say as a peer, and as a content id.
fn claims(soul: &str, node: &Record) {
    let name = soul.rsplit('/').next().unwrap_or_default();
    match record::read(name, node) {
        Claim::Signed(bytes) => assert!(bytes.len() <= limits::MAX_ANNOUNCEMENT_BYTES),
        Claim::Unsigned { address, .. } => {
            let (host, port) = address.rsplit_once(':').expect("host:port");
            assert!(!record::is_peer_id(name) && port.parse::<u16>().is_ok_and(|port| port > 0));
            assert!(host.len() <= 255 && !host.contains(['/', ' ']), "{address}");
        }
        Claim::Nothing => {}
    }
    for (_, announced) in node.values().filter_map(|cell| record::read_vouched(&cell.value)) {
        assert!(announced.len() <= limits::MAX_ANNOUNCEMENT_BYTES);
    }
    assert_eq!(record::content_segment(&record::content_segment(soul)), record::content_segment(soul));
}

/// What a message stores, in the order of names: an object has none of its own.
fn fields(message: &Message) -> Vec<(String, String, String, u64)> {
    let all = message.put.iter().flatten();
    let mut fields: Vec<_> = all
        .map(|field| (field.soul.clone(), field.key.clone(), field.cell.value.js_text(), field.cell.state.to_bits()))
        .map(|(soul, key, text, bits)| (soul, key, text, if bits == (-0.0f64).to_bits() { 0 } else { bits }))
        .collect();
    fields.sort();
    fields
}
