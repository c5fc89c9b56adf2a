//! Local discovery over real multicast on the loopback interface, and the manager over it.
#![cfg(feature = "engine")]
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dig_nat_core::ErrorKind;
use dig_nat_core::base::events::Event;
use dig_nat_core::base::ids::{ContentKey, PeerId};
use dig_nat_core::base::priority::Priority;
use dig_nat_core::discovery::local::{LocalConfig, LocalDiscovery};
use dig_nat_core::discovery::manager::{DiscoveryConfig, PeerDiscovery};
use dig_nat_core::discovery::source::{Candidate, Source, SourceKind};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

/// Far more than anything here takes; reached only when something is broken.
const DEADLINE: Duration = Duration::from_secs(60);

fn config(id: &str, port: u16) -> LocalConfig {
    let interfaces = vec!["lo".to_owned()];
    LocalConfig { peer_id: PeerId::from_text(id), port, tcp: true, udp: true, interfaces, ipv6: false }
}

async fn local(id: &str, port: u16) -> LocalDiscovery {
    LocalDiscovery::start(config(id, port)).await.unwrap()
}

/// A key of its own for every test, as all of them share the loopback interface.
fn key(text: &str) -> ContentKey {
    format!("{text} {}", std::process::id()).parse().unwrap()
}

async fn next(receiver: &mut mpsc::Receiver<Candidate>) -> Option<Candidate> {
    tokio::time::timeout(DEADLINE, receiver.recv()).await.expect("an answer before the deadline")
}

#[tokio::test]
async fn two_nodes_find_each_other_by_key_and_a_third_is_left_out() {
    let (first, second, third) =
        (local("AAAone", 9001).await, local("AAAtwo", 9002).await, local("AAAthree", 9003).await);
    first.announce(key("both")).await.unwrap();
    second.announce(key("both")).await.unwrap();
    third.announce(key("something else")).await.unwrap();

    let mut of_first = first.search(key("both"));
    let found = next(&mut of_first).await.unwrap();
    assert_eq!(found.id, Some(PeerId::from_text("AAAtwo")));
    assert_eq!(found.addresses, ["/ip4/127.0.0.1/tcp/9002", "/ip4/127.0.0.1/udp/9002/quic-v1"]);
    assert_eq!((found.source, found.confidence.to_bits()), (SourceKind::Local, 0.9_f64.to_bits()));
    let mut of_second = second.search(key("both"));
    assert_eq!(next(&mut of_second).await.unwrap().id, Some(PeerId::from_text("AAAone")));

    // The third sees both, in any order, and never itself.
    let mut of_third = third.search(key("both"));
    let mut labels = [next(&mut of_third).await.unwrap(), next(&mut of_third).await.unwrap()].map(|found| found.id);
    labels.sort();
    assert_eq!(labels, [Some(PeerId::from_text("AAAone")), Some(PeerId::from_text("AAAtwo"))]);

    // A second search for the same key learns at once what the first one knows.
    let mut again = first.search(key("both"));
    assert_eq!(again.try_recv().unwrap().id, Some(PeerId::from_text("AAAtwo")));

    // Everything that came is read, and the third was never in it.
    while let Some(Some(found)) = of_first.recv().now_or_never() {
        assert_eq!(found.id, Some(PeerId::from_text("AAAtwo")));
    }
    for node in [&first, &second, &third] {
        node.stop().await;
    }
    assert!(next(&mut of_third).await.is_none(), "stopping ends the stream");
    assert!(first.search(key("both")).recv().await.is_none(), "and a search after it ends at once");
}

/// Where the machine has no IPv6 this is the test above in short.
#[tokio::test]
async fn both_address_families_are_used() {
    let with_ipv6 = |id, port| LocalConfig { ipv6: true, ..config(id, port) };
    let host = LocalDiscovery::start(with_ipv6("GGGhost", 9001)).await.unwrap();
    let seeker = LocalDiscovery::start(with_ipv6("GGGseeker", 0)).await.unwrap();
    host.announce(key("families")).await.unwrap();
    let found = next(&mut seeker.search(key("families"))).await.unwrap();
    assert!(found.addresses.contains(&"/ip4/127.0.0.1/tcp/9001".to_owned()), "{found:?}");
    let v6 = if_addrs::get_if_addrs().unwrap().iter().any(|interface| interface.ip() == std::net::Ipv6Addr::LOCALHOST);
    assert_eq!(found.addresses.contains(&"/ip6/::1/tcp/9001".to_owned()), v6, "{found:?}");
    seeker.stop().await;
    host.stop().await;
}

#[tokio::test]
async fn withdrawn_keys_are_not_found() {
    let (host, seeker) = (local("BBBhost", 9001).await, local("BBBseeker", 0).await);
    host.announce(key("taken back")).await.unwrap();
    host.announce(key("kept")).await.unwrap();
    host.withdraw(key("taken back")).await.unwrap();
    // Both questions leave in this order; when the second is answered, the first has had its chance: an answer to it
    // would have been in the same packet or an earlier one.
    let mut gone = seeker.search(key("taken back"));
    let mut kept = seeker.search(key("kept"));
    assert_eq!(next(&mut kept).await.unwrap().id, Some(PeerId::from_text("BBBhost")));
    assert!(gone.recv().now_or_never().is_none());
    seeker.stop().await;
    host.stop().await;
}

#[tokio::test]
async fn announcing_keys_sends_nothing() {
    let host = local("CCChost", 9001).await;
    for index in 0..200 {
        host.announce(key(&format!("many {index}"))).await.unwrap();
    }
    let seeker = local("CCCseeker", 0).await;
    assert!(next(&mut seeker.search(key("many 199"))).await.is_some());
    // At most two announcements, answers to our questions, and replies to the questions other tests ask everybody.
    assert!(host.packets_sent() < 20, "{} packets", host.packets_sent());
    seeker.stop().await;
    host.stop().await;
}

#[tokio::test]
async fn what_cannot_work_is_said() {
    let refused = async |config: LocalConfig| match LocalDiscovery::start(config).await {
        Ok(_) => panic!("started"),
        Err(error) => error,
    };
    let error = refused(LocalConfig { interfaces: vec!["no such interface".to_owned()], ..config("DDD", 1) }).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.full_message().contains("no such interface"), "{}", error.full_message());
    assert_eq!(refused(config("not a label", 1)).await.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_node_without_a_local_network_gets_a_warning() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    let on_event: dig_nat_core::discovery::manager::EventSink = Arc::new(move |event| sink.lock().unwrap().push(event));
    let discovery = PeerDiscovery::new(DiscoveryConfig { on_event: Some(on_event), ..DiscoveryConfig::default() });
    let nowhere = LocalConfig { interfaces: vec!["no such interface".to_owned()], ..config("EEE", 1) };
    assert!(!discovery.start_local(nowhere).await);
    assert!(matches!(&events.lock().unwrap()[..], [Event::Warning { .. }]));
    assert!(discovery.find(&key("nothing"), 1, DEADLINE).await.is_empty(), "without sources a search ends at once");
    discovery.stop().await;
}

#[tokio::test]
async fn managers_find_each_other_and_report_it() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    let seeker = PeerDiscovery::new(DiscoveryConfig {
        own_id: Some(PeerId::from_text("FFFseeker")),
        on_event: Some(Arc::new(move |event| sink.lock().unwrap().push(event))),
        ..DiscoveryConfig::default()
    });
    let host = PeerDiscovery::new(DiscoveryConfig::default());
    // Announced before the source exists: handed on when it comes.
    host.announce(&key("managed"), Priority::High).await;
    assert!(host.start_local(config("FFFhost", 9001)).await);
    assert!(seeker.start_local(config("FFFseeker", 9002)).await);
    let found = seeker.find(&key("managed"), 1, DEADLINE).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, Some(PeerId::from_text("FFFhost")));
    let expected = Event::PeerDiscovered {
        id: "FFFhost".to_owned(),
        address: "127.0.0.1".to_owned(),
        port: 9001,
        source: "local".to_owned(),
        confidence: 0.9,
        key: key("managed").to_string(),
    };
    assert_eq!(*events.lock().unwrap(), [expected]);
    // Known now: found without asking anybody.
    let mut search = seeker.search(&key("managed"));
    assert_eq!(next(&mut search).await.unwrap().label(), "FFFhost");
    seeker.stop().await;
    host.stop().await;
    assert!(next(&mut search).await.is_none());
    assert_eq!(seeker.known_peers().len(), 1, "what is known survives the stop");
}

/// A source that yields what it was given and counts what is asked of it.
#[derive(Default)]
struct Scripted {
    found: Vec<Candidate>,
    /// Keeps its searches open after the last find.
    endless: bool,
    calls: Arc<Mutex<Vec<String>>>,
    /// Completes once a search's receiver is dropped.
    dropped: Arc<tokio::sync::Notify>,
}

impl Scripted {
    fn note(&self, what: &str) {
        self.calls.lock().unwrap().push(what.to_owned());
    }
}

impl Source for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Dht
    }

    fn announce(&self, key: ContentKey) -> BoxFuture<'_, dig_nat_core::Result<()>> {
        self.note(&format!("announce {key}"));
        Box::pin(async { Err(dig_nat_core::Error::new(ErrorKind::Timeout, "announce")) })
    }

    fn withdraw(&self, key: ContentKey) -> BoxFuture<'_, dig_nat_core::Result<()>> {
        self.note(&format!("withdraw {key}"));
        Box::pin(async { Ok(()) })
    }

    fn search(&self, _key: ContentKey) -> mpsc::Receiver<Candidate> {
        let (sender, receiver) = mpsc::channel(1);
        let (found, endless, dropped) = (self.found.clone(), self.endless, self.dropped.clone());
        tokio::spawn(async move {
            for candidate in found {
                if sender.send(candidate).await.is_err() {
                    break;
                }
            }
            if endless {
                sender.closed().await;
            }
            dropped.notify_one();
        });
        receiver
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.note("stop");
        Box::pin(async {})
    }
}

fn candidate(id: &str, address: &str, source: SourceKind) -> Candidate {
    let id = (!id.is_empty()).then(|| PeerId::from_text(id));
    Candidate::new(id, vec![address.to_owned()], source)
}

#[tokio::test]
async fn sources_are_merged_ranked_and_ended() {
    let discovery =
        PeerDiscovery::new(DiscoveryConfig { own_id: Some(PeerId::from_text("self")), ..DiscoveryConfig::default() });
    let dht = Scripted {
        found: vec![
            candidate("self", "s:1", SourceKind::Dht),
            candidate("A", "a:1", SourceKind::Dht),
            candidate("B", "b:1", SourceKind::Dht),
        ],
        ..Scripted::default()
    };
    let pex = Scripted {
        found: vec![candidate("A", "a:1", SourceKind::Pex), candidate("A", "a:2", SourceKind::Pex)],
        ..Scripted::default()
    };
    let calls = dht.calls.clone();
    discovery.register(Arc::new(dht)).await;
    discovery.register(Arc::new(pex)).await;
    discovery.add_manual(candidate("", "m:1", SourceKind::Manual), Some(&key("ranked")));
    discovery.record_failure(&PeerId::from_text("B"), None);

    let found = discovery.find(&key("ranked"), 10, DEADLINE).await;
    let labels: Vec<&str> = found.iter().map(Candidate::label).collect();
    assert_eq!(labels, ["m:1", "A", "B"]);
    assert_eq!(found[1].addresses, ["a:1", "a:2"]);
    discovery.record_success(&PeerId::from_text("B"), Some("b:1"));
    assert_eq!(discovery.find(&key("ranked"), 10, DEADLINE).await[0].label(), "B");
    assert_eq!(discovery.find(&key("ranked"), 2, DEADLINE).await.len(), 2);

    discovery.announce(&key("ranked"), Priority::High).await;
    discovery.withdraw(&key("ranked")).await;
    discovery.stop().await;
    discovery.stop().await;
    let name = key("ranked");
    assert_eq!(*calls.lock().unwrap(), [format!("announce {name}"), format!("withdraw {name}"), "stop".to_owned()]);
    assert!(discovery.search(&key("ranked")).recv().await.is_none());
}

#[tokio::test]
async fn a_dropped_receiver_ends_the_search_at_every_source() {
    let discovery = PeerDiscovery::new(DiscoveryConfig::default());
    let source = Scripted { endless: true, found: vec![candidate("A", "a:1", SourceKind::Dht)], ..Scripted::default() };
    let dropped = source.dropped.clone();
    discovery.register(Arc::new(source)).await;
    let mut search = discovery.search(&key("dropped"));
    assert_eq!(next(&mut search).await.unwrap().label(), "A");
    // A manual peer reaches the running search, one for another key does not.
    discovery.add_manual(candidate("", "other:1", SourceKind::Manual), Some(&key("another")));
    discovery.add_manual(candidate("", "m:1", SourceKind::Manual), None);
    assert_eq!(next(&mut search).await.unwrap().label(), "m:1");
    drop(search);
    tokio::time::timeout(DEADLINE, dropped.notified()).await.expect("the source's receiver is dropped");
    discovery.stop().await;
}

#[tokio::test]
async fn a_search_that_finds_nothing_ends_with_its_timeout() {
    let discovery = PeerDiscovery::new(DiscoveryConfig::default());
    discovery.register(Arc::new(Scripted { endless: true, ..Scripted::default() })).await;
    let found = discovery.find(&key("nobody"), 1, Duration::from_millis(50)).await;
    assert!(found.is_empty());
    discovery.stop().await;
}
