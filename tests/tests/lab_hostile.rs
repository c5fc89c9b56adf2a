//! A hostile peer names addresses in our own network as its own, in identify, in libp2p's DCUtR and in the candidates of
//! hole punching. Nobody at those addresses hears from us: this machine, the neighbour, the router, metadata services.
//! In the lab, where the relay is public, so that nothing speaks for a shared network. Not here: the table of such
//! addresses (`core/src/nat/policy.rs`), and peers that share a network with us.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use dig_nat_core::fabric::ladder::{Connector, ConnectorConfig, PROTOCOL};
use dig_nat_core::fabric::{Fabric, FabricConfig, FabricEvent, Link, StreamSignal};
use dig_nat_core::nat::policy::Scope;
use dig_nat_core::nat::punch::Side;
use dig_nat_core::nat::punch::driver::{Local, LocalPort, StunServers, punch_udp};
use dig_nat_core::nat::punch::message::{Endpoint, NatSummary, Transport};
use dig_nat_core::nat::punch::plan::History;
use dig_nat_core::nat::registry::driver::ConnectionRegistry;
use dig_nat_core::nat::signal::Signal;
use dig_nat_core::net::udp::UdpPort;
use dig_nat_tests::lab::{self, Lab, Nat, Place, Site};
use futures::StreamExt;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, SwarmEvent, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, dcutr, identify, noise, relay, tcp, yamux};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

const WAIT: Duration = Duration::from_secs(50);
const RELAY_PORT: u16 = 4001;
/// Where somebody listens at each address that is claimed.
const PORT: u16 = 7777;
/// On the victim itself, besides what it has anyway: a private network, metadata services, a link-local address.
const EXTRA: [&str; 5] = ["10.99.0.1", "169.254.169.254", "169.254.7.7", "100.100.100.200", "fd00:ec2::254"];

/// Who heard something, in the words of a failed test.
type Heard = Arc<Mutex<Vec<String>>>;

/// Listens at an address by TCP and UDP, and writes down whatever comes.
async fn listen(at: SocketAddr, heard: Heard, ready: oneshot::Sender<()>) {
    let tcp = TcpListener::bind(at).await.unwrap_or_else(|error| panic!("listen at {at}: {error}"));
    let udp = UdpSocket::bind(at).await.unwrap_or_else(|error| panic!("listen at {at}: {error}"));
    ready.send(()).expect("awaited");
    let mut packet = [0; 2048];
    loop {
        let line = tokio::select! {
            Ok((_, from)) = tcp.accept() => format!("{from} connects to {at}"),
            Ok((length, from)) = udp.recv_from(&mut packet) => format!("{from} sends {length} bytes to {at}"),
        };
        heard.lock().expect("no panic").push(line);
    }
}

/// Everyone who must not hear anything.
struct Targets {
    heard: Heard,
    all: Vec<SocketAddr>,
}

impl Targets {
    fn new(lab: &Lab) -> Self {
        for address in EXTRA {
            // Usable at once: nobody else could have it.
            let (prefix, more) = if address.contains(':') { (128, &["nodad"][..]) } else { (32, &[][..]) };
            let mut ip = lab.host("victim").command("ip");
            ip.args(["addr", "add", &format!("{address}/{prefix}"), "dev", "lo"]).args(more);
            assert!(ip.status().expect("ip runs").success(), "{address}");
        }
        let neighbour = lab.host("victim-2").v4();
        let mut router = neighbour.octets();
        router[3] = 1;
        let mut places: Vec<(&str, IpAddr)> =
            vec![("victim-2", neighbour.into()), ("victim.router", IpAddr::from(router))];
        let own = ["127.0.0.1", "::1"].iter().chain(&EXTRA).map(|text| text.parse().expect("an address"));
        places.extend(own.map(|own: IpAddr| ("victim", own)));
        let heard = Heard::default();
        let mut all = Vec::new();
        for (host, ip) in places {
            let at = SocketAddr::new(ip, PORT);
            let (ready, is_ready) = oneshot::channel();
            let heard = Arc::clone(&heard);
            lab.host(host).spawn(move |_| listen(at, heard, ready));
            is_ready.blocking_recv().expect("it listens");
            all.push(at);
        }
        Self { heard, all }
    }

    /// As multiaddrs of both transports.
    fn claims(&self) -> Vec<Multiaddr> {
        let tcp = self.all.iter().map(|at| Multiaddr::from(at.ip()).with(Protocol::Tcp(at.port())));
        let udp =
            self.all.iter().map(|at| Multiaddr::from(at.ip()).with(Protocol::Udp(at.port())).with(Protocol::QuicV1));
        tcp.chain(udp).collect()
    }

    /// Nobody heard anything, although all can: the victim itself reaches them.
    fn check(&self, lab: &Lab) {
        let heard = std::mem::take(&mut *self.heard.lock().expect("no panic"));
        assert!(heard.is_empty(), "{heard:#?}");
        let (all, wanted) = (self.all.clone(), 2 * self.all.len());
        let heard = Arc::clone(&self.heard);
        lab.host("victim").run(move |_| async move {
            for at in all {
                TcpStream::connect(at).await.unwrap_or_else(|error| panic!("connect to {at}: {error}"));
                let any = if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await.expect("a free port");
                socket.send_to(b"hello", at).await.expect("sent");
            }
            let all_heard = async {
                while heard.lock().expect("no panic").len() < wanted {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let all_heard = tokio::time::timeout(WAIT, all_heard).await;
            all_heard.unwrap_or_else(|_| panic!("only these can hear: {:#?}", heard.lock().expect("no panic")));
        });
    }
}

/// Tells the protocols around it addresses to pass on as ours.
struct Lies(VecDeque<Multiaddr>);

impl NetworkBehaviour for Lies {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: libp2p::core::Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.0.pop_front() {
            Some(lie) => Poll::Ready(ToSwarm::NewExternalAddrCandidate(lie)),
            // Nothing is ever added.
            None => Poll::Pending,
        }
    }
}

#[derive(NetworkBehaviour)]
struct Liar {
    identify: identify::Behaviour,
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    lies: Lies,
}

/// A peer that claims these addresses, connected to the relay.
async fn liar_at(relay: &Multiaddr, claims: Vec<Multiaddr>) -> Swarm<Liar> {
    let lies = Lies(claims.iter().cloned().collect());
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("made")
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .expect("made")
        .with_behaviour(|key, relay| Liar {
            identify: identify::Behaviour::new(identify::Config::new("/liar/1".to_owned(), key.public())),
            relay,
            dcutr: dcutr::Behaviour::new(key.public().to_peer_id()),
            lies,
        })
        .expect("made")
        .with_swarm_config(|config| config.with_idle_connection_timeout(WAIT))
        .with_connection_timeout(Duration::from_secs(3))
        .build();
    for claim in claims {
        swarm.add_external_address(claim);
    }
    swarm.dial(relay.clone()).expect("dialling");
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(LiarEvent::Identify(identify::Event::Received { .. })) => return swarm,
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

/// Waits at the relay to be dialled, and tells what became of the meeting that it then asked for.
async fn liar_waits(
    relay: Multiaddr,
    claims: Vec<Multiaddr>,
    tell: oneshot::Sender<String>,
    met: oneshot::Sender<Result<(), String>>,
) {
    let mut swarm = liar_at(&relay, claims).await;
    let mine = relay.with(Protocol::P2pCircuit);
    swarm.listen_on(mine.clone()).expect("listening");
    let (mut tell, mut met) = (Some(tell), Some(met));
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(LiarEvent::Relay(relay::client::Event::ReservationReqAccepted { .. })) => {
                if let Some(tell) = tell.take() {
                    tell.send(mine.clone().with(Protocol::P2p(*swarm.local_peer_id())).to_string()).expect("awaited");
                }
            }
            SwarmEvent::Behaviour(LiarEvent::Dcutr(dcutr::Event { result, .. })) => {
                if let Some(met) = met.take() {
                    met.send(result.map(drop).map_err(|error| error.to_string())).expect("awaited");
                }
            }
            _ => {}
        }
    }
}

/// Comes to the victim through the relay, answers its wish to meet, and gives how often it dialled to no avail itself:
/// as often as the victim did at the same moments.
async fn liar_comes(relay: Multiaddr, claims: Vec<Multiaddr>, victim: Multiaddr) -> usize {
    let mut swarm = liar_at(&relay, claims).await;
    swarm.dial(victim).expect("dialling");
    let mut failed = 0;
    let attempts = async {
        // DCUtR tries three times.
        while failed < 3 {
            if let SwarmEvent::OutgoingConnectionError { .. } = swarm.select_next_some().await {
                failed += 1;
            }
        }
    };
    // The victim may stop early; once is enough to know that it was asked.
    let _ = tokio::time::timeout(Duration::from_secs(15), attempts).await;
    failed
}

struct Node {
    fabric: Fabric,
    stop: CancellationToken,
    meeting: tokio::task::JoinHandle<()>,
}

impl Node {
    /// As a real node: it also meets peers by hole punching.
    async fn start(place: &Place) -> Self {
        let config = FabricConfig { interfaces: Vec::new(), ..FabricConfig::default() };
        let (fabric, _) = Fabric::start(config).await.expect("started");
        let servers = vec![place.stun[0].to_string().parse().expect("an endpoint")];
        let config = ConnectorConfig {
            stun_servers: servers,
            profile: watch::channel(None).1,
            mappings: watch::channel(Vec::new()).1,
            turn: Vec::new(),
            registry: ConnectionRegistry::in_memory(),
            ipv6: true,
            ipv4_first: false,
        };
        let stop = CancellationToken::new();
        let connector = Connector::new(fabric.clone(), config, stop.clone());
        let meeting = tokio::spawn(async move { connector.run().await.expect("the only one on this fabric") });
        Self { fabric, stop, meeting }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.meeting.await.expect("no panic");
        self.fabric.shutdown().await;
    }
}

async fn relay_node(tell: oneshot::Sender<PeerId>) {
    let config =
        FabricConfig { relay_server: true, port: RELAY_PORT, interfaces: Vec::new(), ..FabricConfig::default() };
    let (fabric, _events) = Fabric::start(config).await.expect("started");
    tell.send(fabric.local_peer().as_str().parse().expect("a peer id")).expect("awaited");
    std::future::pending::<()>().await;
}

/// A lab with a relay that runs; gives its address.
fn build(liar: Nat) -> (Lab, Multiaddr) {
    let victim = Site::new(Nat::port_restricted()).clients(2);
    let lab = Lab::builder().site("victim", victim).site("liar", liar).build();
    let (tell, told) = oneshot::channel();
    lab.host("relay").spawn(move |_| relay_node(tell));
    let relay = told.blocking_recv().expect("the relay runs");
    let at = format!("/ip4/{}/tcp/{RELAY_PORT}/p2p/{relay}", lab.host("relay").v4());
    (lab, at.parse().expect("valid"))
}

#[test]
fn lies_in_identify_and_dcutr_lead_nowhere() {
    lab::run(|| {
        let (lab, relay) = build(Nat::public());
        let targets = Targets::new(&lab);

        // The victim dials the liar, which then wants to meet it.
        let (tell, told) = oneshot::channel();
        let (met, has_met) = oneshot::channel();
        let (at, claims) = (relay.clone(), targets.claims());
        let liar = lab.host("liar").spawn(move |_| liar_waits(at, claims, tell, met));
        let to = told.blocking_recv().expect("it has a place");
        let (wanted, claims) = (targets.claims(), targets.claims());
        let done = CancellationToken::new();
        let stop = done.clone();
        let victim = lab.host("victim").spawn(move |place| async move {
            let node = Node::start(&place).await;
            let mut events = node.fabric.subscribe();
            let link = node.fabric.dial(&to, WAIT).await.expect("through the relay");
            let told = async {
                loop {
                    if let FabricEvent::Identified { peer, addresses, .. } = events.next().await.expect("running")
                        && peer == link.peer
                    {
                        return addresses;
                    }
                }
            };
            let told = tokio::time::timeout(WAIT, told).await.expect("identified");
            assert!(wanted.iter().any(|lie| told.contains(&lie.to_string())), "the lies arrive: {told:?}");
            stop.cancelled().await;
            // Later it is looked for by its id.
            node.fabric.disconnect(&link.peer).await.expect("running");
            node.fabric.connect(&link.peer).await.expect("through the relay again");
            node.stop().await;
        });
        let ended = has_met.blocking_recv().expect("the liar runs");
        println!("the liar's meeting: {ended:?}");
        assert!(ended.is_err(), "nobody was met");
        done.cancel();
        victim.join();
        liar.abort();

        // The victim waits, and the liar comes.
        let (tell, told) = oneshot::channel();
        let (end, at) = (CancellationToken::new(), relay.to_string());
        let stop = end.clone();
        let victim = lab.host("victim").spawn(move |place| async move {
            let node = Node::start(&place).await;
            tell.send(node.fabric.reserve(&at).await.expect("a place")).expect("awaited");
            stop.cancelled().await;
            node.stop().await;
        });
        let to = told.blocking_recv().expect("it has a place").parse().expect("a multiaddr");
        let failed = lab.host("liar").run(move |_| liar_comes(relay, claims, to));
        println!("the liar dialled {failed} times");
        assert!(failed > 0, "the victim wanted to meet the liar");
        end.cancel();
        victim.join();
        targets.check(&lab);
    });
}

/// The endpoints as a peer describes itself to another ladder.
fn described(known: &[Endpoint]) -> String {
    let udp = known.iter().map(|lie| format!(r#"{{"at":"{}","transport":"udp"}}"#, lie.address));
    let tcp = known.iter().map(|lie| format!(r#"{{"at":"{}","transport":"tcp","mapped":"upnp"}}"#, lie.address));
    udp.chain(tcp).collect::<Vec<_>>().join(",")
}

/// Begins a conversation of two ladders.
async fn ask(fabric: &Fabric, link: &Link, request: String) -> StreamSignal {
    let mut signal = StreamSignal::new(fabric.open(link, PROTOCOL).await.expect("opened"));
    signal.send(request.into()).await.expect("sent");
    signal
}

/// Asks the victim to punch, or waits to be asked, after having told its ladder the same lies.
async fn agree_to_punch(link: &Link, fabric: &Fabric, side: Side, lies: &str) -> StreamSignal {
    if side == Side::Initiator {
        let describe = format!(r#"{{"want":"describe","profile":{{}},"addresses":[{lies}]}}"#);
        ask(fabric, link, describe).await.receive().await.expect("the victim tells where it is");
        let dial_back = format!(r#"{{"want":"dialBack","targets":[{lies}]}}"#);
        let answer = ask(fabric, link, dial_back).await.receive().await.expect("answered");
        assert!(!answer.starts_with(br#"{"error":null"#), "the victim dialled one of them");
        return ask(fabric, link, r#"{"want":"punchUdp"}"#.to_owned()).await;
    }
    let mut incoming = fabric.accept(PROTOCOL).expect("free");
    loop {
        let mut signal = StreamSignal::new(incoming.next().await.expect("the victim begins").1);
        let request = signal.receive().await.expect("a request");
        let request = String::from_utf8_lossy(&request).into_owned();
        if request.contains("describe") {
            signal.send(format!(r#"{{"profile":{{}},"addresses":[{lies}]}}"#).into()).await.expect("sent");
        } else if request.contains("punchUdp") {
            return signal;
        }
    }
}

/// Signals through the relayed link that the peer's own endpoints are these.
async fn punch_with_lies(link: Link, fabric: Fabric, side: Side, known: Vec<Endpoint>) -> String {
    let mut signal = agree_to_punch(&link, &fabric, side, &described(&known)).await;
    let port = UdpPort::bind("0.0.0.0:0".parse().expect("valid")).expect("a free port");
    // No servers, so that no true endpoint is among them.
    let (mut observer, mut history) = (StunServers::new(Vec::new()), History::default());
    let local = Local {
        side,
        nat: NatSummary::default(),
        known,
        observer: &mut observer,
        history: &mut history,
        scope: Scope::Internet,
        signal_timeout: WAIT,
    };
    let ports = vec![LocalPort { port, driven: false }];
    let ended = punch_udp(ports, local, &mut signal, &CancellationToken::new()).await;
    ended.expect_err("nobody is at those addresses").full_message()
}

#[test]
fn lies_to_ladders_and_in_candidates_of_punching_lead_nowhere() {
    lab::run(|| {
        // Behind this NAT, libp2p's own way fails and punching is tried.
        let (lab, relay) = build(Nat::symmetric());
        let targets = Targets::new(&lab);
        // A public address of a third party, which is probed: the proof that the candidates were worked on.
        let decoy = SocketAddr::new(lab.host("stun").v4().into(), PORT);
        let probed = Heard::default();
        let (ready, is_ready) = oneshot::channel();
        let heard = Arc::clone(&probed);
        lab.host("stun").spawn(move |_| listen(decoy, heard, ready));
        is_ready.blocking_recv().expect("it listens");
        let mut known = vec![Endpoint { transport: Transport::Udp, address: decoy }];
        known.extend(targets.all.iter().map(|at| Endpoint { transport: Transport::Udp, address: *at }));

        for side in [Side::Initiator, Side::Responder] {
            let (tell, told) = oneshot::channel();
            let end = CancellationToken::new();
            let (at, stop, known) = (relay.to_string(), end.clone(), known.clone());
            let waits = side == Side::Initiator;
            let (waiting, coming) = if waits { ("victim", "liar") } else { ("liar", "victim") };
            // Who waits is dialled; who dials begins to punch.
            let lying = known.clone();
            let liar_or_victim = lab.host(waiting).spawn(move |place| async move {
                if waits {
                    let node = Node::start(&place).await;
                    tell.send(node.fabric.reserve(&at).await.expect("a place")).expect("awaited");
                    stop.cancelled().await;
                    node.stop().await;
                    return String::new();
                }
                let config = FabricConfig { interfaces: Vec::new(), ..FabricConfig::default() };
                let (fabric, mut events) = Fabric::start(config).await.expect("started");
                tell.send(fabric.reserve(&at).await.expect("a place")).expect("awaited");
                let link = loop {
                    match events.next().await.expect("running") {
                        FabricEvent::LinkUp(link) if link.relayed && !link.outbound => break link,
                        _ => {}
                    }
                };
                punch_with_lies(link, fabric, side, lying).await
            });
            let to = told.blocking_recv().expect("it has a place");
            let stop = end.clone();
            let comer = lab.host(coming).spawn(move |place| async move {
                if !waits {
                    let node = Node::start(&place).await;
                    node.fabric.dial(&to, WAIT).await.expect("through the relay");
                    stop.cancelled().await;
                    node.stop().await;
                    return String::new();
                }
                let config = FabricConfig { interfaces: Vec::new(), ..FabricConfig::default() };
                let (fabric, _) = Fabric::start(config).await.expect("started");
                let link = fabric.dial(&to, WAIT).await.expect("through the relay");
                punch_with_lies(link, fabric, side, known).await
            });
            let (liar, victim) = if waits { (comer, liar_or_victim) } else { (liar_or_victim, comer) };
            println!("the liar as {side:?}: {}", liar.join());
            end.cancel();
            victim.join();
            let probes = std::mem::take(&mut *probed.lock().expect("no panic"));
            println!("{} probes of the public address", probes.len());
            assert!(!probes.is_empty(), "the victim did not punch");
        }
        targets.check(&lab);
    });
}
