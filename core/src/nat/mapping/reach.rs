//! Whether the outside can be expected to reach a mapping, judged by the address it has. Not here: trying it.

use std::net::IpAddr;

use serde::Serialize;

use crate::nat::policy;

/// What the external address of a mapping tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Reach {
    /// A public address, and nobody saw us with another one.
    Likely,
    /// The router has no public address itself: it stands behind another NAT.
    BehindNat,
    /// A server saw us with another address than the router claims to have: another NAT stands between.
    SeenElsewhere {
        /// The address that was seen.
        seen: IpAddr,
    },
}

/// Judges a mapping by its external address and by the address that servers see us with, if known.
pub fn judge(external: IpAddr, seen: Option<IpAddr>) -> Reach {
    match seen {
        _ if !is_public(external) => Reach::BehindNat,
        Some(seen) if seen != external && seen.is_ipv4() == external.is_ipv4() => {
            // A host has several IPv6 addresses, and a pinhole does not translate.
            if seen.is_ipv6() { Reach::Likely } else { Reach::SeenElsewhere { seen } }
        }
        _ => Reach::Likely,
    }
}

/// Whether an address can belong to one host of the public internet, by the table of [`policy`]. IPv6 addresses that only
/// stand for an IPv4 one do not: what a router maps there is not what others would reach.
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let stands_for_v4 = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => matches!(v6.segments(), [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..]),
    };
    !stands_for_v4 && policy::judge(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn special_ranges_are_not_public_and_their_neighbours_are() {
        for special in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:102:304::1",
            "3fff::1",
            "64:ff9b::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(address(special)), "{special}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "44.128.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.0",
            "203.0.112.1",
            "223.255.255.255",
            "2000:db8::1",
            "2a00::1",
            "2001:200::1",
            "2001:db9::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address(public)), "{public}");
        }
    }

    #[test]
    fn what_servers_see_counts_in_ipv4() {
        let (mapped, other) = (address("44.128.1.1"), address("44.128.1.2"));
        assert_eq!(judge(mapped, None), Reach::Likely);
        assert_eq!(judge(mapped, Some(mapped)), Reach::Likely);
        assert_eq!(judge(mapped, Some(other)), Reach::SeenElsewhere { seen: other });
        assert_eq!(judge(address("100.64.1.1"), Some(other)), Reach::BehindNat);
        assert_eq!(judge(mapped, Some(address("2a00::1"))), Reach::Likely);
        assert_eq!(judge(address("2a00::2"), Some(address("2a00::1"))), Reach::Likely);
    }
}
