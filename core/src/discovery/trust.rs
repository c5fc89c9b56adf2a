//! How far the addresses of a candidate are trusted, by who told them. Pure. Not here: what trust allows
//! (`nat::policy`).

use std::net::IpAddr;

use super::candidate::{SourceKind, host_and_port};
use crate::nat::ladder::Source;
use crate::nat::policy::{self, Refusal};

/// Whether a source may name this address at all. Only the user and the local network itself may name addresses inside
/// it, unless this node contacts nothing else (`localOnly`); names of hosts are judged when they are looked up.
pub fn may_name(told_by: SourceKind, address: &str, local_only: bool) -> bool {
    match told_by {
        SourceKind::Manual | SourceKind::Local => true,
        SourceKind::Gun | SourceKind::Dht | SourceKind::Pex => {
            let judged = ip_of(address).map(policy::judge);
            match judged {
                Some(Err(Refusal::Loopback | Refusal::Private | Refusal::SharedNat | Refusal::LinkLocal)) => local_only,
                Some(Err(_)) => false,
                Some(Ok(())) | None => true,
            }
        }
    }
}

/// What an address counts as for whoever reaches the peer, when its source was allowed to name it.
pub fn source_of(told_by: SourceKind, address: &str) -> Source {
    if told_by == SourceKind::Manual { Source::User } else { near(address) }
}

/// What an address counts as that was heard in our own network, or that led to the peer before.
pub fn near(address: &str) -> Source {
    match ip_of(address).map(policy::judge) {
        Some(Err(Refusal::Loopback)) => Source::SameMachine,
        Some(Err(Refusal::Private | Refusal::SharedNat | Refusal::LinkLocal)) => Source::LocalNetwork,
        _ => Source::Told,
    }
}

fn ip_of(address: &str) -> Option<IpAddr> {
    host_and_port(address).and_then(|(host, _)| host.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_name_our_networks_addresses() {
        let (home, here, world) = ("/ip4/192.168.1.9/tcp/1", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/8.8.8.8/tcp/1");
        let metadata = "/ip4/169.254.169.254/tcp/80";
        let circuit = "/ip4/192.168.1.9/tcp/1/p2p/12D3KooW/p2p-circuit";
        for told_by in [SourceKind::Gun, SourceKind::Dht, SourceKind::Pex] {
            for address in [home, here, circuit, "10.0.0.1:80", "[::1]:80"] {
                assert!(!may_name(told_by, address, false), "{told_by} {address}");
                assert!(may_name(told_by, address, true), "{told_by} {address}");
            }
            assert!(may_name(told_by, world, false) && may_name(told_by, "/dns4/example.org/tcp/1", false));
            assert!(!may_name(told_by, metadata, true));
        }
        assert!(may_name(SourceKind::Local, home, false) && may_name(SourceKind::Manual, here, false));
    }

    #[test]
    fn what_was_allowed_counts_as_what_it_is() {
        assert_eq!(source_of(SourceKind::Manual, "/ip4/127.0.0.1/tcp/1"), Source::User);
        assert_eq!(source_of(SourceKind::Local, "/ip4/127.0.0.1/tcp/1"), Source::SameMachine);
        assert_eq!(source_of(SourceKind::Dht, "/ip4/192.168.1.9/tcp/1"), Source::LocalNetwork);
        assert_eq!(source_of(SourceKind::Gun, "/ip4/8.8.8.8/tcp/1"), Source::Told);
    }
}
