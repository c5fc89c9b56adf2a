//! Signatures of provider records: checked before the machine sees them, and made for what we announce ourselves. Not here:
//! what is believed of unsigned ones (the machine).

use super::super::announce::Provide;
use super::super::contact::Contact;
use super::super::key::{Node, Placement};
use super::super::message::{Kind, Message, Peer};
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::discovery::own::{self, Own};
use crate::fabric::address_to_bytes;
use crate::nat::policy::Scope;
use crate::net::clock::unix_ms;
use crate::wire::announcement::Announcement;

/// A record key and who provides it, as its signature says. `None` for what is not signed by its peer, or over.
fn open(bytes: &[u8], placement: Placement) -> Option<(Vec<u8>, Contact)> {
    let key = Announcement::decode(bytes).ok()?.announcement.key;
    let announcement = own::open(bytes, &key, unix_ms()).ok()?;
    let node = Node::from_peer(&announcement.peer)?;
    let addresses = announcement.addresses.iter().filter_map(|text| address_to_bytes(text));
    Some((placement.record_key(&key), Contact::new(node, addresses)))
}

/// Checks what a peer brings for a key. `false` for a signature that is wrong: whoever tells of it lies.
fn verify(peer: &mut Peer, key: &[u8], placement: Placement) -> bool {
    let Some(bytes) = &peer.announcement else { return true };
    match open(bytes, placement) {
        Some((of, contact)) if of == key && contact.node == peer.contact.node => {
            // What the peer itself has said counts more than what another one adds.
            if !contact.addresses.is_empty() {
                peer.contact = contact;
            }
            true
        }
        _ => false,
    }
}

/// Takes everything out of an answer whose signature is wrong.
pub fn verify_answer(answer: &mut Message, key: &[u8], placement: Placement) {
    answer.providers.retain_mut(|peer| verify(peer, key, placement));
}

/// The records of an ADD_PROVIDER whose signatures are right, or that have none.
pub fn of_request(message: Message, placement: Placement) -> Vec<(Vec<u8>, Peer)> {
    let Message { key, providers, announcements, .. } = message;
    let single = providers.into_iter();
    let single = single.filter_map(|mut peer| verify(&mut peer, &key, placement).then(|| (key.clone(), peer)));
    let signed = announcements.into_iter().filter_map(|bytes| {
        let (key, contact) = open(&bytes, placement)?;
        Some((key, Peer { contact, shards: None, announcement: Some(bytes) }))
    });
    single.chain(signed).collect()
}

/// Ourselves as a provider, if we can be reached by somebody this near.
pub fn ourselves(own: &Own, node: &Node, lookup: FileHash, near: Scope) -> Option<Peer> {
    let addresses = own.addresses();
    let bytes = addresses.iter().filter_map(|text| address_to_bytes(text));
    let contact = Contact::new(node.clone(), bytes).within(near);
    if contact.addresses.is_empty() {
        return None;
    }
    let signed = own.announce(lookup, unix_ms(), limits::DHT_RECORD_TTL);
    let announcement = signed.inspect_err(|error| tracing::warn!(error = %error.full_message(), "not signed")).ok()?;
    Some(Peer { contact, shards: None, announcement: Some(announcement) })
}

/// The messages that announce these keys to a node this near; none while nobody there could reach us.
pub fn announcements(own: &Own, node: &Node, placement: Placement, provide: &Provide, near: Scope) -> Vec<Message> {
    let each = provide.keys.iter().filter_map(|key| Some((key, ourselves(own, node, *key, near)?)));
    if !provide.ours {
        let single = each.map(|(key, peer)| {
            let mut message = Message::new(Kind::AddProvider, placement.record_key(key));
            message.providers.push(peer);
            message
        });
        return single.collect();
    }
    let mut messages = Vec::new();
    let mut room = 0;
    for bytes in each.filter_map(|(_, peer)| peer.announcement) {
        if room < bytes.len() + FIELD_BYTES {
            messages.push(Message::new(Kind::AddProvider, Vec::new()));
            room = limits::DHT_FRAME_BYTES - FIELD_BYTES;
        }
        room -= bytes.len() + FIELD_BYTES;
        if let Some(message) = messages.last_mut() {
            message.announcements.push(bytes);
        }
    }
    messages
}

/// What a field takes besides its bytes, generously.
const FIELD_BYTES: usize = 8;
