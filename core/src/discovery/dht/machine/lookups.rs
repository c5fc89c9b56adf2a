//! The lookups of a node: for providers, for the nodes around what is announced, and to keep the routing table filled.
//! Not here: the order in which nodes are asked ([`query`](super::super::query)).

use std::collections::{HashMap, HashSet};

use super::super::announce::Surroundings;
use super::super::contact::Contact;
use super::super::key::{Key, Node, Placement, key_at};
use super::super::message::{Kind, Message, Peer};
use super::super::query::{self, Ask, Query};
use super::super::shard::Shards;
use super::{Machine, Output, Summary};
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::policy::Scope;

/// Larger than any network.
const UNKNOWN_SIZE: f64 = 1e12;

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) query: Query,
    pub(super) started: Time,
    /// The bytes of which the target is the hash.
    key: Vec<u8>,
    purpose: Purpose,
    /// Shard hosts asked beside the paths.
    beside: usize,
    /// Those that answered and speak our extensions.
    ours: HashSet<Node>,
}

/// What a lookup is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Who provides the key?
    Providers {
        /// Those reported, and whether their announcements were signed.
        found: HashMap<Node, bool>,
        /// Nodes that named some.
        tellers: usize,
    },
    /// Which nodes are around this position, to announce what we have there?
    Region(Key),
    /// Which nodes are around the target? Somebody has asked.
    Nodes,
    /// Only to meet nodes.
    Refresh,
}

impl Purpose {
    pub(super) fn providers() -> Self {
        Self::Providers { found: HashMap::new(), tellers: 0 }
    }
}

impl Machine {
    /// How many nodes the network has, as far as known.
    fn size(&self) -> f64 {
        // Before that, a crowd cannot be told from all there are.
        let is_known = self.joined || self.routing.len() >= 2 * limits::DHT_K;
        if is_known { self.routing.estimate() } else { UNKNOWN_SIZE }
    }

    /// The k nearest nodes of the table, with the defences of lookups: else a crowd around a key would be all that anybody
    /// is told of.
    pub(super) fn nearest(&self, target: &Key) -> Vec<Contact> {
        let pool = self.routing.closest(target, 4 * limits::DHT_K);
        query::select(target, query::reckoned_with(self.size()), limits::DHT_K, &pool).into_iter().cloned().collect()
    }

    pub(super) fn start(&mut self, now: Time, key: Vec<u8>, purpose: Purpose) -> u64 {
        let target = self.placement.position(&key);
        let seeds = self.nearest(&target);
        // Of a region, its surroundings count as well.
        let width = if matches!(purpose, Purpose::Region(_)) { 2 * limits::DHT_K } else { limits::DHT_K };
        let query = Query::new(target, self.size(), seeds, self.paths, width);
        self.next_id += 1;
        let id = self.next_id;
        let is_search = matches!(purpose, Purpose::Providers { .. });
        self.lookups.insert(id, Lookup { query, started: now, key, purpose, beside: 0, ours: HashSet::new() });
        if is_search {
            for (host, _) in self.hosts.of(&target) {
                self.ask_beside(now, id, &host, 0);
            }
        }
        id
    }

    fn ask_beside(&mut self, now: Time, id: u64, host: &Contact, hops: u32) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        // As many again as are known at the start may come up on the way.
        let is_full = self.requests.len() >= limits::DHT_OUTBOUND;
        if is_full || lookup.beside >= 2 * limits::DHT_SHARD_HOSTS_ASKED || host.node == self.node {
            return;
        }
        if let Some(ask) = lookup.query.ask_beside(now, host, hops) {
            lookup.beside += 1;
            self.ask(now, id, ask);
        }
    }

    fn ask(&mut self, now: Time, id: u64, ask: Ask) {
        let Some(lookup) = self.lookups.get(&id) else { return };
        let kind = match lookup.purpose {
            Purpose::Providers { .. } => Kind::GetProviders,
            Purpose::Region(_) | Purpose::Nodes | Purpose::Refresh => Kind::FindNode,
        };
        let message = Message::new(kind, lookup.key.clone());
        self.send(now, Some(id), ask.contact, ask.hops, message);
    }

    /// Starts what is due and asks whom lookups want to ask.
    pub(super) fn pump(&mut self, now: Time) {
        self.start_due(now);
        let ids: Vec<u64> = self.lookups.keys().copied().collect();
        for id in ids {
            while self.requests.len() < limits::DHT_OUTBOUND {
                let own = self.node.clone();
                let Some(lookup) = self.lookups.get_mut(&id) else { break };
                let Some(ask) = lookup.query.next(now) else { break };
                if ask.contact.node == own {
                    // We are near, but know nothing that is not known here.
                    lookup.query.answered(&own, ask.hops, Vec::new());
                    continue;
                }
                self.ask(now, id, ask);
            }
            let is_over = self.lookups.get_mut(&id).is_some_and(|lookup| {
                let is_enough = match &lookup.purpose {
                    Purpose::Providers { found, tellers } => {
                        found.len() >= limits::DHT_PROVIDERS_WANTED && *tellers >= limits::DHT_TELLERS
                    }
                    _ => false,
                };
                is_enough || lookup.query.is_finished() || now.since(lookup.started) >= limits::DHT_LOOKUP
            });
            if is_over {
                self.finish(now, id);
            }
        }
        if !self.joined {
            self.start_due(now);
        }
        while let Some(provide) = self.announcer.next_message(now) {
            if !provide.keys.is_empty() && provide.to.node != self.node {
                self.outputs.push_back(Output::Provide(provide));
            }
        }
    }

    fn start_due(&mut self, now: Time) {
        if self.routing.is_empty() {
            return;
        }
        let is_refresh = |lookup: &&Lookup| matches!(lookup.purpose, Purpose::Refresh);
        let mut refreshing = self.lookups.values().filter(is_refresh).count();
        while refreshing < limits::DHT_REFRESHES
            && let Some(bucket) = self.refreshes.pop_front()
        {
            let key = self.key_in(bucket);
            self.start(now, key, Purpose::Refresh);
            self.refreshed = true;
            refreshing += 1;
        }
        self.joined |= self.refreshed && refreshing == 0;
        while self.joined && self.lookups.len() < limits::DHT_LOOKUPS {
            let Some((center, lookup)) = self.announcer.next_region(now, self.routing.estimate()) else { break };
            self.start(now, self.placement.record_key(&lookup), Purpose::Region(center));
        }
    }

    /// Bytes whose position lies in this bucket; our own for the first, since its lookup fills all the deeper ones.
    fn key_in(&mut self, bucket: u32) -> Vec<u8> {
        if self.placement == Placement::Direct {
            let own = *self.node.key();
            return key_at(&if bucket == 0 { own } else { own.beside(bucket - 1, &mut self.jitter) });
        }
        if bucket == 0 {
            return self.node.as_bytes().to_vec();
        }
        // One of 2^(bucket + 1) hashes fits; the last attempt is as good as any for buckets not hit by then.
        let mut key = Vec::new();
        for _ in 0..1_u32 << (limits::DHT_REFRESH_BITS + 3) {
            key = self.jitter.bits().to_be_bytes().to_vec();
            if self.node.key().shared_bits(&Key::of(&key)) == bucket - 1 {
                break;
            }
        }
        key
    }

    pub(super) fn answered(&mut self, now: Time, id: u64, from: &Contact, hops: u32, answer: &Message, scope: Scope) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        let near = |peer: &Peer| peer.contact.within(scope);
        let closer: Vec<Contact> = answer.closer.iter().map(near).collect();
        if !lookup.query.answered(&from.node, hops, closer.clone()) {
            return;
        }
        if answer.shards.is_some() {
            lookup.ours.insert(from.node.clone());
        }
        let target = *lookup.query.target();
        let is_search = matches!(lookup.purpose, Purpose::Providers { .. });
        for (peer, contact) in answer.closer.iter().zip(closer) {
            let shards = peer.shards.as_deref().and_then(Shards::decode);
            let Some(shards) = shards.filter(|shards| !shards.is_empty()) else { continue };
            let covers = shards.contains(&target);
            self.hosts.note(now, &contact, shards, false);
            if covers && is_search && !contact.addresses.is_empty() {
                self.ask_beside(now, id, &contact, hops);
            }
        }
        if is_search {
            self.found(now, id, hops, &answer.providers, scope);
        }
    }

    fn found(&mut self, now: Time, id: u64, hops: u32, providers: &[Peer], scope: Scope) {
        let mut told = Vec::new();
        for peer in providers.iter().take(limits::DHT_K) {
            let provider = peer.contact.within(scope);
            let announcement = peer.announcement.clone().filter(|bytes| self.validity(now, bytes).is_some());
            // What was signed and does not hold any more is over; whoever tells of it does not make it unsigned.
            if provider.node != self.node && peer.announcement.is_some() == announcement.is_some() {
                told.push((provider, announcement));
            }
        }
        let Some(Lookup { purpose: Purpose::Providers { found, tellers }, .. }) = self.lookups.get_mut(&id) else {
            return;
        };
        *tellers += usize::from(!told.is_empty());
        for (provider, announcement) in told {
            let signed = announcement.is_some();
            let is_news = match found.get(&provider.node) {
                Some(known) => signed && !known,
                None => found.len() < limits::DHT_PROVIDERS_FOUND,
            };
            if is_news {
                found.insert(provider.node.clone(), signed);
                self.outputs.push_back(Output::Found { lookup: id, provider, announcement, hops });
            }
        }
    }

    fn finish(&mut self, now: Time, id: u64) {
        let Some(lookup) = self.lookups.remove(&id) else { return };
        let nearest = lookup.query.closest();
        let (found, is_search) = match &lookup.purpose {
            Purpose::Providers { found, .. } => (found.len(), true),
            _ => (0, false),
        };
        if let Purpose::Region(center) = lookup.purpose {
            // Whoever knows fewer than k nodes knows them all.
            let farthest = nearest.get(limits::DHT_K - 1);
            let radius_bits = farthest.map_or(0, |farthest| center.shared_bits(farthest.node.key()) + 1);
            // Those of a crowd keep nothing, so others must keep it as well.
            let replicas = if lookup.query.is_crowded() { 2 * limits::DHT_K } else { limits::DHT_K };
            let expected = lookup.query.expected();
            let surroundings = Surroundings { nodes: nearest, radius_bits, expected, replicas };
            let hosts = self.hosts.of(&center);
            // Only nodes of our kind say that they host shards.
            let is_ours =
                |node: &Node| lookup.ours.contains(node) || hosts.iter().any(|(contact, _)| contact.node == *node);
            self.announcer.region_found(now, center, &surroundings, &hosts, is_ours);
            return;
        }
        if matches!(lookup.purpose, Purpose::Nodes) {
            self.outputs.push_back(Output::Nodes { lookup: id, nodes: nearest });
            return;
        }
        if is_search {
            let summary = Summary { asked: lookup.query.asked(), found, nearest: nearest.len() };
            self.outputs.push_back(Output::Done { lookup: id, summary });
        }
    }
}
