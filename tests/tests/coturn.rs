//! STUN and TURN against the real thing: coturn's `turnserver` on 127.0.0.1 and 127.0.0.2, started by each test.

#[path = "coturn/relay.rs"]
mod relay;
#[path = "coturn/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dig_nat_core::ErrorKind;
use dig_nat_core::nat::profile::{Filtering, Mapping, PortAllocation};
use dig_nat_core::nat::stun::StunServer;
use dig_nat_core::nat::stun::driver::{DetectConfig, detect, public_addresses, query, query_alone};
use dig_nat_core::net::udp::UdpPort;
use server::Turnserver;
use tokio_util::sync::CancellationToken;

fn stun_server(text: &str) -> StunServer {
    text.parse().expect("valid")
}

fn any_port() -> Arc<UdpPort> {
    UdpPort::bind("127.0.0.1:0".parse().expect("valid")).expect("free port")
}

#[tokio::test]
async fn rfc_5780_finds_that_nothing_stands_in_the_way() {
    let Some(server) = Turnserver::start(&[]).await else { return };
    let own = any_port();
    let mut config = DetectConfig::new(vec![stun_server(&format!("stun:127.0.0.1:{}", server.port))]);
    config.ports = vec![Arc::clone(&own)];
    let started = Instant::now();
    let profile = tokio::select! {
        profile = detect(config, CancellationToken::new()) => profile.expect("the server answers"),
        error = own.pump() => panic!("{error}"),
    };
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    assert_eq!((profile.name(), profile.translated, profile.udp_blocked), ("public", Some(false), false));
    assert_eq!(profile.mapping, Some(Mapping::EndpointIndependent));
    assert_eq!(profile.filtering, Some(Filtering::EndpointIndependent));
    assert_eq!(profile.allocation, Some(PortAllocation::Preserving));
    assert_eq!(profile.public_v4, own.local_address().ok(), "the endpoint of the node's own port");
    assert_eq!((profile.public_v6, profile.filtering_v6), (None, None));
}

#[tokio::test]
async fn one_port_learns_its_own_address() {
    let Some(server) = Turnserver::start(&[]).await else { return };
    let port = any_port();
    let second = Duration::from_secs(1);
    let mapped = query_alone(&port, server.address(), second).await.expect("answered");
    assert_eq!(Some(mapped), port.local_address().ok());
    let both = async { tokio::join!(query(&port, server.address(), second), query(&port, server.address(), second)) };
    let (one, two) = tokio::select! {
        both = both => both,
        error = port.pump() => panic!("{error}"),
    };
    assert_eq!((one.expect("answered"), two.expect("answered")), (mapped, mapped));
    let config = DetectConfig::new(vec![
        stun_server(&format!("127.0.0.1:{}", server.port)),
        stun_server(&format!("127.0.0.2:{}", server.other_port)),
    ]);
    let found = public_addresses(&config).await;
    assert_eq!((found.v4, found.v6), (Some(mapped.ip()), None));
}

#[tokio::test]
async fn blocked_udp_is_told_from_a_dead_server() {
    let Some(server) = Turnserver::start(&["--no-udp"]).await else { return };
    let config = DetectConfig::new(vec![stun_server(&format!("127.0.0.1:{}", server.port))]);
    let started = Instant::now();
    let profile = detect(config.clone(), CancellationToken::new()).await.expect("TCP works");
    assert!(profile.udp_blocked && profile.mapping.is_none(), "{profile:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    drop(server);
    let started = Instant::now();
    let error = detect(config, CancellationToken::new()).await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::PeerUnreachable);
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
}
