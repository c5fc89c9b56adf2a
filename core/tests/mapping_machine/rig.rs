//! A simulated router for the mapping machine: PCP, NAT-PMP and UPnP over one table, with loss, silence and restarts,
//! on virtual time. Not here: tests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dig_nat_core::base::random::Jitter;
use dig_nat_core::base::time::Time;
use dig_nat_core::nat::mapping::machine::{Machine, Output, UpnpAnswer, UpnpRequest};
use dig_nat_core::nat::mapping::{Event, Failure, Family, Methods, Protocol, Route, Wish, natpmp, pcp};

/// One way of the simulated wire.
pub const DELAY: Duration = Duration::from_millis(2);
/// Time the router takes for a UPnP request, with all its HTTP.
pub const UPNP_DELAY: Duration = Duration::from_millis(100);

/// When we come. The router has been running for a while then.
pub const START: Time = Time::from_micros(1_000_000_000);

/// What the router does with each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Answers,
    /// Nothing comes back.
    Silent,
    /// Answers that it does not speak this version (of PCP and NAT-PMP), or has no such service.
    Unsupported,
    /// Refuses mappings.
    Refuses,
}

/// A row of the router's table: protocol, external port. Value: internal port, end, owner.
type Rows = BTreeMap<(Protocol, u16), Row>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub internal: u16,
    pub ends: Time,
    pub foreign: bool,
}

#[derive(Debug)]
pub struct Router {
    pub pcp: Manner,
    pub natpmp: Manner,
    pub upnp: Manner,
    pub external: Ipv4Addr,
    pub longest: Duration,
    pub started: Time,
    pub rows: Rows,
    /// Share of datagrams lost, each way.
    pub loss: f64,
    /// UPnP knows no leases.
    pub permanent: bool,
    /// Datagrams the router received, in order.
    pub heard: Vec<(Time, Vec<u8>)>,
    pub upnp_requests: Vec<(Time, UpnpRequest)>,
}

/// The machine, its router and the time.
pub struct Rig {
    pub machine: Machine,
    pub router: Router,
    pub now: Time,
    pub events: Vec<(Time, Event)>,
    wire: Vec<(Time, Delivery)>,
    jitter: Jitter,
}

enum Delivery {
    Datagram(Vec<u8>),
    Upnp(u64, UpnpAnswer),
}

pub fn route() -> Route {
    Route { gateway: address("192.168.1.1"), local: address("192.168.1.100"), scope: 0 }
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn wish(protocol: Protocol, port: u16) -> Wish {
    Wish { protocol, internal_port: port, suggested_external: 0, lifetime: Duration::from_secs(3600) }
}

pub fn millis(time: Time) -> u64 {
    time.as_micros() / 1000
}

impl Rig {
    pub fn new(methods: Methods) -> Self {
        Self::seeded(methods, 7)
    }

    pub fn seeded(methods: Methods, seed: u64) -> Self {
        let router = Router {
            pcp: Manner::Answers,
            natpmp: Manner::Answers,
            upnp: Manner::Answers,
            external: Ipv4Addr::new(44, 128, 1, 1),
            longest: Duration::from_secs(7200),
            started: Time::ZERO,
            rows: BTreeMap::new(),
            loss: 0.0,
            permanent: false,
            heard: Vec::new(),
            upnp_requests: Vec::new(),
        };
        let now = START;
        let mut machine = Machine::new(methods, false, seed);
        machine.set_route(now, Family::V4, Some(route()));
        machine.set_route(now, Family::V6, None);
        Self { machine, router, now, events: Vec::new(), wire: Vec::new(), jitter: Jitter::from_seed(seed) }
    }

    /// Lets the world go on for so long. Panics on a machine that never comes to rest.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Lets the world go on until the condition holds; the time then. Panics if it does not within an hour.
    pub fn until(&mut self, condition: impl Fn(&Rig) -> bool) -> Time {
        let end = self.now + Duration::from_secs(3600);
        assert!(self.run_until(end, condition), "did not happen within an hour; events: {:#?}", self.events);
        self.now
    }

    fn run_until(&mut self, end: Time, condition: impl Fn(&Rig) -> bool) -> bool {
        let mut idle_rounds = 0;
        loop {
            self.machine.handle_timeout(self.now);
            while let Some(output) = self.machine.poll() {
                self.carry(output);
            }
            if condition(self) {
                return true;
            }
            let arrival = self.wire.iter().map(|(time, _)| *time).min();
            let Some(next) = arrival.into_iter().chain(self.machine.next_timeout()).min() else { return false };
            if next > end {
                return false;
            }
            idle_rounds = if next <= self.now { idle_rounds + 1 } else { 0 };
            assert!(idle_rounds < 100, "the machine spins at {:?}", self.now);
            self.now = self.now.max(next);
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later): (Vec<_>, Vec<_>) = self.wire.drain(..).partition(|(time, _)| *time <= now);
        self.wire = later;
        for (_, delivery) in due {
            match delivery {
                Delivery::Datagram(bytes) => self.machine.handle_datagram(now, Family::V4, &bytes),
                Delivery::Upnp(id, answer) => self.machine.handle_upnp(now, id, answer),
            }
        }
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Event(event) => self.events.push((self.now, event)),
            Output::Send { bytes, .. } => {
                if self.lost() {
                    return;
                }
                self.router.heard.push((self.now, bytes.clone()));
                if let Some(answer) = self.router.datagram(self.now, &bytes)
                    && !self.lost()
                {
                    self.wire.push((self.now + DELAY * 2, Delivery::Datagram(answer)));
                }
            }
            Output::Upnp { id, request } => {
                self.router.upnp_requests.push((self.now, request.clone()));
                if let Some(answer) = self.router.upnp(self.now, &request) {
                    self.wire.push((self.now + UPNP_DELAY, Delivery::Upnp(id, answer)));
                }
            }
        }
    }

    fn lost(&mut self) -> bool {
        self.jitter.fraction() < self.router.loss
    }

    /// The events without their times, each as the name of its variant.
    pub fn story(&self) -> Vec<&'static str> {
        self.events.iter().map(|(_, event)| name(event)).collect()
    }

    /// Where the outside finds an internal port, by what the machine says.
    pub fn external(&self, protocol: Protocol, port: u16) -> Option<SocketAddr> {
        let mappings = self.machine.mappings();
        mappings.iter().find(|info| (info.protocol, info.internal_port) == (protocol, port))?.external()
    }

    /// Whether the router's table agrees.
    pub fn reachable(&self, protocol: Protocol, port: u16) -> bool {
        let Some(external) = self.external(protocol, port) else { return false };
        let row = self.router.rows.get(&(protocol, external.port()));
        row.is_some_and(|row| row.internal == port && !row.foreign && row.ends > self.now)
    }
}

pub fn name(event: &Event) -> &'static str {
    match event {
        Event::Mapped(_) => "mapped",
        Event::Renewed(_) => "renewed",
        Event::Moved { .. } => "moved",
        Event::Judged(_) => "judged",
        Event::Lost { .. } => "lost",
        Event::Refused(_) => "refused",
        Event::Forgotten { .. } => "forgotten",
    }
}

impl Router {
    /// All mappings are gone and the clock starts anew.
    pub fn restart(&mut self, now: Time) {
        self.rows.clear();
        self.started = now;
    }

    pub fn epoch(&self, now: Time) -> u32 {
        now.since(self.started).as_secs() as u32
    }

    /// Somebody else's mapping.
    pub fn occupy(&mut self, protocol: Protocol, port: u16) {
        self.rows.insert((protocol, port), Row { internal: 1, ends: Time::NEVER, foreign: true });
    }

    fn datagram(&mut self, now: Time, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes[0] == 0 { self.answer_natpmp(now, bytes) } else { self.answer_pcp(now, bytes) }
    }

    fn answer_pcp(&mut self, now: Time, bytes: &[u8]) -> Option<Vec<u8>> {
        let request = pcp::Request::decode(bytes).expect("our machine sends valid PCP");
        assert_eq!(request.client, route().local);
        let epoch = self.epoch(now);
        match self.pcp {
            Manner::Silent => return None,
            // A router that knows only NAT-PMP (RFC 6886 section 3.5).
            Manner::Unsupported => {
                let body = natpmp::Body::Other(bytes[1]);
                let result = natpmp::ResultCode::UnsupportedVersion;
                return Some(natpmp::Response { result, epoch, body }.encode());
            }
            Manner::Answers | Manner::Refuses => {}
        }
        let mut response = pcp::Response {
            version: 2,
            result: pcp::ResultCode::Success,
            lifetime: 0,
            epoch,
            operation: Some(request.operation),
        };
        if let pcp::Operation::Map(mut map) = request.operation {
            if self.pcp == Manner::Refuses {
                response.result = pcp::ResultCode::NotAuthorized;
                response.lifetime = 120;
            } else {
                let lifetime = Duration::from_secs(request.lifetime.into()).min(self.longest);
                map.external_port = self.map(now, map.protocol, map.internal_port, map.external_port, lifetime);
                map.external_address = self.external.into();
                response.lifetime = lifetime.as_secs() as u32;
                response.operation = Some(pcp::Operation::Map(map));
            }
        }
        Some(response.encode())
    }

    fn answer_natpmp(&mut self, now: Time, bytes: &[u8]) -> Option<Vec<u8>> {
        let epoch = self.epoch(now);
        match self.natpmp {
            Manner::Silent => return None,
            // A router that knows only PCP.
            Manner::Unsupported => {
                let result = pcp::ResultCode::UnsupportedVersion;
                return Some(pcp::Response { version: 2, result, lifetime: 0, epoch, operation: None }.encode());
            }
            Manner::Answers | Manner::Refuses => {}
        }
        let mut result = natpmp::ResultCode::Success;
        let body = if bytes.len() == 2 {
            natpmp::Body::ExternalAddress(self.external)
        } else {
            let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let protocol = if bytes[1] == 1 { Protocol::Udp } else { Protocol::Tcp };
            let (internal_port, suggested) = (number(4), number(6));
            let lifetime = Duration::from_secs(u64::from(number(8)) << 16 | u64::from(number(10))).min(self.longest);
            if self.natpmp == Manner::Refuses {
                result = natpmp::ResultCode::OutOfResources;
                natpmp::Body::Map { protocol, internal_port, external_port: 0, lifetime: 0 }
            } else {
                let external_port = self.map(now, protocol, internal_port, suggested, lifetime);
                natpmp::Body::Map { protocol, internal_port, external_port, lifetime: lifetime.as_secs() as u32 }
            }
        };
        Some(natpmp::Response { result, epoch, body }.encode())
    }

    /// Writes or, with lifetime 0, deletes the row of an internal port; the external port.
    fn map(&mut self, now: Time, protocol: Protocol, internal: u16, suggested: u16, lifetime: Duration) -> u16 {
        self.rows.retain(|_, row| row.ends > now);
        let ours = |(key, row): (&(Protocol, u16), &Row)| {
            (key.0 == protocol && row.internal == internal && !row.foreign).then_some(key.1)
        };
        let existing = self.rows.iter().find_map(ours);
        if lifetime.is_zero() {
            if let Some(port) = existing {
                self.rows.remove(&(protocol, port));
            }
            return 0;
        }
        let free = |port: &u16| !self.rows.contains_key(&(protocol, *port));
        let port = existing.unwrap_or_else(|| (suggested..=u16::MAX).find(free).expect("a free port"));
        self.rows.insert((protocol, port), Row { internal, ends: now + lifetime, foreign: false });
        port
    }

    fn upnp(&mut self, now: Time, request: &UpnpRequest) -> Option<UpnpAnswer> {
        Some(match (self.upnp, request) {
            (Manner::Silent, _) => return None,
            (Manner::Unsupported, _) => UpnpAnswer::Failed(Failure::Unsupported),
            (_, UpnpRequest::Probe { .. }) => {
                UpnpAnswer::Found { external: Some(self.external.into()), detail: "simulated".into() }
            }
            (Manner::Refuses, _) => UpnpAnswer::Failed(Failure::Refused { code: 606, reason: "not authorized".into() }),
            (Manner::Answers, UpnpRequest::Map { protocol, internal_port, external_port, avoid, lifetime, .. }) => {
                // The driver's way: the next port after a conflict, sparing our own.
                let taken = |port: &u16| {
                    let row = self.rows.get(&(*protocol, *port));
                    !avoid.contains(port) && row.is_none_or(|row| !row.foreign)
                };
                let port = (*external_port..=u16::MAX).find(taken).expect("a free port");
                let lifetime = (!self.permanent).then_some(*lifetime);
                let ends = lifetime.map_or(Time::NEVER, |lifetime| now + lifetime);
                self.rows.insert((*protocol, port), Row { internal: *internal_port, ends, foreign: false });
                UpnpAnswer::Mapped { external: (self.external, port).into(), lifetime, pinhole: None }
            }
            (Manner::Answers, UpnpRequest::Unmap { protocol, external_port, .. }) => {
                self.rows.remove(&(*protocol, *external_port));
                UpnpAnswer::Unmapped
            }
        })
    }
}
