//! What a node answers, and which records it takes. Not here: its own lookups (`lookups`).

use super::super::contact::Contact;
use super::super::key::Node;
use super::super::message::{Kind, Message, Peer};
use super::super::shard::Shards;
use super::super::store::Record;
use super::Machine;
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::policy::Scope;

impl Machine {
    /// Answers a request of a node that is this near; `None` for those without an answer. Records of an ADD_PROVIDER go
    /// to [`Machine::provided`].
    pub fn request(&mut self, now: Time, from: &Node, scope: Scope, request: &Message) -> Option<Message> {
        if !request.kind.is_answered() {
            return None;
        }
        // Hosts that are known otherwise are noted; anybody else could name any address here.
        if let Some(shards) = request.shards.as_deref().and_then(Shards::decode)
            && let Some(contact) = self.routing.get(from).cloned()
        {
            self.hosts.note(now, &contact, shards, true);
        }
        let mut answer = Message::new(request.kind, request.key.clone());
        answer.shards = Some(self.encoded_shards.clone());
        if request.kind == Kind::Ping {
            return Some(answer);
        }
        let target = self.placement.position(&request.key);
        if request.kind == Kind::GetProviders {
            let records = self.store.get(now, &request.key, limits::DHT_K);
            answer.providers.extend(records.into_iter().map(|record| Peer {
                contact: record.provider.within(scope),
                shards: None,
                announcement: record.announcement.map(|bytes| bytes.to_vec()),
            }));
            // A provider that cannot be reached from there is none.
            answer.providers.retain(|peer| !peer.contact.addresses.is_empty());
        }
        let is_useful = |contact: &Contact| contact.node != *from && !contact.addresses.is_empty();
        if request.shards.is_some() {
            for (host, shards) in self.hosts.of(&target) {
                let contact = host.within(scope);
                if is_useful(&contact) {
                    answer.closer.push(Peer { contact, shards: Some(shards.encode()), announcement: None });
                }
            }
        }
        let nearest = self.nearest(&target).into_iter().map(|contact| contact.within(scope));
        for contact in nearest.filter(is_useful) {
            if !answer.closer.iter().any(|known| known.contact.node == contact.node) {
                answer.closer.push(contact.into());
            }
        }
        Some(answer)
    }

    /// Somebody says that a peer provides a key. Taken from the peer itself, or signed by it. A signature must have been
    /// verified, and the key must be that of the announcement. Returns whether the record is kept.
    pub fn provided(&mut self, now: Time, from: &Node, scope: Scope, key: &[u8], provider: &Peer) -> bool {
        let is_itself = provider.contact.node == *from;
        if (!is_itself && provider.announcement.is_none()) || provider.contact.node == self.node {
            return false;
        }
        if key.is_empty() || key.len() > limits::DHT_KEY_BYTES || !self.shards.takes(&self.placement.position(key)) {
            return false;
        }
        let contact = provider.contact.within(scope);
        if contact.addresses.is_empty() {
            return false;
        }
        let (issued_ms, life) = match &provider.announcement {
            Some(announcement) => match self.validity(now, announcement) {
                Some(valid) => valid,
                None => return false,
            },
            None => (0, limits::DHT_RECORD_TTL),
        };
        let announcement = provider.announcement.as_deref().map(Into::into);
        self.store.put(now, key, Record { provider: contact, announcement, issued_ms, expires: now + life })
    }
}
