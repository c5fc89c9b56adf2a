//! Addresses that a server tells us to talk to: its other address (RFC 5780) or another server (error 300), and our
//! own public endpoint, which the hairpin test sends to. A server must not turn us against our own network. Not here:
//! the addresses that the user gave, which are always tried.

use std::net::{IpAddr, SocketAddr};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Loopback,
    LinkLocal,
    Private,
    Global,
}

/// Whether `server` may lead us to `target`: addresses of the internet always, others only if the server's own is of
/// the same scope (a server in the local network may name its neighbour). Link-local targets, which include the
/// metadata services of clouds, only for link-local servers. Never port 0, another family, multicast or broadcast.
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

/// `None` for what is no address of one host.
fn scope(ip: IpAddr) -> Option<Scope> {
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    if ip.is_loopback() {
        return Some(Scope::Loopback);
    }
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            if ip.is_broadcast() || first == 0 || first >= 240 {
                None
            } else if ip.is_link_local() {
                Some(Scope::LinkLocal)
            } else if ip.is_private() || (first == 100 && second & 0xc0 == 64) {
                Some(Scope::Private)
            } else {
                Some(Scope::Global)
            }
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            if first & 0xffc0 == 0xfe80 {
                Some(Scope::LinkLocal)
            } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
                Some(Scope::Private)
            } else {
                Some(Scope::Global)
            }
        }
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
