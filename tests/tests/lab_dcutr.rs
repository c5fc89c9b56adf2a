//! A node of ours and a stock rust-libp2p peer, each behind a port-restricted NAT of the lab, meet through a relay of
//! either kind and then directly, by libp2p's own protocol for that (DCUtR). Not here: two nodes of ours (`nat_grid`),
//! and stock peers on the loopback interface (`core/tests/fabric_interop.rs`).
#![cfg(target_os = "linux")]

use std::future::pending;
use std::time::Duration;

use dig_nat_core::fabric::{Fabric, FabricConfig, Link};
use dig_nat_tests::lab::{self, Lab, Nat, Path, Place, Site};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, dcutr, identify, noise, ping, relay, tcp, yamux};
use tokio::sync::oneshot;

const WAIT: Duration = Duration::from_secs(40);
const PING: &str = "/ipfs/ping/1.0.0";
const RELAY_PORT: u16 = 4001;
/// One way, of each site.
const DELAY: Duration = Duration::from_millis(10);

#[derive(NetworkBehaviour)]
struct Stock {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
}

#[derive(NetworkBehaviour)]
struct StockRelay {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    relay: relay::Behaviour,
}

fn about(key: &libp2p::identity::Keypair) -> identify::Behaviour {
    identify::Behaviour::new(identify::Config::new("/stock/1".to_owned(), key.public()))
}

/// A stock peer that listens and is known to the relay, which has told it how it is seen.
async fn stock_at(relay: &Multiaddr) -> Swarm<Stock> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .expect("made")
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .expect("made")
        .with_behaviour(|key, relay| Stock {
            ping: ping::Behaviour::default(),
            identify: about(key),
            relay,
            dcutr: dcutr::Behaviour::new(key.public().to_peer_id()),
        })
        .expect("made")
        .with_swarm_config(|config| config.with_idle_connection_timeout(WAIT))
        .build();
    for address in ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"] {
        swarm.listen_on(address.parse().expect("valid")).expect("listening");
    }
    let mut listening = 0;
    // Loopback and the network, for each transport.
    while listening < 4 {
        if let SwarmEvent::NewListenAddr { .. } = swarm.select_next_some().await {
            listening += 1;
        }
    }
    swarm.dial(relay.clone()).expect("dialling");
    let (mut told, mut heard) = (false, false);
    while !told || !heard {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(StockEvent::Identify(identify::Event::Sent { .. })) => told = true,
            SwarmEvent::Behaviour(StockEvent::Identify(identify::Event::Received { .. })) => heard = true,
            SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
    swarm
}

/// Goes on until the meeting has succeeded in this peer's eyes, says so, and goes on.
async fn until_met(mut swarm: Swarm<Stock>, tell: oneshot::Sender<Result<(), String>>) {
    let mut tell = Some(tell);
    loop {
        if let SwarmEvent::Behaviour(StockEvent::Dcutr(dcutr::Event { result, .. })) = swarm.select_next_some().await
            && let Some(tell) = tell.take()
        {
            // Who has stopped waiting fails by itself.
            let _ = tell.send(result.map(drop).map_err(|error| error.to_string()));
        }
    }
}

/// Waits at the relay; tells its address there.
async fn stock_waits(relay: Multiaddr, at: oneshot::Sender<String>, met: oneshot::Sender<Result<(), String>>) {
    let mut swarm = stock_at(&relay).await;
    let peer = *swarm.local_peer_id();
    swarm.listen_on(relay.clone().with(Protocol::P2pCircuit)).expect("listening");
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(StockEvent::Relay(relay::client::Event::ReservationReqAccepted { .. })) => break,
            SwarmEvent::ListenerClosed { reason, .. } => panic!("no place at the relay: {reason:?}"),
            _ => {}
        }
    }
    at.send(relay.with(Protocol::P2pCircuit).with(Protocol::P2p(peer)).to_string()).expect("awaited");
    until_met(swarm, met).await;
}

/// Comes to us through the relay; tells who it is.
async fn stock_comes(
    relay: Multiaddr,
    to: Multiaddr,
    who: oneshot::Sender<String>,
    met: oneshot::Sender<Result<(), String>>,
) {
    let mut swarm = stock_at(&relay).await;
    who.send(swarm.local_peer_id().to_base58()).expect("awaited");
    swarm.dial(to).expect("dialling");
    until_met(swarm, met).await;
}

async fn stock_relay(place: Place, tell: oneshot::Sender<PeerId>) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("made")
        .with_quic()
        .with_behaviour(|key| StockRelay {
            ping: ping::Behaviour::default(),
            identify: about(key),
            relay: relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()),
        })
        .expect("made")
        .build();
    for address in [format!("/ip4/0.0.0.0/tcp/{RELAY_PORT}"), format!("/ip4/0.0.0.0/udp/{RELAY_PORT}/quic-v1")] {
        swarm.listen_on(address.parse().expect("valid")).expect("listening");
    }
    // It tells its clients where it is.
    swarm.add_external_address(format!("/ip4/{}/tcp/{RELAY_PORT}", place.v4()).parse().expect("valid"));
    tell.send(*swarm.local_peer_id()).expect("awaited");
    loop {
        swarm.select_next_some().await;
    }
}

async fn our_relay(tell: oneshot::Sender<PeerId>) {
    let config =
        FabricConfig { relay_server: true, port: RELAY_PORT, interfaces: Vec::new(), ..FabricConfig::default() };
    let (fabric, _events) = Fabric::start(config).await.expect("started");
    tell.send(fabric.local_peer().as_str().parse().expect("a peer id")).expect("awaited");
    pending::<()>().await;
}

async fn node() -> Fabric {
    let config = FabricConfig { interfaces: Vec::new(), ..FabricConfig::default() };
    Fabric::start(config).await.expect("started").0
}

/// The direct link to a peer, once there is one, over which a ping is answered.
async fn direct(fabric: &Fabric, peer: &str) -> Link {
    let mut events = fabric.subscribe();
    let found = async {
        loop {
            if let Some(link) = fabric.links().into_iter().find(|link| link.peer.as_str() == peer && !link.relayed) {
                return link;
            }
            events.next().await.expect("running");
        }
    };
    let found = tokio::time::timeout(WAIT, found).await;
    let link = found.unwrap_or_else(|_| panic!("no direct link: {:?}", fabric.links()));
    let mut stream = fabric.open(&link, PING).await.expect("opened");
    stream.write_all(&[7; 32]).await.expect("written");
    stream.flush().await.expect("written");
    let mut answer = [0; 32];
    tokio::time::timeout(WAIT, stream.read_exact(&mut answer)).await.expect("in time").expect("answered");
    assert_eq!(answer, [7; 32]);
    link
}

/// One meeting: over which transport the relay is reached, and who comes to whom.
fn meet(lab: &Lab, relay: &Multiaddr, we_come: bool) -> Link {
    let (tell, told) = oneshot::channel();
    let (met, has_met) = oneshot::channel();
    let relay = relay.clone();
    let (stock, link) = if we_come {
        let stock = lab.host("stock").spawn(move |_| stock_waits(relay, tell, met));
        let to = told.blocking_recv().expect("it has a place");
        let link = lab.host("ours").run(move |_| async move {
            let fabric = node().await;
            let circuit = fabric.dial(&to, WAIT).await.expect("through the relay");
            assert!(circuit.relayed);
            let link = direct(&fabric, circuit.peer.as_str()).await;
            fabric.shutdown().await;
            link
        });
        (stock, link)
    } else {
        let (wait, waiting) = oneshot::channel();
        let at = relay.to_string();
        let ours = lab.host("ours").spawn(move |_| async move {
            let fabric = node().await;
            wait.send(fabric.reserve(&at).await.expect("a place")).expect("awaited");
            let link = direct(&fabric, &told.await.expect("it comes")).await;
            fabric.shutdown().await;
            link
        });
        let to = waiting.blocking_recv().expect("we have a place").parse().expect("a multiaddr");
        let stock = lab.host("stock").spawn(move |_| stock_comes(relay, to, tell, met));
        (stock, ours.join())
    };
    // Only the side that waited started the meeting; the other one's protocol has no last word.
    if we_come {
        let has_met = has_met.blocking_recv().expect("the stock peer runs");
        assert_eq!(has_met, Ok(()), "the stock peer's view");
    }
    stock.abort();
    link
}

fn all_meet(lab: &Lab, relay: PeerId) {
    let ip = lab.host("relay").v4();
    for transport in [format!("tcp/{RELAY_PORT}"), format!("udp/{RELAY_PORT}/quic-v1")] {
        let relay: Multiaddr = format!("/ip4/{ip}/{transport}/p2p/{relay}").parse().expect("valid");
        for we_come in [true, false] {
            let link = meet(lab, &relay, we_come);
            println!("by {transport}, {}: {link:?}", if we_come { "we come" } else { "stock comes" });
            let home = format!("/ip4/{}/", lab.router("stock").v4());
            assert!(link.address.starts_with(&home), "{link:?} is not through {home}");
        }
    }
}

fn build() -> Lab {
    let site = || Site::new(Nat::port_restricted()).path(Path::delay(DELAY));
    Lab::builder().site("ours", site()).site("stock", site()).build()
}

#[test]
fn we_meet_a_stock_peer_through_our_relay() {
    lab::run(|| {
        let lab = build();
        let (tell, told) = oneshot::channel();
        let relay = lab.host("relay").spawn(move |_| our_relay(tell));
        all_meet(&lab, told.blocking_recv().expect("the relay runs"));
        relay.abort();
    });
}

#[test]
fn we_meet_a_stock_peer_through_a_stock_relay() {
    lab::run(|| {
        let lab = build();
        let (tell, told) = oneshot::channel();
        let relay = lab.host("relay").spawn(move |place| stock_relay(place, tell));
        all_meet(&lab, told.blocking_recv().expect("the relay runs"));
        relay.abort();
    });
}
