//! One multicast link: an interface in one address family, as the machines see it. Pure.
//! Not here: sockets.

use std::net::IpAddr;

use crate::nat::policy::{self, Refusal};

/// A link that packets come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Chosen by the driver; stays the same while the link exists.
    pub id: u32,
    /// This machine's addresses on it with their prefix lengths. Only these are told to others on the link.
    pub addresses: Vec<(IpAddr, u8)>,
    /// It reaches only this machine.
    pub loopback: bool,
}

impl Link {
    /// Whether a packet from this address may have come from the link (RFC 6762 section 11).
    pub fn is_local(&self, address: IpAddr) -> bool {
        is_link_local(address)
            || self.addresses.iter().any(|(own, prefix)| *own == address || same_subnet(*own, *prefix, address))
    }

    /// Whether an address told by `sender` is worth dialling. Anybody on the link may say anything, so an address
    /// outside of it counts only if it is private: otherwise one packet could make every node of a network dial a
    /// victim elsewhere. Link-local IPv6 addresses are useless without their interface.
    pub fn suits(&self, address: IpAddr, sender: IpAddr) -> bool {
        let unusable = match address {
            IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
        };
        // Metadata services of clouds are reachable on many links and never a peer.
        if unusable || policy::judge(address) == Err(Refusal::Metadata) {
            return false;
        }
        if address.is_loopback() {
            return self.loopback;
        }
        let private = match address {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
        private || address == sender || self.is_local(address)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn same_subnet(own: IpAddr, prefix: u8, other: IpAddr) -> bool {
    match (own, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let differing = own.to_bits() ^ other.to_bits();
            differing.leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            let differing = own.to_bits() ^ other.to_bits();
            differing.leading_zeros() >= u32::from(prefix)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_neighbours_and_private_addresses_are_worth_dialling() {
        let lan = Link { id: 1, addresses: vec![(ip("198.51.100.7"), 24)], loopback: false };
        let sender = ip("198.51.100.9");
        for good in ["198.51.100.200", "192.168.4.4", "10.0.0.1", "169.254.3.4", "fd00::1"] {
            assert!(lan.suits(ip(good), sender), "{good}");
        }
        for bad in ["203.0.113.5", "127.0.0.1", "0.0.0.0", "224.0.0.1", "fe80::1", "2001:db8::1"] {
            assert!(!lan.suits(ip(bad), sender), "{bad}");
        }
        for metadata in ["169.254.169.254", "169.254.170.2", "fd00:ec2::254", "::ffff:169.254.169.254"] {
            assert!(!lan.suits(ip(metadata), ip(metadata)), "{metadata}");
        }
        assert!(lan.suits(ip("203.0.113.5"), ip("203.0.113.5")));
        let lo = Link { id: 2, addresses: vec![(ip("127.0.0.1"), 8)], loopback: true };
        assert!(lo.suits(ip("127.0.0.1"), ip("127.0.0.1")));
        assert!(lo.is_local(ip("127.1.2.3")) && !lo.is_local(ip("192.168.1.1")));
    }
}
