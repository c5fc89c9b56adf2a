//! From a target to a link: resolves names, orders the addresses, races them with a head start each, and says of
//! every address why it failed. Runs in the caller's task. Not here: the connections, which the driver makes one
//! address at a time.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::address::{self, Target};
use super::driver::{Command, DialKind};
use super::failure::Failure;
use super::paths::{self, Path};
use super::{Inner, Link, Transport};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::nat::report;

/// Connects to whatever a user named.
pub async fn dial(inner: &Inner, text: &str, timeout: Duration) -> Result<Link> {
    match address::parse(text)? {
        Target::Peer(peer) => connect(inner, peer, timeout).await,
        Target::Address(address, peer) => {
            check_self(inner, peer.as_ref())?;
            let wanted = address::transport(&address);
            let relayed = address::is_relayed(&address);
            if let Some(peer) = peer {
                let name = address::peer_text(&peer);
                let fits = |link: &Link| link.peer == name && link.transport == wanted && link.relayed == relayed;
                if let Some(link) = inner.table.best_link(fits) {
                    return Ok(link);
                }
            }
            let race = Race { inner, peer, reuse: Some(wanted), name: text.to_owned(), from_user: true };
            race.run(vec![address], timeout).await
        }
        Target::Host(host, port) => {
            let race = Race { inner, peer: None, reuse: None, name: text.to_owned(), from_user: true };
            race.run(host_addresses(&host, port), timeout).await
        }
    }
}

/// The best existing link to a peer, or a new one over its known addresses.
pub async fn connect(inner: &Inner, peer: libp2p::PeerId, timeout: Duration) -> Result<Link> {
    check_self(inner, Some(&peer))?;
    let name = address::peer_text(&peer);
    if let Some(link) = inner.table.best_link(|link| link.peer == name) {
        return Ok(link);
    }
    if inner.table.is_banned(&peer) {
        return Err(Error::new(ErrorKind::PeerUnreachable, format!("cannot reach {name}: the peer is banned")));
    }
    let known = inner.table.addresses_of(&peer);
    if known.is_empty() {
        return Err(Error::new(ErrorKind::PeerUnreachable, format!("cannot reach {name}: no address of it is known")));
    }
    let race = Race { inner, peer: Some(peer), reuse: None, name: name.to_string(), from_user: false };
    race.run(known, timeout).await
}

/// Turns a ready-made path into a link.
pub async fn adopt(inner: &Inner, path: Path, peer: libp2p::PeerId, controlling: bool) -> Result<Link> {
    check_self(inner, Some(&peer))?;
    let name = address::peer_text(&peer);
    let unusable = |reason: String| Error::new(ErrorKind::PeerUnreachable, format!("cannot reach {name}: {reason}"));
    if inner.table.is_banned(&peer) {
        return Err(unusable("the peer is banned".into()));
    }
    if let Path::Relayed { remote, .. } = &path {
        inner.table.mark_relayed(*remote);
    }
    let (address, _held) =
        inner.paths.put(path).map_err(|cause| unusable(format!("the path cannot be used: {cause}")))?;
    let kind = DialKind::Adopt { controlling };
    let (place, _) = paths::ticket(&address);
    // The controlling side may be so fast that its connection is accepted before the driver hears that we wait for it.
    let accepted = async {
        if controlling { std::future::pending().await } else { accepted_from(inner, &name, &place.to_string()).await }
    };
    let outcome = tokio::select! {
        outcome = ask(inner, address, Some(peer), kind) => outcome,
        link = accepted => Ok(link),
    };
    outcome.map_err(|failure| unusable(format!("{place}: {failure}")))
}

/// Waits for an accepted link from a peer at an address.
async fn accepted_from(inner: &Inner, peer: &PeerId, address: &str) -> Link {
    let fits = |link: &Link| link.peer == *peer && link.address == address && !link.outbound;
    match link_that(inner, fits).await {
        Some(link) => link,
        None => std::future::pending().await,
    }
}

/// The best link that fits, waited for so long if there is none yet.
pub async fn wait_for(inner: &Inner, fits: impl Fn(&Link) -> bool, timeout: Duration) -> Option<Link> {
    tokio::time::timeout(timeout, link_that(inner, fits)).await.ok().flatten()
}

/// The best link that fits, once there is one; `None` when the fabric ends.
async fn link_that(inner: &Inner, fits: impl Fn(&Link) -> bool) -> Option<Link> {
    let mut events = inner.events.upgrade()?.subscribe();
    loop {
        if let Some(link) = inner.table.best_link(&fits) {
            return Some(link);
        }
        if matches!(events.recv().await, Err(tokio::sync::broadcast::error::RecvError::Closed)) {
            return None;
        }
    }
}

/// Dials exactly these addresses of a peer, the next one when the one before has had its head start or failed. The first
/// link counts. The reason is that of the last address that failed.
pub async fn reach(
    inner: &Inner,
    peer: &PeerId,
    addresses: Vec<Multiaddr>,
    timeout: Duration,
) -> Result<Link, (report::Failure, String)> {
    let other = |text: String| (report::Failure::Other, text);
    let id = address::peer_id(peer).map_err(|error| other(error.full_message()))?;
    if inner.table.is_banned(&id) {
        return Err(other("the peer is banned".into()));
    }
    let mut last = other("no address can be used".into());
    let mut waiting: VecDeque<Multiaddr> = addresses.into_iter().take(limits::MAX_DIAL_ADDRESSES).collect();
    let mut running = FuturesUnordered::new();
    let mut next_start = Instant::now();
    let deadline = next_start + timeout;
    loop {
        if Instant::now() >= next_start || running.is_empty() {
            match waiting.pop_front() {
                Some(at) => {
                    let kind = DialKind::Connect { reuse: Some(address::transport(&at)) };
                    running.push(async move { (at.clone(), ask(inner, at, Some(id), kind).await) });
                    next_start = Instant::now() + limits::DIAL_STAGGER;
                }
                None if running.is_empty() => return Err(last),
                None => {}
            }
        }
        tokio::select! {
            Some((at, outcome)) = running.next() => match outcome {
                Ok(link) => return Ok(link),
                Err(failure) => {
                    last = (failure.kind(), format!("{at}: {failure}"));
                    next_start = Instant::now();
                }
            },
            () = sleep_until(next_start), if !waiting.is_empty() => {}
            () = sleep_until(deadline) => return Err((report::Failure::Timeout, String::new())),
        }
    }
}

/// Gets a place at a relay.
pub async fn reserve(inner: &Inner, relay: &str) -> Result<String> {
    let (address, peer) = match address::parse(relay)? {
        Target::Address(address, Some(peer)) if !address::is_relayed(&address) => (address, peer),
        _ => {
            let wanted =
                format_args!("{relay:?} is not the multiaddr of a relay with its peer id (/ip4/…/tcp/…/p2p/…)");
            return Err(Error::invalid("relays", wanted));
        }
    };
    check_self(inner, Some(&peer))?;
    let (reply, answer) = oneshot::channel();
    let address = address.with(Protocol::P2p(peer)).with(Protocol::P2pCircuit);
    link_to_relay(inner, &address)
        .await
        .map_err(|failure| Error::new(ErrorKind::PeerUnreachable, format!("relay {relay}: no place: {failure}")))?;
    send(inner, Command::Reserve { address, reply }).await?;
    match tokio::time::timeout(limits::RELAY_RESERVE_TIMEOUT, answer).await {
        Ok(Ok(outcome)) => outcome.map(|address| address.to_string()),
        Ok(Err(_)) => Err(ended()),
        Err(_) => {
            release(inner, peer).await?;
            let waited = limits::RELAY_RESERVE_TIMEOUT;
            Err(Error::new(ErrorKind::Timeout, format!("relay {relay}: no answer within {waited:?}")))
        }
    }
}

/// Gives places at a relay back.
pub async fn release(inner: &Inner, relay: libp2p::PeerId) -> Result<()> {
    send(inner, Command::Release { relay }).await
}

fn ended() -> Error {
    Error::new(ErrorKind::InvalidState, "the fabric is shut down")
}

async fn send(inner: &Inner, command: Command) -> Result<()> {
    let sent = inner.commands.send_timeout(command, limits::FABRIC_COMMAND_TIMEOUT).await;
    sent.map_err(|error| match error {
        tokio::sync::mpsc::error::SendTimeoutError::Timeout(_) => {
            Error::new(ErrorKind::Timeout, "the fabric is too busy to take a command")
        }
        tokio::sync::mpsc::error::SendTimeoutError::Closed(_) => ended(),
    })
}

/// Makes sure of a link to the relay of a circuit. libp2p would make one by itself, but a second one if two ask for it
/// at once, and then close one of them together with what was asked over it.
async fn link_to_relay(inner: &Inner, circuit: &Multiaddr) -> Result<(), Failure> {
    let Some((relay, at)) = address::relay(circuit) else { return Ok(()) };
    let name = address::peer_text(&relay);
    if at.is_empty() || inner.table.best_link(|link| link.peer == name && !link.relayed).is_some() {
        return Ok(());
    }
    let kind = DialKind::Connect { reuse: None };
    Box::pin(ask(inner, at, Some(relay), kind)).await.map(|_| ())
}

/// Hands one dial to the driver and waits for its end.
async fn ask(inner: &Inner, address: Multiaddr, peer: Option<libp2p::PeerId>, kind: DialKind) -> Result<Link, Failure> {
    if address::is_relayed(&address) {
        link_to_relay(inner, &address).await?;
    }
    let (reply, answer) = oneshot::channel();
    let command = Command::Dial { address, peer, kind, reply };
    let ended = || Failure::Other("the fabric is shut down".into());
    match inner.commands.send_timeout(command, limits::FABRIC_COMMAND_TIMEOUT).await {
        Ok(()) => {}
        Err(tokio::sync::mpsc::error::SendTimeoutError::Timeout(_)) => {
            return Err(Failure::Other("too many dials are waiting".into()));
        }
        Err(_) => return Err(ended()),
    }
    answer.await.unwrap_or_else(|_| Err(ended()))
}

/// Multiaddrs of a host: TCP first, because it costs less where both work.
pub fn host_addresses(host: &str, port: u16) -> Vec<Multiaddr> {
    let start = match host.parse::<IpAddr>() {
        Ok(ip) => Multiaddr::from(ip),
        Err(_) => Multiaddr::empty().with(Protocol::Dns(host.into())),
    };
    vec![start.clone().with(Protocol::Tcp(port)), start.with(Protocol::Udp(port)).with(Protocol::QuicV1)]
}

fn check_self(inner: &Inner, peer: Option<&libp2p::PeerId>) -> Result<()> {
    if peer == Some(&inner.local) { Err(myself()) } else { Ok(()) }
}

fn myself() -> Error {
    Error::new(ErrorKind::InvalidArgument, "the address leads to this node itself")
}

/// One dial: several addresses, one peer.
struct Race<'a> {
    inner: &'a Inner,
    /// Who must answer; `None` for whoever is there.
    peer: Option<libp2p::PeerId>,
    /// An existing link that makes a new one superfluous must have this transport; `None` for any.
    reuse: Option<Transport>,
    name: String,
    /// The addresses were named by the user, not learnt; reaching ourselves is then the user's mistake.
    from_user: bool,
}

impl Race<'_> {
    async fn run(&self, addresses: Vec<Multiaddr>, timeout: Duration) -> Result<Link> {
        let deadline = Instant::now() + timeout;
        // Reasons by position, so that the report keeps the order in which the addresses were tried.
        let mut reasons: BTreeMap<usize, String> = BTreeMap::new();
        let mut waiting: VecDeque<(usize, Multiaddr)> = VecDeque::new();
        match timeout_at(deadline, self.resolve(addresses)).await {
            Err(_) => return Err(self.unreachable([format!("no answer from the name server within {timeout:?}")])),
            Ok(resolved) => {
                for (position, address) in resolved.into_iter().enumerate() {
                    match address {
                        Ok(address) if waiting.len() < limits::MAX_DIAL_ADDRESSES => {
                            waiting.push_back((position, address));
                        }
                        Ok(address) => {
                            reasons.insert(position, format!("{address}: not tried, too many addresses"));
                        }
                        Err(reason) => {
                            reasons.insert(position, reason);
                        }
                    }
                }
            }
        }
        if self.reuse.is_none() && self.peer.is_none() {
            let texts: HashSet<String> = waiting.iter().map(|(_, address)| address.to_string()).collect();
            if let Some(link) = self.inner.table.best_link(|link| link.outbound && texts.contains(&link.address)) {
                return Ok(link);
            }
        }

        let mut refused: HashSet<IpAddr> = HashSet::new();
        let mut running = FuturesUnordered::new();
        let mut open: BTreeMap<usize, Multiaddr> = BTreeMap::new();
        let mut next_start = Instant::now();
        loop {
            if Instant::now() >= next_start || running.is_empty() {
                if let Some((position, address)) = waiting.pop_front() {
                    let hopeless = ip_of(&address).is_some_and(|ip| refused.contains(&ip));
                    let limit = hopeless && address::transport(&address) == Transport::Quic;
                    open.insert(position, address.clone());
                    running.push(self.attempt(position, address, limit));
                    next_start = Instant::now() + limits::DIAL_STAGGER;
                } else if running.is_empty() {
                    return Err(self.unreachable(reasons.into_values()));
                }
            }
            tokio::select! {
                Some((position, outcome)) = running.next() => {
                    let address = open.remove(&position).expect("inserted when the attempt was started");
                    match outcome {
                        Ok(link) => return Ok(link),
                        Err(Failure::Myself) if self.from_user => return Err(myself()),
                        Err(failure) => {
                            if matches!(failure, Failure::Refused(_)) {
                                refused.extend(ip_of(&address));
                            }
                            reasons.insert(position, format!("{address}: {failure}"));
                            next_start = Instant::now();
                        }
                    }
                }
                () = sleep_until(next_start), if !waiting.is_empty() => {}
                () = sleep_until(deadline) => {
                    for (position, address) in open {
                        reasons.insert(position, format!("{address}: no answer within {timeout:?}"));
                    }
                    for (position, address) in waiting {
                        reasons.insert(position, format!("{address}: not tried within {timeout:?}"));
                    }
                    return Err(self.unreachable(reasons.into_values()));
                }
            }
        }
    }

    async fn attempt(&self, position: usize, address: Multiaddr, short: bool) -> (usize, Result<Link, Failure>) {
        let outcome = async {
            // Noticed here, because a TCP socket bound to the listening port that connects to that same port is
            // connected to itself by the system, and the handshake fails with a riddle.
            if self.inner.table.listening().contains(&address) {
                return Err(Failure::Myself);
            }
            if let Some(peer) = self.peer.filter(|_| !self.from_user)
                && let Some(pause) = self.inner.table.refusal_pause(&address, &peer)
            {
                let pause = pause.as_secs() + 1;
                return Err(Failure::NoCircuit(format!("the relay refused lately; not asked again for {pause} s")));
            }
            ask(self.inner, address, self.peer, DialKind::Connect { reuse: self.reuse }).await
        };
        if !short {
            return (position, outcome.await);
        }
        let limit = limits::QUIC_AFTER_REFUSAL_TIMEOUT;
        let outcome = tokio::time::timeout(limit, outcome).await;
        (position, outcome.unwrap_or_else(|_| Err(Failure::Other(format!("no answer within {limit:?}")))))
    }

    /// Turns names into addresses, keeping the order: all TCP addresses, then all QUIC ones, because the input has
    /// them in that order. An address that cannot be used becomes its reason.
    async fn resolve(&self, addresses: Vec<Multiaddr>) -> Vec<Result<Multiaddr, String>> {
        let mut resolved = Vec::new();
        let mut names: BTreeMap<String, Result<Vec<IpAddr>, String>> = BTreeMap::new();
        for address in addresses {
            let (enabled, what) = match address::transport(&address) {
                Transport::Tcp => (self.inner.tcp, "TCP"),
                Transport::Quic => (self.inner.quic, "QUIC"),
            };
            if !enabled {
                resolved.push(Err(format!("{address}: {what} is switched off")));
                continue;
            }
            let Some((name, v4, v6)) = address::dns_name(&address) else {
                let is_list = matches!(address.iter().next(), Some(Protocol::Dnsaddr(_)));
                let unknown = "lists of addresses (dnsaddr) are not looked up; name one of those it stands for";
                resolved.push(if is_list { Err(format!("{address}: {unknown}")) } else { Ok(address) });
                continue;
            };
            if !names.contains_key(&name) {
                // The port does not matter here, the function wants one.
                let found = tokio::net::lookup_host((name.as_str(), 0)).await;
                let found = found.map(|found| found.map(|address: SocketAddr| address.ip()).collect());
                names.insert(name.clone(), found.map_err(|cause| cause.to_string()));
            }
            match &names[&name] {
                Err(reason) => resolved.push(Err(format!("{address}: the name cannot be resolved: {reason}"))),
                Ok(ips) => {
                    let fits = |ip: &&IpAddr| if ip.is_ipv4() { v4 } else { v6 && self.inner.ipv6 };
                    let before = resolved.len();
                    resolved.extend(ips.iter().filter(fits).map(|ip| Ok(address::with_ip(&address, *ip))));
                    if resolved.len() == before {
                        resolved.push(Err(format!("{address}: the name has no address of a family in use")));
                    }
                }
            }
        }
        resolved
    }

    fn unreachable(&self, reasons: impl IntoIterator<Item = String>) -> Error {
        let reasons: Vec<String> = reasons.into_iter().collect();
        Error::new(ErrorKind::PeerUnreachable, format!("cannot reach {}: {}", self.name, reasons.join("; ")))
    }
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}
