//! Addresses that a server tells us to talk to: its other address (RFC 5780) or another server (error 300), and our
//! own public endpoint, which the hairpin test sends to. A server must not turn us against our own network. Not here:
//! the addresses that the user gave, which are always tried.

use std::net::{IpAddr, SocketAddr};

use crate::nat::policy::{self, Refusal};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Loopback,
    LinkLocal,
    Private,
    Global,
}

/// Whether `server` may lead us to `target`: addresses of the internet always, others only if the server's own is of
/// the same scope (a server in the local network may name its neighbour). Never port 0, another family, multicast,
/// broadcast, or a cloud's metadata service.
pub fn is_allowed(server: IpAddr, target: SocketAddr) -> bool {
    let (server, ip) = (server.to_canonical(), target.ip().to_canonical());
    if target.port() == 0 || server.is_ipv4() != ip.is_ipv4() {
        return false;
    }
    match (scope(server), scope(ip)) {
        (_, None) => false,
        (_, Some(Scope::Global)) => true,
        (from, to) => from == to,
    }
}

/// `None` for what is no address of one host, or none that a server may name. Test networks count as the internet.
fn scope(ip: IpAddr) -> Option<Scope> {
    match policy::judge(ip) {
        Ok(()) | Err(Refusal::Documentation | Refusal::Benchmark) => Some(Scope::Global),
        Err(Refusal::Private | Refusal::SharedNat) => Some(Scope::Private),
        Err(Refusal::Loopback) => Some(Scope::Loopback),
        Err(Refusal::LinkLocal) => Some(Scope::LinkLocal),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_server_leads_only_to_public_addresses() {
        let allowed =
            |server: &str, target: &str| is_allowed(server.parse().expect("valid"), target.parse().expect("valid"));
        for target in ["198.51.100.2:3479", "100.128.0.1:1", "8.8.8.8:53"] {
            assert!(allowed("198.51.100.1", target), "{target}");
        }
        for target in [
            "127.0.0.1:80",
            "10.0.0.1:80",
            "192.168.1.1:80",
            "172.16.3.4:80",
            "100.64.0.1:80",
            "169.254.169.254:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "8.8.8.8:0",
            "[2001:db8::1]:80",
        ] {
            assert!(!allowed("198.51.100.1", target), "{target}");
        }
        for target in ["[::1]:80", "[fe80::1]:80", "[fd00::1]:80", "[ff02::1]:80", "[::]:80", "[::ffff:10.0.0.1]:80"] {
            assert!(!allowed("2001:db8::1", target), "{target}");
        }
        assert!(allowed("127.0.0.1", "127.0.0.2:3479") && allowed("192.168.1.1", "192.168.1.2:3479"));
        assert!(!allowed("192.168.1.1", "127.0.0.1:3479") && !allowed("127.0.0.1", "10.0.0.1:80"));
        assert!(!allowed("192.168.1.1", "169.254.169.254:80"));
    }
}
