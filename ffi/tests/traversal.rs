//! Hole punching, ICE, TURN and the registry from a C program. Not here: the protocols, which core's tests try.

#[path = "../../tests/tests/coturn/server.rs"]
#[allow(dead_code)] // certificates are for the TLS tests next to it
mod server;
mod support;

use std::net::{TcpListener, UdpSocket};

use dig_nat_core::gun::{GunRelay, GunRelayConfig};
use server::{PASSWORD, Turnserver, USER};
use support::{command, compile, crate_dir, succeed};
use tempfile::TempDir;

/// Two ports that are free for both protocols.
fn free_ports() -> [u16; 2] {
    let bind = || {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = tcp.local_addr().expect("bound").port();
        UdpSocket::bind(("127.0.0.1", port)).ok().map(|udp| (tcp, udp, port))
    };
    let mut found = std::iter::repeat_with(bind).flatten();
    let (one, two) = (found.next().expect("endless"), found.next().expect("endless"));
    [one.2, two.2]
}

#[test]
fn a_program_goes_through_every_single_way() {
    let dir = TempDir::new().expect("a temporary folder");
    let program = dir.path().join("traversal");
    compile(&crate_dir().join("tests/c/traversal.c"), &program);
    let mut traversal = command(&program);
    traversal.arg(dir.path().join("registry"));
    traversal.args(free_ports().map(|port| port.to_string()));
    // The relay works while the program runs.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let relay = runtime.block_on(GunRelay::start(GunRelayConfig::default())).expect("a relay");
    traversal.arg(relay.url());
    let server = runtime.block_on(Turnserver::start(&["--no-tls"]));
    if let Some(server) = &server {
        traversal.args([&format!("turn:127.0.0.1:{}", server.port), USER, PASSWORD]);
    }
    assert_eq!(succeed(traversal), "ok\n");
}
