//! All port mappings of a node as one machine: which router protocols answer, who maps what, renewals, restarts of the
//! router, deletion. Pure. Not here: sockets, clocks, UPnP's HTTP (`driver`).
//!
//! A router is first asked harmless questions in all protocols at once: PCP's ANNOUNCE, NAT-PMP's outside address, a
//! UPnP search. The best protocol that answers (PCP, NAT-PMP, UPnP) makes the mappings, and the next one takes over
//! what it refuses. Asking all of them for the mapping itself and dropping the surplus would be no faster, and it
//! would be wrong: many routers, miniupnpd among them, keep one table for all three, so that deleting the surplus
//! deletes the mapping.

mod burst;
mod entry;
mod gateway;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use self::entry::{Entry, Grant};
use self::gateway::Gateway;
use super::{Event, Failure, Family, MappingInfo, Method, Methods, ProbeResult, Protocol, Route, Wish, natpmp, pcp};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram to port 5351 of the family's router.
    Send {
        /// Which router.
        family: Family,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Do something over UPnP and report it with [`Machine::handle_upnp`] under the same id.
    Upnp {
        /// Names the request.
        id: u64,
        /// What to do.
        request: UpnpRequest,
    },
    /// Tell whoever listens.
    Event(Event),
}

/// What can be asked of a UPnP device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpnpRequest {
    /// Is there one, and what is its outside address?
    Probe {
        /// Port mappings (IPv4) or pinholes (IPv6).
        family: Family,
    },
    /// Map a port or open a pinhole, or renew it.
    Map {
        /// Port mapping or pinhole.
        family: Family,
        /// TCP or UDP.
        protocol: Protocol,
        /// Our port.
        internal_port: u16,
        /// The router's port that would be best.
        external_port: u16,
        /// Ports of this node's other mappings, which must not be overwritten.
        avoid: Vec<u16>,
        /// The pinhole to renew.
        pinhole: Option<u16>,
        /// How long.
        lifetime: Duration,
    },
    /// Delete it.
    Unmap {
        /// Port mapping or pinhole.
        family: Family,
        /// TCP or UDP.
        protocol: Protocol,
        /// The router's port.
        external_port: u16,
        /// The pinhole.
        pinhole: Option<u16>,
    },
}

/// What the UPnP device did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpnpAnswer {
    /// There is one.
    Found {
        /// Its outside address; none for pinholes.
        external: Option<IpAddr>,
        /// Which device, for people.
        detail: String,
    },
    /// The port is mapped or the pinhole open.
    Mapped {
        /// Where the outside finds us.
        external: SocketAddr,
        /// `None`: until it is deleted.
        lifetime: Option<Duration>,
        /// The pinhole's name.
        pinhole: Option<u16>,
    },
    /// It is deleted, or was not there.
    Unmapped,
    /// It did not work.
    Failed(Failure),
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    gateways: [Gateway; 2],
    entries: BTreeMap<Key, Entry>,
    ipv6: bool,
    stopped: bool,
    context: Context,
}

type Key = (Family, Protocol, u16);

/// What every part of the machine needs besides its own state.
#[derive(Debug)]
struct Context {
    out: VecDeque<Output>,
    jitter: Jitter,
    last_id: u64,
    seen: [Option<IpAddr>; 2],
    /// IPv4: protocol, internal port, external port of every mapping.
    ports: Vec<(Protocol, u16, u16)>,
}

impl Machine {
    /// A machine without mappings. The seed must come from the operating system: the names of the mappings, which keep
    /// others from changing them, are made from it. Without `ipv6` no pinholes are asked for.
    pub fn new(methods: Methods, ipv6: bool, seed: u64) -> Self {
        Self {
            gateways: [Gateway::new(Family::V4, methods), Gateway::new(Family::V6, methods)],
            entries: BTreeMap::new(),
            ipv6,
            stopped: false,
            context: Context {
                out: VecDeque::new(),
                jitter: Jitter::from_seed(seed),
                last_id: 0,
                seen: [None; 2],
                ports: Vec::new(),
            },
        }
    }

    /// The router of a family and our address, or that there is none. Must be told once before anything happens; when
    /// either changes, all mappings of the family are made anew.
    pub fn set_route(&mut self, now: Time, family: Family, route: Option<Route>) {
        let route = route.filter(|_| family == Family::V4 || self.ipv6);
        if self.gateways[family as usize].set_route(now, route) {
            for entry in self.entries.values_mut().filter(|entry| entry.family == family) {
                entry.route_changed(&mut self.context);
            }
        }
    }

    /// Wishes a mapping, or changes the wish for the same protocol and internal port.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for port 0, [`ErrorKind::LimitReached`] beyond [`limits::MAX_MAPPINGS`],
    /// [`ErrorKind::InvalidState`] after [`stop`](Self::stop).
    pub fn map(&mut self, mut wish: Wish) -> Result<()> {
        if self.stopped {
            return Err(Error::new(ErrorKind::InvalidState, "map a port: the port mapper is stopped"));
        }
        if wish.internal_port == 0 {
            return Err(Error::invalid("internal_port", "0 cannot be mapped"));
        }
        wish.lifetime = wish.lifetime.clamp(Duration::from_secs(1), limits::MAX_MAPPING_LIFETIME);
        let families: &[Family] = if self.ipv6 { &[Family::V4, Family::V6] } else { &[Family::V4] };
        let known = self.entries.contains_key(&(Family::V4, wish.protocol, wish.internal_port));
        if !known && self.entries.len() >= limits::MAX_MAPPINGS * families.len() {
            return Err(Error::new(ErrorKind::LimitReached, "map a port: too many mappings"));
        }
        for family in families {
            let key = (*family, wish.protocol, wish.internal_port);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.wish_again(wish);
            } else {
                let nonce = self.context.nonce();
                self.entries.insert(key, Entry::new(wish, *family, nonce));
            }
        }
        Ok(())
    }

    /// Deletes a mapping. False if it is not wished.
    pub fn unmap(&mut self, now: Time, protocol: Protocol, internal_port: u16) -> bool {
        let mut found = false;
        for family in [Family::V4, Family::V6] {
            if let Some(entry) = self.entries.get_mut(&(family, protocol, internal_port)) {
                found |= !entry.is_ending();
                entry.delete(now, &mut self.context);
            }
        }
        self.remove_gone();
        found
    }

    /// The address that a server saw us with; mappings with another one are judged anew.
    pub fn set_public_address(&mut self, address: IpAddr) {
        let family = Family::of(address);
        let before = self.context.seen[family as usize].replace(address);
        for entry in self.entries.values().filter(|entry| entry.family == family) {
            let judged = entry.info(Some(address));
            if judged.reach() != entry.info(before).reach() {
                self.context.event(Event::Judged(judged));
            }
        }
    }

    /// Deletes all mappings; nothing is mapped afterwards.
    pub fn stop(&mut self, now: Time) {
        self.stopped = true;
        for entry in self.entries.values_mut() {
            entry.delete(now, &mut self.context);
        }
        self.remove_gone();
    }

    /// Whether nothing is mapped and no deletion is under way.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// A datagram came from port 5351 of the family's router.
    pub fn handle_datagram(&mut self, now: Time, family: Family, bytes: &[u8]) {
        if self.gateways[family as usize].route().is_none() {
            return;
        }
        match bytes.first() {
            Some(&natpmp::VERSION) => {
                if let Ok(response) = natpmp::Response::decode(bytes) {
                    self.handle_natpmp(now, family, &response);
                }
            }
            _ => {
                if let Ok(response) = pcp::Response::decode(bytes) {
                    self.handle_pcp(now, family, &response);
                }
            }
        }
        self.remove_gone();
    }

    /// A datagram came to port 5350 of the group 224.0.0.1 or ff02::1. Only routers of ours are listened to.
    pub fn handle_announcement(&mut self, now: Time, from: IpAddr, bytes: &[u8]) {
        let family = Family::of(from);
        if self.gateways[family as usize].route().is_none_or(|route| route.gateway != from) {
            return;
        }
        if let Ok(response) = natpmp::Response::decode(bytes) {
            if matches!(response.body, natpmp::Body::ExternalAddress(_)) {
                self.handle_natpmp(now, family, &response);
            }
        } else if let Ok(response) = pcp::Response::decode(bytes)
            && response.operation == Some(pcp::Operation::Announce)
        {
            self.handle_pcp(now, family, &response);
        }
    }

    /// The network says that port 5351 of the router is closed.
    pub fn handle_unreachable(&mut self, now: Time, family: Family) {
        let gateway = &mut self.gateways[family as usize];
        gateway.unreachable();
        for entry in self.entries.values_mut().filter(|entry| entry.family == family) {
            for method in [Method::Pcp, Method::NatPmp] {
                entry.failed(now, method, Failure::Unreachable, gateway, &mut self.context);
            }
        }
        self.remove_gone();
    }

    /// A UPnP request has been carried out. An answer to a request that nobody waits for is ignored.
    pub fn handle_upnp(&mut self, now: Time, id: u64, answer: UpnpAnswer) {
        let searched = self.gateways.iter().position(|gateway| gateway.is_search(id));
        if let Some(index) = searched {
            let gateway = &mut self.gateways[index];
            match answer {
                UpnpAnswer::Found { external, detail } => {
                    gateway.describe(detail);
                    if let Some(external) = external {
                        gateway.told_external(Method::Upnp, external);
                    }
                    let family = if index == Family::V4 as usize { Family::V4 } else { Family::V6 };
                    self.answered(now, family, Method::Upnp, None);
                }
                UpnpAnswer::Failed(failure) => gateway.down(Method::Upnp, failure),
                UpnpAnswer::Mapped { .. } | UpnpAnswer::Unmapped => {}
            }
            return;
        }
        let Some(entry) = self.entries.values_mut().find(|entry| entry.awaits_upnp(id)) else { return };
        let gateway = &mut self.gateways[entry.family as usize];
        match answer {
            UpnpAnswer::Mapped { external, lifetime, pinhole } => {
                let mut grant = Grant::new(now, Method::Upnp, external, lifetime);
                grant.pinhole = pinhole;
                gateway.told_external(Method::Upnp, external.ip());
                entry.granted(now, grant, &mut self.context);
            }
            UpnpAnswer::Failed(failure) => entry.failed(now, Method::Upnp, failure, gateway, &mut self.context),
            UpnpAnswer::Unmapped | UpnpAnswer::Found { .. } => {
                if entry.is_ending() {
                    entry.end();
                }
            }
        }
        self.remove_gone();
    }

    /// Time has passed. Also to be called after every change, because that is what starts requests.
    pub fn handle_timeout(&mut self, now: Time) {
        for (gateway, family) in self.gateways.iter_mut().zip([Family::V4, Family::V6]) {
            let held = self.entries.values().any(|entry| entry.family == family && entry.grant().is_some());
            gateway.timeout(now, held, &mut self.context);
        }
        let v4 = self.entries.values().filter(|entry| entry.family == Family::V4);
        self.context.ports =
            v4.map(|entry| (entry.wish.protocol, entry.wish.internal_port, entry.external_port())).collect();
        for entry in self.entries.values_mut() {
            entry.timeout(now, &mut self.gateways[entry.family as usize], &mut self.context);
        }
        self.remove_gone();
    }

    /// The next thing to do. Empty the machine after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.context.out.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        let gateways = self.gateways.iter().zip([Family::V4, Family::V6]).filter_map(|(gateway, family)| {
            let held = self.entries.values().any(|entry| entry.family == family && entry.grant().is_some());
            gateway.next_timeout(held)
        });
        gateways.chain(self.entries.values().filter_map(Entry::next_timeout)).min()
    }

    /// All mappings, IPv6 only where there is a router for it.
    pub fn mappings(&self) -> Vec<MappingInfo> {
        let there =
            |entry: &&Entry| !entry.is_ending() && (entry.family == Family::V4 || self.gateways[1].route().is_some());
        let seen = self.context.seen;
        self.entries.values().filter(there).map(|entry| entry.info(seen[entry.family as usize])).collect()
    }

    /// The router's outside address in IPv4, as far as any protocol has told it.
    pub fn external_address(&self) -> Option<IpAddr> {
        self.gateways[Family::V4 as usize].external()
    }

    /// The router of a family.
    pub fn route(&self, family: Family) -> Option<Route> {
        self.gateways[family as usize].route()
    }

    /// What each protocol has answered so far.
    pub fn probe_results(&self) -> Vec<ProbeResult> {
        let families = if self.ipv6 { 2 } else { 1 };
        self.gateways.iter().take(families).flat_map(Gateway::results).collect()
    }

    fn handle_natpmp(&mut self, now: Time, family: Family, response: &natpmp::Response) {
        if family == Family::V6 {
            return;
        }
        if response.result == natpmp::ResultCode::UnsupportedVersion {
            // Version 0 is what NAT-PMP speaks, so it means our PCP request (RFC 6887 appendix A).
            self.fail_all(now, family, Method::Pcp, &Failure::Unsupported);
            return;
        }
        let refusal =
            || Failure::Refused { code: response.result.number(), reason: response.result.meaning().to_owned() };
        let success = response.result == natpmp::ResultCode::Success;
        match response.body {
            natpmp::Body::ExternalAddress(address) if success => {
                self.answered(now, family, Method::NatPmp, Some(response.epoch));
                if self.gateways[family as usize].told_external(Method::NatPmp, address.into()) {
                    for entry in self.entries.values_mut().filter(|entry| entry.family == family) {
                        entry.moved_to(address.into(), &mut self.context);
                    }
                }
            }
            natpmp::Body::ExternalAddress(_) => self.gateways[family as usize].down(Method::NatPmp, refusal()),
            natpmp::Body::Map { protocol, internal_port, external_port, lifetime } => {
                self.answered(now, family, Method::NatPmp, Some(response.epoch));
                let gateway = &mut self.gateways[family as usize];
                let address = gateway.external_by(Method::NatPmp);
                // A short refusal does not say which port it means.
                let meant = self.entries.values_mut().filter(|entry| {
                    let wish = entry.wish;
                    let port = wish.internal_port == internal_port || (!success && internal_port == 0);
                    entry.family == family && wish.protocol == protocol && port && entry.awaits(Method::NatPmp)
                });
                for entry in meant {
                    match address {
                        _ if !success => entry.failed(now, Method::NatPmp, refusal(), gateway, &mut self.context),
                        _ if entry.is_ending() => {
                            if lifetime == 0 {
                                entry.end();
                            }
                        }
                        Some(address) if lifetime > 0 && external_port > 0 => {
                            let external = SocketAddr::new(address, external_port);
                            let lifetime = Duration::from_secs(lifetime.into());
                            let grant = Grant::new(now, Method::NatPmp, external, Some(lifetime));
                            entry.granted(now, grant, &mut self.context);
                        }
                        _ => {
                            let failure = broken("the router granted nothing");
                            entry.failed(now, Method::NatPmp, failure, gateway, &mut self.context);
                        }
                    }
                }
            }
            natpmp::Body::Other(_) => {}
        }
    }

    fn handle_pcp(&mut self, now: Time, family: Family, response: &pcp::Response) {
        if response.result == pcp::ResultCode::UnsupportedVersion {
            // Of version 2 it means our NAT-PMP request, of any other our PCP request.
            let method = if response.version == pcp::VERSION { Method::NatPmp } else { Method::Pcp };
            self.fail_all(now, family, method, &Failure::Unsupported);
            return;
        }
        let refusal =
            || Failure::Refused { code: response.result.number().into(), reason: response.result.meaning().to_owned() };
        let success = response.result == pcp::ResultCode::Success;
        match response.operation {
            // Whoever does not know ANNOUNCE may still know MAP.
            Some(pcp::Operation::Announce) if success || response.result == pcp::ResultCode::UnsupportedOpcode => {
                self.answered(now, family, Method::Pcp, Some(response.epoch));
            }
            Some(pcp::Operation::Announce) => self.gateways[family as usize].down(Method::Pcp, refusal()),
            Some(pcp::Operation::Map(map)) => {
                self.answered(now, family, Method::Pcp, Some(response.epoch));
                let entry = self.entries.get_mut(&(family, map.protocol, map.internal_port));
                let Some(entry) = entry.filter(|entry| entry.nonce == map.nonce) else { return };
                let gateway = &mut self.gateways[family as usize];
                let lifetime = Duration::from_secs(response.lifetime.into());
                if !success {
                    if !entry.is_ending() {
                        entry.not_before(now + lifetime.min(limits::MAX_MAPPING_PAUSE));
                    }
                    entry.failed(now, Method::Pcp, refusal(), gateway, &mut self.context);
                } else if entry.is_ending() {
                    if lifetime.is_zero() {
                        entry.end();
                    }
                } else if lifetime.is_zero() || map.external_port == 0 {
                    entry.failed(now, Method::Pcp, broken("the router granted nothing"), gateway, &mut self.context);
                } else {
                    let external = SocketAddr::new(map.external_address, map.external_port);
                    gateway.told_external(Method::Pcp, map.external_address);
                    entry.granted(now, Grant::new(now, Method::Pcp, external, Some(lifetime)), &mut self.context);
                }
            }
            None => self.fail_all(now, family, Method::Pcp, &refusal()),
        }
    }

    /// Notes that a protocol answers, and what its clock says about the mappings.
    fn answered(&mut self, now: Time, family: Family, method: Method, epoch: Option<u32>) {
        let news = self.gateways[family as usize].answered(now, method, epoch);
        let entries = self.entries.values_mut().filter(|entry| entry.family == family);
        if news.reset {
            self.context.event(Event::Forgotten { family, method });
            entries.for_each(|entry| entry.make_again(now, &mut self.context));
        } else if news.came_up {
            entries.for_each(|entry| entry.wake(now));
        }
    }

    /// A protocol does not work at all.
    fn fail_all(&mut self, now: Time, family: Family, method: Method, failure: &Failure) {
        let gateway = &mut self.gateways[family as usize];
        gateway.down(method, failure.clone());
        for entry in self.entries.values_mut().filter(|entry| entry.family == family) {
            entry.failed(now, method, failure.clone(), gateway, &mut self.context);
        }
    }

    fn remove_gone(&mut self) {
        self.entries.retain(|_, entry| !entry.is_gone());
    }
}

impl Context {
    fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    fn send(&mut self, family: Family, bytes: Vec<u8>) {
        self.push(Output::Send { family, bytes });
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn nonce(&mut self) -> pcp::Nonce {
        let mut nonce = pcp::Nonce::default();
        for chunk in nonce.chunks_mut(8) {
            chunk.copy_from_slice(&self.jitter.bits().to_be_bytes()[..chunk.len()]);
        }
        nonce
    }

    fn seen(&self, family: Family) -> Option<IpAddr> {
        self.seen[family as usize]
    }

    fn ports_of_others(&self, protocol: Protocol, internal_port: u16) -> Vec<u16> {
        let others = self.ports.iter().filter(|(of, internal, _)| *of == protocol && *internal != internal_port);
        others.map(|(.., external)| *external).collect()
    }
}

fn broken(reason: &str) -> Failure {
    Failure::Broken { reason: reason.to_owned() }
}
