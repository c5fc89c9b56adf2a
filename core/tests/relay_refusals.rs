//! How often a circuit relay is asked for peers that it does not have: a stock relay of libp2p counts what it refuses.
//! Not here: circuits that work (`fabric_relay`), and how long the pauses are (unit tests of `fabric::refusals`).

use std::collections::HashMap;
use std::time::Duration;

use dig_nat_core::base::ids::{ContentKey, FileHash, PeerId};
use dig_nat_core::base::limits;
use dig_nat_core::discovery::dht::contact::Contact;
use dig_nat_core::discovery::dht::key::Node;
use dig_nat_core::discovery::dht::message::{Message, frame_length};
use dig_nat_core::discovery::dht::{Dht, DhtConfig, Network};
use dig_nat_core::discovery::own::Own;
use dig_nat_core::discovery::source::Source;
use dig_nat_core::fabric::{Fabric, FabricConfig, Stream, address_to_bytes};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::SwarmEvent;
use libp2p::{SwarmBuilder, relay, tls, yamux};
use tokio::sync::watch;

/// For whatever takes no time on an idle machine.
const WAIT: Duration = Duration::from_secs(60);

/// A relay that refuses as often as it is asked.
struct Relay {
    /// Ends in its id.
    address: String,
    /// Refused requests, by whom they were for.
    refused: watch::Receiver<HashMap<String, usize>>,
}

impl Relay {
    async fn start() -> Self {
        let unlimited = relay::Config {
            reservation_rate_limiters: Vec::new(),
            circuit_src_rate_limiters: Vec::new(),
            ..relay::Config::default()
        };
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(libp2p::tcp::Config::default(), tls::Config::new, yamux::Config::default)
            .expect("made")
            .with_behaviour(|key| relay::Behaviour::new(key.public().to_peer_id(), unlimited))
            .expect("made")
            .with_swarm_config(|config| config.with_idle_connection_timeout(10 * WAIT))
            .build();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("valid")).expect("listening");
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        swarm.add_external_address(address.clone());
        let address = format!("{address}/p2p/{}", swarm.local_peer_id());
        let (count, refused) = watch::channel(HashMap::new());
        tokio::spawn(async move {
            while let Some(event) = swarm.next().await {
                if let SwarmEvent::Behaviour(relay::Event::CircuitReqDenied { dst_peer_id, .. }) = event {
                    count.send_modify(|refused: &mut HashMap<_, _>| {
                        *refused.entry(dst_peer_id.to_base58()).or_default() += 1;
                    });
                }
            }
        });
        Self { address, refused }
    }

    fn circuit(&self) -> String {
        format!("{}/p2p-circuit", self.address)
    }

    /// Has it refused one more request of this node, so that all earlier ones are counted; gives the others.
    async fn refused(&self, node: &Fabric) -> HashMap<String, usize> {
        let nobody = libp2p::PeerId::random().to_base58();
        node.dial(&format!("{}/p2p/{nobody}", self.circuit()), WAIT).await.expect_err("nobody is there");
        let mut refused = self.refused.clone();
        let counted = refused.wait_for(|refused| refused.contains_key(&nobody));
        let mut refused = tokio::time::timeout(WAIT, counted).await.expect("counted").expect("running").clone();
        refused.remove(&nobody);
        refused
    }
}

async fn fabric() -> Fabric {
    let config = FabricConfig { interfaces: vec!["lo".into()], local_only: true, ..FabricConfig::default() };
    Fabric::start(config).await.expect("started").0
}

/// A node of the hash table that names whomever it is told to in its next answer.
async fn teller(mut named: impl FnMut() -> Vec<Contact> + Send + 'static) -> Fabric {
    let fabric = fabric().await;
    let mut incoming = fabric.accept(Network::Private.protocol()).expect("free");
    tokio::spawn(async move {
        while let Some((_, mut stream)) = incoming.next().await {
            while let Some(asked) = read(&mut stream).await {
                let mut answer = Message::new(asked.kind, asked.key);
                answer.closer = named().into_iter().map(Into::into).collect();
                if stream.write_all(&answer.frame()).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
        }
    });
    fabric
}

async fn read(stream: &mut Stream) -> Option<Message> {
    let mut header = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        header.push(byte[0]);
        if let Some((_, length)) = frame_length(&header).expect("a length") {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.ok()?;
            return Some(Message::decode(&body).expect("a message"));
        }
    }
}

/// A node of the hash table that has entered it by the teller, and does `lookups` lookups one after the other.
async fn look_up(teller: &Fabric, lookups: usize) -> (Fabric, Dht) {
    let fabric = fabric().await;
    let own = Own::new(fabric.signer(), watch::channel(Vec::new()).1);
    let bootstrap = vec![format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", teller.port(), teller.local_peer())];
    let config = DhtConfig { network: Network::Private, bootstrap, ..DhtConfig::default() };
    let dht = Dht::start(fabric.clone(), own, watch::channel(false).1, config).await.expect("started");
    for number in 0..lookups {
        let target = ContentKey::Hash(FileHash::of(&number.to_be_bytes()));
        dht.find_node(&target, WAIT).await.expect("looked up");
    }
    (fabric, dht)
}

fn gone(circuit: &str) -> Contact {
    let peer = PeerId::from_text(&libp2p::PeerId::random().to_base58());
    let address = address_to_bytes(circuit).expect("an address");
    Contact::new(Node::from_peer(&peer).expect("an id"), [address])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_that_meet_the_same_gone_nodes_again_do_not_ask_their_relay_again() {
    let relay = Relay::start().await;
    let nodes: Vec<Contact> = (0..12).map(|_| gone(&relay.circuit())).collect();
    let named = nodes.clone();
    let teller = teller(move || named.clone()).await;
    let (fabric, dht) = look_up(&teller, 20).await;
    let refused = relay.refused(&fabric).await;
    for node in &nodes {
        // Once, and again only if the lookups took longer than the pauses; without pauses, with each of the lookups.
        let asked = refused.get(node.node.peer().as_str()).copied().unwrap_or_default();
        assert!((1..=4).contains(&asked), "{asked} requests for one node in 20 lookups");
    }
    dht.stop().await;
    fabric.shutdown().await;
    teller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_were_made_up_use_a_relay_up_in_part_only() {
    let relay = Relay::start().await;
    let circuit = relay.circuit();
    let teller = teller(move || (0..limits::DHT_K).map(|_| gone(&circuit)).collect()).await;
    let began = tokio::time::Instant::now();
    let (fabric, dht) = look_up(&teller, 20).await;
    let intervals = 1 + began.elapsed().as_secs() / limits::RELAY_REQUEST_INTERVAL.as_secs();
    let asked: usize = relay.refused(&fabric).await.values().sum();
    let at_once = limits::DHT_PATHS * limits::DHT_ALPHA * (limits::DHT_REFRESHES + 1);
    let most = (limits::RELAY_REFUSALS_PER_INTERVAL as usize + at_once) * intervals as usize;
    assert!((limits::RELAY_REFUSALS_PER_INTERVAL as usize..=most).contains(&asked), "{asked} requests of {most}");
    dht.stop().await;
    fabric.shutdown().await;
    teller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_back_is_reached_when_it_is_heard_of() {
    let (relay, a, b) = (Relay::start().await, fabric().await, fabric().await);
    let circuit = format!("{}/p2p/{}", relay.circuit(), b.local_peer());
    assert_eq!(a.add_addresses(&b.local_peer(), std::slice::from_ref(&circuit)), 1);
    assert!(!a.is_refused(&b.local_peer()), "it was never asked for");
    for _ in 0..3 {
        a.connect(&b.local_peer()).await.expect_err("it has no place there");
        assert!(a.is_refused(&b.local_peer()));
    }
    assert_eq!(relay.refused(&a).await, HashMap::from([(b.local_peer().to_string(), 1)]));
    b.reserve(&relay.address).await.expect("a place");
    let error = a.connect(&b.local_peer()).await.expect_err("nobody has told us");
    assert!(error.to_string().contains("not asked again"), "{error}");
    // Whoever names the way is believed.
    assert!(a.dial(&circuit, WAIT).await.expect("through the relay").relayed);
    assert!(!a.is_refused(&b.local_peer()));
    a.disconnect(&b.local_peer()).await.expect("closed");
    a.connect(&b.local_peer()).await.expect("asked again");
    a.shutdown().await;
    b.shutdown().await;
}
