//! Inbound streams: requests of others, answered one after the other. Not here: what is answered (the machine).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::AsyncWriteExt;
use tokio::time::timeout;

use super::super::key::Node;
use super::super::message::{Kind, Message};
use super::{Shared, exchange, records};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::fabric::Stream;
use crate::nat::policy::Scope;

/// Counts the streams of each peer.
#[derive(Default)]
pub struct Places(Arc<Mutex<HashMap<PeerId, usize>>>);

/// The place of one stream; free again when dropped.
pub struct Place {
    places: Arc<Mutex<HashMap<PeerId, usize>>>,
    peer: PeerId,
}

impl Places {
    /// A place for one more stream of this peer, if there is one.
    pub fn take(&self, peer: &PeerId) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, of) = (counts.values().sum::<usize>(), counts.get(peer).copied().unwrap_or(0));
        if all >= limits::DHT_INBOUND || of >= limits::DHT_INBOUND_PER_PEER {
            return None;
        }
        counts.insert(peer.clone(), of + 1);
        Some(Place { places: Arc::clone(&self.0), peer: peer.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Answers until the other side ends the stream, is silent for long, or sends what is no message.
pub async fn serve(shared: Arc<Shared>, mut stream: Stream, place: Place) {
    let Some(from) = Node::from_peer(&place.peer) else { return };
    let near = exchange::scope(stream.link());
    while let Ok(Ok(Some(request))) = timeout(limits::DHT_INBOUND_IDLE, exchange::read(&mut stream)).await {
        let Some(answer) = answer(&shared, &from, near, request) else { continue };
        match timeout(limits::DHT_REQUEST, exchange::write(&mut stream, &answer)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    let _ = stream.close().await;
}

fn answer(shared: &Shared, from: &Node, near: Scope, request: Message) -> Option<Message> {
    if request.kind == Kind::AddProvider {
        // Signatures take time; the machine is not held up meanwhile.
        let records = records::of_request(request, shared.placement);
        shared.change(|state, now| {
            for (key, provider) in &records {
                let kept = state.machine.provided(now, from, near, key, provider);
                tracing::trace!(provider = %provider.contact.node.peer(), kept, "record");
            }
        });
        return None;
    }
    let (answer, announced) = shared
        .change(|state, now| (state.machine.request(now, from, near, &request), state.machine.announces(&request.key)));
    let mut answer = answer?;
    if request.kind == Kind::GetProviders
        && let Some(lookup) = announced
        && let Some(peer) = records::ourselves(&shared.own, &shared.node, lookup, near)
    {
        answer.providers.insert(0, peer);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_gets_few_places_and_all_together_so_many() {
        let places = Places::default();
        let peer = |number: usize| PeerId::from_text(&format!("peer {number}"));
        let one: Vec<Place> = std::iter::from_fn(|| places.take(&peer(0))).collect();
        assert_eq!(one.len(), limits::DHT_INBOUND_PER_PEER);
        let mut all: Vec<Place> =
            (1..2 * limits::DHT_INBOUND).filter_map(|number| places.take(&peer(number))).collect();
        assert_eq!(one.len() + all.len(), limits::DHT_INBOUND);
        all.truncate(1);
        drop(one);
        assert!(places.take(&peer(0)).is_some(), "what has ended makes room");
        drop(all);
        assert!(places.0.lock().expect("not poisoned").is_empty(), "and nothing is remembered");
    }
}
