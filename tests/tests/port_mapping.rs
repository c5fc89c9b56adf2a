//! Port mapping against miniupnpd in network namespaces: each protocol alone and all together, expiry, renewal,
//! conflict, refusal, deletion, restart, silence. Not here: the machine's own tests on virtual time (core/tests).
#![cfg(target_os = "linux")]

#[path = "port_mapping/old_router.rs"]
mod old_router;
#[path = "port_mapping/router.rs"]
mod router;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dig_nat_core::ErrorKind;
use dig_nat_core::nat::mapping::reach::Reach;
use dig_nat_core::nat::mapping::{
    self, DeleteRequest, Event, Failure, Family, MapperConfig, MappingInfo, MappingRequest, MappingState, Method,
    Methods, PortMapper, Protocol,
};
use old_router::OldRouter;
use router::{CLIENT_V6, GATEWAY, Host, Network, Offer, PATIENCE, PUBLIC, wait};
use tokio::sync::broadcast;

const UDP: Protocol = Protocol::Udp;
const TCP: Protocol = Protocol::Tcp;
const HOUR: Duration = Duration::from_secs(3600);

/// A mapper on a host, and its events.
struct Mapper<'a> {
    host: &'a Host,
    inner: Arc<PortMapper>,
    events: broadcast::Receiver<Event>,
}

impl<'a> Mapper<'a> {
    fn start(host: &'a Host, upnp: bool, natpmp: bool) -> Self {
        let mapper = host.run(async move { Arc::new(PortMapper::start(MapperConfig::new(upnp, natpmp))) });
        let events = mapper.events();
        Self { host, inner: mapper, events }
    }

    /// Wishes a mapping and waits for what comes of it.
    fn map(&self, protocol: Protocol, port: u16, suggested: u16, lifetime: Duration) -> MappingInfo {
        self.inner.map(protocol, port, suggested, lifetime).expect("room");
        let mapper = self.inner.clone();
        self.host.run(async move { mapper.settled(protocol, port, PATIENCE).await }).expect("settled")
    }

    /// Waits for an event of a kind.
    fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut found = None;
        wait(what, || {
            while let Ok(event) = self.events.try_recv() {
                if wanted(&event) {
                    found = Some(event);
                    return true;
                }
            }
            false
        });
        found.expect("waited for")
    }

    fn stop(&self) {
        let mapper = self.inner.clone();
        self.host.run(async move { mapper.stop().await });
    }
}

fn at(info: &MappingInfo) -> SocketAddr {
    info.external().unwrap_or_else(|| panic!("not mapped: {info:?}"))
}

fn public(port: u16) -> SocketAddr {
    SocketAddr::new(PUBLIC.parse().expect("an address"), port)
}

/// A router with this offer maps by this method, and the outside gets in by UDP and TCP until the mapper stops.
fn maps_by(offer: Offer, method: Method) {
    let Some(network) = Network::new(offer) else { return };
    network.a.echo(5000);
    assert!(!network.outside.udp_reaches(public(5000)), "open without a mapping");
    let mapper = Mapper::start(&network.a, true, true);
    let udp = mapper.map(UDP, 5000, 0, HOUR);
    let tcp = mapper.map(TCP, 5000, 6000, HOUR);
    assert_eq!((at(&udp), udp.method(), udp.reach()), (public(5000), Some(method), Some(Reach::Likely)));
    assert_eq!((at(&tcp), tcp.method()), (public(6000), Some(method)));
    assert!(network.outside.udp_reaches(at(&udp)));
    assert!(network.outside.tcp_reaches(at(&tcp)));
    assert_eq!(mapper.inner.external_address(), PUBLIC.parse().ok());
    assert_eq!(network.rules().len(), 2, "{:?}", network.rules());

    let before = Instant::now();
    mapper.stop();
    assert!(before.elapsed() < Duration::from_secs(10));
    assert!(network.rules().is_empty(), "{:?}", network.rules());
    assert!(!network.outside.udp_reaches(at(&udp)));
    assert!(!network.outside.tcp_reaches(at(&tcp)));
}

#[test]
fn pcp_alone() {
    maps_by(Offer { natpmp: false, upnp: false, ..Offer::ALL }, Method::Pcp);
}

#[test]
fn nat_pmp_alone() {
    maps_by(Offer { pcp: false, upnp: false, ..Offer::ALL }, Method::NatPmp);
}

#[test]
fn upnp_alone() {
    maps_by(Offer { pcp: false, natpmp: false, ..Offer::ALL }, Method::Upnp);
}

#[test]
fn all_together_prefer_pcp() {
    maps_by(Offer::ALL, Method::Pcp);
}

/// A router with this offer opens pinholes in its IPv6 firewall by this method, until the mapper stops.
fn opens_by(offer: Offer, method: Method) {
    let Some(network) = Network::new(offer) else { return };
    network.a.echo(5000);
    let target = SocketAddr::new(CLIENT_V6.into(), 5000);
    assert!(network.b.udp_reaches(target) && network.b.tcp_reaches(target), "the neighbour needs no pinhole");
    assert!(!network.outside.udp_reaches(target) && !network.outside.tcp_reaches(target), "open without a pinhole");
    let config = MapperConfig { ipv6: true, ..MapperConfig::new(true, true) };
    let inner = network.a.run(async move { Arc::new(PortMapper::start(config)) });
    let mapper = Mapper { host: &network.a, events: inner.events(), inner };
    for protocol in [UDP, TCP] {
        mapper.inner.map(protocol, 5000, 0, HOUR).expect("room");
    }
    let pinholes = || -> Vec<MappingInfo> {
        let all = mapper.inner.mappings().into_iter().filter(|info| info.family == Family::V6);
        all.filter(|info| info.state != MappingState::Asking).collect()
    };
    wait("both pinholes are answered", || pinholes().len() == 2);
    for pinhole in pinholes() {
        assert_eq!((at(&pinhole), pinhole.method()), (target, Some(method)), "{pinhole:?}");
    }
    assert!(network.outside.udp_reaches(target) && network.outside.tcp_reaches(target));
    mapper.stop();
    // miniupnpd gives a pinhole that is taken back by PCP no time to live, and looks for such at its next round.
    wait("both are closed", || !network.outside.udp_reaches(target) && !network.outside.tcp_reaches(target));
}

#[test]
fn pcp_opens_pinholes() {
    opens_by(Offer { natpmp: false, upnp: false, ..Offer::ALL }, Method::Pcp);
}

#[test]
fn upnp_opens_pinholes() {
    opens_by(Offer { pcp: false, natpmp: false, ..Offer::ALL }, Method::Upnp);
}

#[test]
fn a_mapping_without_renewal_ends() {
    let Some(network) = Network::new(Offer::ALL) else { return };
    network.a.echo(5000);
    let request = MappingRequest {
        methods: Methods::NAT_PMP,
        protocol: UDP,
        internal_port: 5000,
        external_port: 5000,
        lifetime: Duration::from_secs(5),
        description: None,
        deadline: PATIENCE,
    };
    let made = network.a.run(mapping::create_mapping(request)).expect("made");
    assert!(network.outside.udp_reaches(at(&made)));
    wait("the mapping ends", || !network.outside.udp_reaches(at(&made)));
}

#[test]
fn renewals_keep_a_short_mapping() {
    let Some(network) = Network::new(Offer { upnp: false, ..Offer::ALL }) else { return };
    network.a.echo(5000);
    let mut mapper = Mapper::start(&network.a, true, true);
    let started = Instant::now();
    let made = mapper.map(UDP, 5000, 0, Duration::from_secs(6));
    for _ in 0..3 {
        mapper.until("renewed", |event| matches!(event, Event::Renewed(_)));
        assert!(network.outside.udp_reaches(at(&made)));
    }
    assert!(started.elapsed() > Duration::from_secs(8), "three half lives");
}

#[test]
fn a_taken_port_gives_another() {
    for (upnp, natpmp) in [(true, false), (false, true)] {
        let Some(network) = Network::new(Offer::ALL) else { return };
        network.a.echo(5000);
        network.b.echo(5000);
        let first = Mapper::start(&network.b, upnp, natpmp);
        let taken = first.map(UDP, 5000, 7000, HOUR);
        assert_eq!(at(&taken), public(7000));
        let second = Mapper::start(&network.a, upnp, natpmp);
        let other = second.map(UDP, 5000, 7000, HOUR);
        assert_ne!(at(&other), at(&taken));
        assert!(network.outside.udp_reaches(at(&taken)) && network.outside.udp_reaches(at(&other)));
        second.stop();
        assert!(network.outside.udp_reaches(at(&taken)), "the other client's mapping stays");
    }
}

#[test]
fn a_router_without_a_public_address_refuses_with_reasons() {
    let Some(network) = Network::new(Offer { wan: "100.64.7.1", ..Offer::ALL }) else { return };
    let mapper = Mapper::start(&network.a, true, true);
    let MappingState::Refused { failures } = mapper.map(UDP, 5000, 0, HOUR).state else { panic!("not refused") };
    let said: Vec<Method> = failures.iter().map(|(method, _)| *method).collect();
    assert_eq!(said.len(), 3, "{failures:?}");
    for (method, failure) in &failures {
        let reason = failure.to_string();
        assert!(reason.contains("address") || reason.contains("room"), "{method:?}: {reason}");
    }
}

#[test]
fn without_a_gateway_the_answer_comes_at_once() {
    let Some(network) = Network::new(Offer::NOTHING) else { return };
    network.a.ip("route del default");
    let started = Instant::now();
    let mut mapper = Mapper::start(&network.a, true, true);
    let MappingState::Refused { failures } = mapper.map(UDP, 5000, 0, HOUR).state else { panic!("not refused") };
    assert!(failures.iter().all(|(_, failure)| *failure == Failure::NoGateway), "{failures:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    mapper.until("refused", |event| matches!(event, Event::Refused(_)));
}

#[test]
fn a_silent_gateway_costs_little_time() {
    let Some(network) = Network::new(Offer::ALL) else { return };
    network.deafen();
    let started = Instant::now();
    let mapper = Mapper::start(&network.a, true, true);
    let MappingState::Refused { failures } = mapper.map(UDP, 5000, 0, HOUR).state else { panic!("not refused") };
    // A second and a half by the machine; the rest is for a busy computer.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(failures, Method::ALL.map(|method| (method, Failure::Silent)));
    let stopping = Instant::now();
    mapper.stop();
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
}

#[test]
fn a_gateway_that_serves_nothing_says_so() {
    let Some(network) = Network::new(Offer::NOTHING) else { return };
    let mapper = Mapper::start(&network.a, false, true);
    let MappingState::Refused { failures } = mapper.map(UDP, 5000, 0, HOUR).state else { panic!("not refused") };
    let closed = [Method::Pcp, Method::NatPmp].map(|method| (method, Failure::Unreachable));
    assert_eq!(failures, closed);
}

#[test]
fn a_restarted_router_gets_the_mappings_back() {
    for natpmp_only in [false, true] {
        let offer = if natpmp_only { Offer { pcp: false, ..Offer::ALL } } else { Offer::ALL };
        let Some(mut network) = Network::new(offer) else { return };
        network.a.echo(5000);
        // The clock of a router that has just started cannot go back by more than it has run.
        std::thread::sleep(Duration::from_secs(4));
        let mapper = Mapper::start(&network.a, false, true);
        let made = mapper.map(UDP, 5000, 0, HOUR);
        assert!(network.outside.udp_reaches(at(&made)));
        let (inner, events) = (mapper.inner.clone(), mapper.events.resubscribe());
        network.restart();
        assert!(network.a.run(async { true }));
        let mut mapper = Mapper { host: &network.a, inner, events };
        mapper.until("the restart is noticed", |event| matches!(event, Event::Forgotten { .. }));
        mapper.until("made again", |event| matches!(event, Event::Renewed(_)));
        // Asked while a mapper lives: the last one to go deletes the mapping.
        assert!(network.outside.udp_reaches(at(&made)));
    }
}

#[test]
fn another_address_of_ours_is_mapped_anew() {
    let Some(network) = Network::new(Offer::ALL) else { return };
    network.a.echo(5000);
    let mut mapper = Mapper::start(&network.a, true, true);
    let made = mapper.map(UDP, 5000, 0, HOUR);
    assert!(network.outside.udp_reaches(at(&made)));
    network.a.ip("addr del 192.168.7.100/24 dev eth0");
    network.a.ip("addr add 192.168.7.150/24 dev eth0");
    network.a.ip(&format!("route replace default via {GATEWAY}"));
    mapper.until("lost", |event| matches!(event, Event::Lost { .. }));
    let Event::Mapped(again) = mapper.until("mapped", |event| matches!(event, Event::Mapped(_))) else {
        unreachable!("waited for this event")
    };
    assert!(network.outside.udp_reaches(at(&again)));
    assert_eq!(mapper.inner.route(mapping::Family::V4).map(|route| route.local), "192.168.7.150".parse().ok());
}

#[test]
fn a_router_that_knows_no_leases_maps_for_ever_until_told_otherwise() {
    let Some(network) = Network::new(Offer::NOTHING) else { return };
    let address = "192.168.7.101".parse().expect("an address");
    let router = OldRouter::start(&network.b, address);
    network.a.ip(&format!("route replace default via {address}"));
    let mapper = Mapper::start(&network.a, true, false);
    let made = mapper.map(UDP, 5000, 0, HOUR);
    assert_eq!((at(&made), made.method()), (public(5000), Some(Method::Upnp)));
    let MappingState::Mapped { lifetime, .. } = made.state else { unreachable!("it has an address") };
    assert_eq!(lifetime, None, "it never ends by itself");
    assert_eq!(*router.leases.lock().expect("whole"), [3600, 0], "a lease was asked for first");
    assert_eq!(*router.mappings.lock().expect("whole"), ["UDP 5000->192.168.7.100:5000"]);
    mapper.stop();
    assert!(router.mappings.lock().expect("whole").is_empty(), "what is permanent is deleted all the same");
}

#[test]
fn single_upnp_calls_make_and_delete() {
    let Some(network) = Network::new(Offer::ALL) else { return };
    network.a.echo(5000);
    let request = MappingRequest {
        methods: Methods::UPNP,
        protocol: TCP,
        internal_port: 5000,
        external_port: 8080,
        lifetime: HOUR,
        description: Some("a <test> & more".into()),
        deadline: PATIENCE,
    };
    let made = network.a.run(mapping::create_mapping(request.clone())).expect("made");
    assert_eq!((at(&made), made.method()), (public(8080), Some(Method::Upnp)));
    assert!(network.outside.tcp_reaches(at(&made)));
    assert_eq!(network.a.run(mapping::external_address(Methods::UPNP, PATIENCE)), PUBLIC.parse::<IpAddr>().ok());
    assert!(network.a.run(mapping::upnp_available(PATIENCE)));

    let delete = DeleteRequest {
        methods: Methods::UPNP,
        protocol: TCP,
        external_port: 8080,
        internal_port: None,
        deadline: PATIENCE,
    };
    assert!(network.a.run(mapping::delete_mapping(delete.clone())).expect("deleted"));
    assert!(!network.outside.tcp_reaches(at(&made)));
    // miniupnpd confirms the deletion of what is not there; it must not be an error in any case.
    network.a.run(mapping::delete_mapping(delete)).expect("asked");

    let by_pcp = MappingRequest { methods: Methods::ALL, ..request };
    let error = network.a.run(mapping::create_mapping(by_pcp)).expect_err("PCP needs a mapper");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn single_calls_without_upnp_fail_with_a_reason() {
    let Some(network) = Network::new(Offer::NOTHING) else { return };
    let request = MappingRequest {
        methods: Methods::UPNP,
        protocol: UDP,
        internal_port: 5000,
        external_port: 0,
        lifetime: HOUR,
        description: None,
        deadline: PATIENCE,
    };
    let error = network.a.run(mapping::create_mapping(request)).expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.full_message().contains("UPnP: no answer"), "{}", error.full_message());
    assert_eq!(network.a.run(mapping::external_address(Methods::UPNP, Duration::from_secs(3))), None);
    assert!(!network.a.run(mapping::upnp_available(Duration::from_secs(1))));
}

#[test]
fn a_probe_tells_what_the_router_speaks() {
    let Some(network) = Network::new(Offer { pcp: false, ..Offer::ALL }) else { return };
    let report = network.a.run(mapping::probe(MapperConfig::new(true, true), PATIENCE));
    assert_eq!(report.gateway, Some(GATEWAY.into()));
    assert_eq!(report.external, PUBLIC.parse().ok());
    let failures: Vec<Option<Failure>> = report.results.iter().map(|result| result.failure.clone()).collect();
    assert_eq!(failures, [Some(Failure::Silent), None, None], "{report:#?}");
    assert!(report.results[2].detail.as_ref().is_some_and(|detail| detail.contains("192.168.7.1")));
    assert!(network.rules().is_empty(), "a probe maps nothing");
}
