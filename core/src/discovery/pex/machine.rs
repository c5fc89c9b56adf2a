//! What is told to whom, and what is believed of what is heard. Pure: time is an argument.
//! Not here: signatures and searches ([`driver`](super::driver)).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::PexConfig;
use crate::base::ids::{FileHash, PeerId};
use crate::base::limits;
use crate::base::time::Time;
use crate::discovery::candidate::host_and_port;
use crate::nat::policy::{Origin, Policy, Refusal};
use crate::wire::pex::{Entry, Exchange, Flags};

/// Names one session: a content and a peer with whom it is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look into it, then call [`Pex::hear`].
    Take,
    /// Pass over it: it comes too early, or from a peer that is not listened to.
    Ignore,
    /// The peer floods: end the session.
    Flood,
}

/// Somebody that a peer told of; the signature, if there is one, is that of this peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who.
    pub peer: PeerId,
    /// Where, as claimed.
    pub addresses: Vec<String>,
    /// It signed them itself.
    pub signed: bool,
    /// What else is said of it.
    pub flags: Flags,
}

/// A peer with which this node has, or had a moment ago, a session.
#[derive(Clone, Debug)]
struct Member {
    flags: Flags,
    addresses: Vec<String>,
    signed: Option<bytes::Bytes>,
    /// Until when its signature holds; nobody would believe it later.
    holds: Time,
    /// Changes with the rest.
    version: u64,
    sessions: usize,
    /// When the last session ended.
    left: Time,
}

#[derive(Debug, Default)]
struct Swarm {
    members: BTreeMap<PeerId, Member>,
    sessions: usize,
    used: Time,
}

#[derive(Debug)]
struct Session {
    key: FileHash,
    peer: PeerId,
    origin: Origin,
    /// What the peer knows from us, in which version.
    told: BTreeMap<PeerId, u64>,
    next_message: Time,
    /// Messages it may still send now, and since when that is so.
    credit: f64,
    credited: Time,
    strikes: u32,
    junk: u32,
    heard: BTreeSet<PeerId>,
    /// The peer takes part in the swarm.
    joined: bool,
}

/// All that a node knows of who knows whom.
#[derive(Debug)]
pub struct Pex {
    config: PexConfig,
    own: PeerId,
    policy: Policy,
    swarms: BTreeMap<FileHash, Swarm>,
    sessions: BTreeMap<SessionId, Session>,
    shunned: VecDeque<PeerId>,
    next: u64,
}

impl Pex {
    /// Knows nobody. `own` is this node.
    pub fn new(config: PexConfig, own: PeerId) -> Self {
        Self {
            config,
            own,
            policy: Policy::default(),
            swarms: BTreeMap::new(),
            sessions: BTreeMap::new(),
            shunned: VecDeque::new(),
            next: 0,
        }
    }

    /// A session about a content began, over a link to this address of the peer.
    pub fn open(&mut self, now: Time, key: FileHash, peer: &PeerId, address: &str) -> SessionId {
        if self.swarms.len() >= limits::MAX_PEX_SWARMS && !self.swarms.contains_key(&key) {
            // The one that nobody uses for the longest; with sessions in all of them the oldest loses its memory.
            let oldest = self.swarms.iter().min_by_key(|(_, swarm)| (swarm.sessions > 0, swarm.used));
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.swarms.remove(&oldest);
            }
        }
        let swarm = self.swarms.entry(key).or_default();
        swarm.sessions += 1;
        swarm.used = now;
        self.next += 1;
        let id = SessionId(self.next);
        let session = Session {
            key,
            peer: peer.clone(),
            origin: origin_of(address),
            told: BTreeMap::new(),
            next_message: now + limits::PEX_FIRST,
            credit: f64::from(limits::PEX_BURST),
            credited: now,
            strikes: 0,
            junk: 0,
            heard: BTreeSet::new(),
            joined: false,
        };
        self.sessions.insert(id, session);
        id
    }

    /// The peer of this session takes part in the swarm. `dialled` is the address at which we connected to it, if it was
    /// us; without one, and without a signed announcement ([`announced`](Self::announced)), it is not told of.
    pub fn joined(&mut self, now: Time, id: SessionId, seed: bool, dialled: Option<&str>) {
        match self.sessions.get_mut(&id) {
            Some(session) if !session.joined => session.joined = true,
            _ => return,
        }
        let Some((swarm, peer)) = self.swarm_of(id) else { return };
        let version = swarm.version();
        let member = swarm.member(&peer, now);
        member.sessions += 1;
        member.flags.seed = seed;
        member.version = version;
        if let Some(address) = dialled {
            member.flags.reachable = true;
            member.flags.quic |= address.contains("/quic-v1");
            member.flags.tcp |= !address.contains("/quic-v1");
            if !member.addresses.iter().any(|known| known == address) {
                member.addresses.insert(0, address.to_owned());
                member.addresses.truncate(limits::MAX_ADDRESSES_PER_PEER);
            }
        }
        swarm.shrink();
    }

    /// The peer of this session sent its own announcement, whose signature is right and holds until then.
    pub fn announced(&mut self, id: SessionId, bytes: bytes::Bytes, addresses: &[String], holds: Time) {
        let Some((swarm, peer)) = self.swarm_of(id) else { return };
        let version = swarm.version();
        // Only who takes part is told of.
        let Some(member) = swarm.members.get_mut(&peer) else { return };
        member.version = version;
        member.flags.quic |= addresses.iter().any(|address| address.contains("/quic-v1"));
        member.flags.tcp |= addresses.iter().any(|address| !address.contains("/quic-v1"));
        member.signed = Some(bytes);
        member.holds = holds;
    }

    /// A session ended.
    pub fn close(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        let Some(swarm) = self.swarms.get_mut(&session.key) else { return };
        swarm.sessions = swarm.sessions.saturating_sub(1);
        swarm.used = now;
        if let Some(member) = swarm.members.get_mut(&session.peer).filter(|_| session.joined) {
            member.sessions = member.sessions.saturating_sub(1);
            member.left = now;
        }
        if swarm.sessions == 0 && swarm.members.values().all(|member| member.is_over(now)) {
            self.swarms.remove(&session.key);
        }
    }

    /// When there may be something to tell in a session.
    pub fn next_timeout(&self, id: SessionId) -> Option<Time> {
        self.sessions.get(&id).map(|session| session.next_message)
    }

    /// What is to be told in a session now. Nothing before its time, and never an empty message.
    pub fn message(&mut self, now: Time, id: SessionId) -> Option<Exchange> {
        let session = self.sessions.get_mut(&id).filter(|session| session.next_message <= now)?;
        let swarm = self.swarms.get_mut(&session.key)?;
        swarm.members.retain(|_, member| !member.is_over(now));
        swarm.expire(now);
        session.next_message = now + limits::PEX_IDLE;
        if self.shunned.contains(&session.peer) {
            return None;
        }
        let most = self.config.max_peers.min(limits::MAX_PEX_PEERS);
        let mut message = Exchange::default();
        let gone = session.told.keys().filter(|peer| !swarm.members.contains_key(*peer));
        message.dropped = gone.take(most).cloned().collect();
        session.told.retain(|peer, _| !message.dropped.contains(peer));
        let mut news: Vec<(&PeerId, &Member)> = swarm
            .members
            .iter()
            .filter(|(peer, member)| **peer != session.peer && session.told.get(peer) != Some(&member.version))
            .collect();
        // Those that surely can be reached, then those that say so themselves, then the latest.
        news.sort_by_key(|(_, member)| {
            std::cmp::Reverse((member.flags.reachable, member.signed.is_some(), member.version))
        });
        let mut bytes = 0;
        for (peer, member) in news {
            let Some(entry) = member.entry(peer, session.origin, &self.policy) else { continue };
            bytes += entry_bytes(&entry);
            if message.added.len() >= most || bytes > limits::MAX_PEX_MESSAGE_BYTES {
                break;
            }
            session.told.insert(peer.clone(), member.version);
            message.added.push((member.flags, entry));
        }
        if message.added.is_empty() && message.dropped.is_empty() {
            return None;
        }
        session.next_message = now + self.config.interval;
        Some(message)
    }

    /// A message came. Judged by its size and time only, before anything of it is looked at.
    pub fn admit(&mut self, now: Time, id: SessionId, message: &Exchange) -> Verdict {
        let interval = self.config.interval.min(limits::PEX_INTERVAL).as_secs_f64().max(0.001);
        let Some(session) = self.sessions.get_mut(&id) else { return Verdict::Ignore };
        if self.shunned.contains(&session.peer) {
            return Verdict::Flood;
        }
        let earned = now.since(session.credited).as_secs_f64() / interval;
        session.credit = (session.credit + earned).min(f64::from(limits::PEX_BURST));
        session.credited = now;
        if message.added.len() > limits::MAX_PEX_PEERS || message.dropped.len() > limits::MAX_PEX_PEERS {
            return self.shun(id);
        }
        if session.credit < 1.0 {
            session.strikes += 1;
            return if session.strikes > limits::PEX_STRIKES { self.shun(id) } else { Verdict::Ignore };
        }
        session.credit -= 1.0;
        Verdict::Take
    }

    /// Whom an admitted message names: gives those worth trying, with the addresses worth trying. `false_entries` are
    /// those that could not even be read. [`Verdict::Flood`] when it was too much nonsense.
    pub fn hear(&mut self, id: SessionId, heard: Vec<Heard>, false_entries: u32) -> Result<Vec<Heard>, Verdict> {
        let own = self.own.clone();
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(Vec::new()) };
        session.junk += false_entries;
        let mut good = Vec::new();
        for mut one in heard {
            // To be told of oneself is no sign of malice, only of no use.
            if one.peer == own || one.peer == session.peer {
                continue;
            }
            let origin = session.origin;
            one.addresses.retain(|address| may_dial(&self.policy, address, origin));
            if one.addresses.is_empty() {
                session.junk += 1;
                continue;
            }
            if session.heard.len() >= limits::MAX_PEX_MEMBERS && !session.heard.contains(&one.peer) {
                // More than any swarm has at a time: this is invented, or long gone.
                session.junk += 1;
                continue;
            }
            session.heard.insert(one.peer.clone());
            good.push(one);
        }
        if session.junk > limits::PEX_JUNK {
            return Err(self.shun(id));
        }
        Ok(good)
    }

    /// Peers of a content with which there is a session, for searches: who, and where we reached them.
    pub fn members(&self, key: &FileHash) -> Vec<(PeerId, Vec<String>)> {
        let members = self.swarms.get(key).into_iter().flat_map(|swarm| &swarm.members);
        members.map(|(peer, member)| (peer.clone(), member.addresses.clone())).collect()
    }

    /// Sizes of the tables: contents, the most peers of one of them, sessions, peers not listened to.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        let members = self.swarms.values().map(|swarm| swarm.members.len()).max().unwrap_or(0);
        (self.swarms.len(), members, self.sessions.len(), self.shunned.len())
    }

    fn shun(&mut self, id: SessionId) -> Verdict {
        if let Some(session) = self.sessions.get(&id)
            && !self.shunned.contains(&session.peer)
        {
            if self.shunned.len() >= limits::MAX_PEX_SHUNNED {
                self.shunned.pop_front();
            }
            self.shunned.push_back(session.peer.clone());
        }
        Verdict::Flood
    }

    fn swarm_of(&mut self, id: SessionId) -> Option<(&mut Swarm, PeerId)> {
        let session = self.sessions.get(&id)?;
        Some((self.swarms.get_mut(&session.key)?, session.peer.clone()))
    }
}

impl Swarm {
    fn version(&self) -> u64 {
        self.members.values().map(|member| member.version).max().unwrap_or(0) + 1
    }

    fn member(&mut self, peer: &PeerId, now: Time) -> &mut Member {
        let new = || Member {
            flags: Flags::default(),
            addresses: Vec::new(),
            signed: None,
            holds: now,
            version: 0,
            sessions: 0,
            left: now,
        };
        self.members.entry(peer.clone()).or_insert_with(new)
    }

    /// Forgets signatures that hold no longer.
    fn expire(&mut self, now: Time) {
        for member in self.members.values_mut().filter(|member| member.holds <= now) {
            member.signed = None;
        }
    }

    /// Keeps to the bound: first goes who left first, then whom we never reached, then the oldest.
    fn shrink(&mut self) {
        while self.members.len() > limits::MAX_PEX_MEMBERS {
            let worth = |member: &Member| (member.sessions > 0, member.flags.reachable, member.left, member.version);
            let least = self.members.iter().min_by_key(|(_, member)| worth(member)).map(|(peer, _)| peer.clone());
            let Some(least) = least else { return };
            self.members.remove(&least);
        }
    }
}

impl Member {
    fn is_over(&self, now: Time) -> bool {
        self.sessions == 0 && now >= self.left + limits::PEX_LINGER
    }

    /// How it is told of to somebody who is as near as `origin` says.
    fn entry(&self, peer: &PeerId, origin: Origin, policy: &Policy) -> Option<Entry> {
        if let Some(bytes) = &self.signed {
            return Some(Entry::Signed(bytes.clone()));
        }
        let addresses: Vec<String> =
            self.addresses.iter().filter(|address| may_dial(policy, address, origin)).cloned().collect();
        (!addresses.is_empty()).then(|| Entry::Plain { peer: peer.clone(), addresses })
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    match entry {
        Entry::Signed(bytes) => 3 + bytes.len(),
        Entry::Plain { peer, addresses } => {
            5 + peer.as_str().len() + addresses.iter().map(|address| address.len() + 1).sum::<usize>()
        }
    }
}

/// From how near somebody at this address speaks.
fn origin_of(address: &str) -> Origin {
    match socket(address).map(|socket| crate::nat::policy::judge(socket.ip().to_canonical())) {
        Some(Err(Refusal::Loopback)) => Origin::SameMachine,
        Some(Err(Refusal::Private | Refusal::SharedNat | Refusal::LinkLocal)) => Origin::LocalNetwork,
        _ => Origin::Remote,
    }
}

/// Whether an address is worth a dial on the word of somebody as near as that. Names are not: they could stand for
/// anything. Networks for documentation and benchmarks count as public: they lead nowhere, or into a test.
fn may_dial(policy: &Policy, address: &str, origin: Origin) -> bool {
    socket(address).is_some_and(|socket| {
        matches!(policy.check(socket, origin), Ok(()) | Err(Refusal::Documentation | Refusal::Benchmark))
    })
}

fn socket(address: &str) -> Option<SocketAddr> {
    let (host, port) = host_and_port(address).filter(|_| address.starts_with("/ip"))?;
    Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, port))
}

#[cfg(test)]
mod tests;
