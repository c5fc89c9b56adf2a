//! Messages of the DHT, shards, saved nodes and announcements: whatever is accepted respects the limits and is written back as the same.
#![no_main]

use dig_nat_core::base::limits;
use dig_nat_core::discovery::dht::contact;
use dig_nat_core::discovery::dht::message::{Message, frame_length};
use dig_nat_core::discovery::dht::shard::Shards;
use dig_nat_core::discovery::dht::snapshot;
use dig_nat_core::wire::announcement::Announcement;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some((header, length))) = frame_length(data) {
        assert!(header <= 3 && length <= limits::DHT_FRAME_BYTES);
    }
    if let Some(shards) = Shards::decode(data) {
        assert!(shards.list().len() <= limits::DHT_SHARDS);
        assert_eq!(Shards::decode(&shards.encode()), Some(shards));
    }
    let _ = contact::socket(data);
    let _ = snapshot::read(data, 1_800_000_000_000);
    if let Ok(read) = Announcement::decode(data) {
        assert!(read.announcement.addresses.len() <= limits::MAX_ADDRESSES_PER_PEER);
        assert_eq!(read.body.len() + read.signature.len(), data.len());
        let body = read.announcement.body();
        // Later versions may say more after what is read here.
        assert!(read.body.starts_with(&body));
        let again = [&body[..], read.signature].concat();
        assert_eq!(Announcement::decode(&again).expect("our own").announcement, read.announcement);
        let _ = read.announcement.holds_at(1_800_000_000_000);
    }
    let Ok(message) = Message::decode(data) else { return };
    assert!(message.key.len() <= limits::DHT_KEY_BYTES);
    for peers in [&message.closer, &message.providers] {
        assert!(peers.len() <= limits::DHT_PEERS_PER_MESSAGE);
        assert!(peers.iter().all(|peer| peer.contact.addresses.len() <= limits::DHT_ADDRESSES));
    }
    // Nothing of so few bytes is too long for a frame.
    assert_eq!(Message::decode(&message.encode()), Ok(message));
});
