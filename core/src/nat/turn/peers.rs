//! The peers of one allocation: their permissions and channels, and when these must be renewed (RFC 8656 sections 9 and
//! 12). Not here: the requests.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::framing::CHANNELS;
use crate::base::limits;
use crate::base::time::Time;

/// Permissions live five minutes at the server; renewed a minute before.
const PERMISSION_RENEWAL: Duration = Duration::from_secs(240);
/// Channels live ten minutes; renewed a minute before.
const CHANNEL_RENEWAL: Duration = Duration::from_secs(540);

/// Tables of at most [`limits::MAX_TURN_PEERS`] each.
#[derive(Debug, Default)]
pub(super) struct Peers {
    permissions: BTreeMap<IpAddr, Entry>,
    channels: BTreeMap<SocketAddr, Channel>,
    next_channel: u16,
}

#[derive(Debug)]
struct Entry {
    /// The server has agreed.
    granted: bool,
    /// A request is under way.
    asking: bool,
    renew: Time,
    /// Last time somebody wanted this peer; what nobody uses is not renewed.
    used: Time,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    entry: Entry,
}

/// What must be asked for now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Permission(IpAddr),
    Channel(u16, SocketAddr),
}

impl Entry {
    const fn new(now: Time) -> Self {
        Self { granted: false, asking: true, renew: Time::NEVER, used: now }
    }

    fn grant(&mut self, now: Time, after: Duration) {
        (self.granted, self.asking, self.renew) = (true, false, now + after);
    }

    fn is_due(&self, now: Time) -> bool {
        !self.asking && now >= self.renew
    }

    fn is_idle(&self, now: Time) -> bool {
        now.since(self.used) >= limits::TURN_IDLE_PEER
    }
}

impl Peers {
    /// Somebody wants this peer. `Some(true)` if it is permitted, `Some(false)` if that is being asked for already,
    /// `None` if it must be asked for now. `Err` when the table is full.
    pub(super) fn want(&mut self, now: Time, ip: IpAddr) -> Result<Option<bool>, ()> {
        if let Some(entry) = self.permissions.get_mut(&ip) {
            entry.used = now;
            return Ok(Some(entry.granted));
        }
        if self.permissions.len() >= limits::MAX_TURN_PEERS {
            return Err(());
        }
        self.permissions.insert(ip, Entry::new(now));
        Ok(None)
    }

    pub(super) fn is_permitted(&self, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|entry| entry.granted)
    }

    /// Something went to or came from this peer.
    pub(super) fn touch(&mut self, now: Time, peer: SocketAddr) {
        if let Some(entry) = self.permissions.get_mut(&peer.ip()) {
            entry.used = now;
        }
        if let Some(channel) = self.channels.get_mut(&peer) {
            channel.entry.used = now;
        }
    }

    pub(super) fn granted(&mut self, now: Time, ip: IpAddr) {
        if let Some(entry) = self.permissions.get_mut(&ip) {
            entry.grant(now, PERMISSION_RENEWAL);
        }
    }

    pub(super) fn refused(&mut self, ip: IpAddr) {
        self.permissions.remove(&ip);
    }

    /// The bound channel of a peer.
    pub(super) fn channel(&self, peer: SocketAddr) -> Option<u16> {
        self.channels.get(&peer).filter(|channel| channel.entry.granted).map(|channel| channel.number)
    }

    /// Whose channel it is, bound or about to be: data may overtake the answer to the binding.
    pub(super) fn peer_of(&self, number: u16) -> Option<SocketAddr> {
        self.channels.iter().find(|(_, channel)| channel.number == number).map(|(peer, _)| *peer)
    }

    /// A number to bind to a peer that has none yet. `None` if one is being bound, or the table is full.
    pub(super) fn new_channel(&mut self, now: Time, peer: SocketAddr) -> Option<u16> {
        if self.channels.contains_key(&peer) || self.channels.len() >= limits::MAX_TURN_PEERS {
            return None;
        }
        // A number must not go to another peer before the server has forgotten it, so they are used in turn.
        let number = CHANNELS.start() + self.next_channel;
        self.next_channel = (self.next_channel + 1) % (CHANNELS.end() - CHANNELS.start() + 1);
        self.channels.insert(peer, Channel { number, entry: Entry::new(now) });
        Some(number)
    }

    /// The server bound it; that also renews the permission.
    pub(super) fn bound(&mut self, now: Time, peer: SocketAddr) {
        if let Some(channel) = self.channels.get_mut(&peer) {
            channel.entry.grant(now, CHANNEL_RENEWAL);
            self.granted(now, peer.ip());
        }
    }

    /// The server did not bind it. It stays in the table without use, so that it is not asked for again and again.
    pub(super) fn not_bound(&mut self, peer: SocketAddr) {
        if let Some(channel) = self.channels.get_mut(&peer) {
            (channel.entry.granted, channel.entry.asking, channel.entry.renew) = (false, false, Time::NEVER);
        }
    }

    /// What to renew now. Idle entries are forgotten instead.
    pub(super) fn due(&mut self, now: Time) -> Vec<Due> {
        let mut due = Vec::new();
        self.channels.retain(|_, channel| !(channel.entry.is_due(now) && channel.entry.is_idle(now)));
        self.permissions.retain(|_, entry| !(entry.is_due(now) && entry.is_idle(now)));
        for (peer, channel) in self.channels.iter_mut().filter(|(_, channel)| channel.entry.is_due(now)) {
            channel.entry.asking = true;
            due.push(Due::Channel(channel.number, *peer));
        }
        for (ip, entry) in self.permissions.iter_mut().filter(|(_, entry)| entry.is_due(now)) {
            entry.asking = true;
            due.push(Due::Permission(*ip));
        }
        due
    }

    /// When the next renewal is due.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let permissions = self.permissions.values();
        let channels = self.channels.values().map(|channel| &channel.entry);
        let waiting = permissions.chain(channels).filter(|entry| !entry.asking && entry.renew != Time::NEVER);
        waiting.map(|entry| entry.renew).min()
    }

    /// Entries in both tables, for checking the bounds.
    pub(super) fn len(&self) -> usize {
        self.permissions.len() + self.channels.len()
    }
}
