//! The address policy over every special range, and its edges.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn socket(text: &str) -> SocketAddr {
    SocketAddr::new(ip(text), 4001)
}

const ORIGINS: [Origin; 4] = [Origin::User, Origin::SameMachine, Origin::LocalNetwork, Origin::Remote];

#[test]
fn every_range_is_known_up_to_its_edges() {
    use Refusal as R;
    // First and last address of each range.
    let ranges: &[(&str, &str, R)] = &[
        ("0.0.0.0", "0.255.255.255", R::Unspecified),
        ("10.0.0.0", "10.255.255.255", R::Private),
        ("100.64.0.0", "100.127.255.255", R::SharedNat),
        ("127.0.0.0", "127.255.255.255", R::Loopback),
        ("169.254.0.0", "169.254.255.255", R::LinkLocal),
        ("172.16.0.0", "172.31.255.255", R::Private),
        ("192.0.0.0", "192.0.0.255", R::Reserved),
        ("192.0.2.0", "192.0.2.255", R::Documentation),
        ("192.88.99.0", "192.88.99.255", R::Reserved),
        ("192.168.0.0", "192.168.255.255", R::Private),
        ("198.18.0.0", "198.19.255.255", R::Benchmark),
        ("198.51.100.0", "198.51.100.255", R::Documentation),
        ("203.0.113.0", "203.0.113.255", R::Documentation),
        ("224.0.0.0", "239.255.255.255", R::Multicast),
        ("240.0.0.0", "255.255.255.254", R::Reserved),
        ("255.255.255.255", "255.255.255.255", R::Broadcast),
        ("::", "::", R::Unspecified),
        ("::1", "::1", R::Loopback),
        ("100::", "100::ffff:ffff:ffff:ffff", R::Reserved),
        ("2001:1::1", "2001:1::3", R::Reserved),
        ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", R::Benchmark),
        ("2001:10::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", R::Reserved),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", R::Documentation),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", R::Documentation),
        ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", R::Reserved),
        ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", R::Reserved),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", R::Private),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", R::LinkLocal),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", R::Private),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", R::Multicast),
    ];
    for (first, last, refusal) in ranges {
        for text in [first, last] {
            assert_eq!(judge(ip(text)), Err(*refusal), "{text}");
        }
    }
    let neighbours = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
        169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 \
        192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 \
        203.0.114.0 223.255.255.255 44.128.1.2 2001:200::1 2001:4860::1 2000:db8::1 2a00::1 2001:db7::1 2001:db9::1 \
        3fff:1000::1 3ffe::1 2003::1";
    for text in neighbours.split_whitespace() {
        assert_eq!(judge(ip(text)), Ok(()), "{text}");
    }
}

#[test]
fn an_ipv4_address_is_judged_in_every_disguise() {
    let cases = [
        ("127.0.0.1", Err(Refusal::Loopback)),
        ("10.1.2.3", Err(Refusal::Private)),
        ("169.254.169.254", Err(Refusal::Metadata)),
        ("169.254.1.1", Err(Refusal::LinkLocal)),
        ("100.64.0.1", Err(Refusal::SharedNat)),
        ("224.0.0.251", Err(Refusal::Multicast)),
        ("255.255.255.255", Err(Refusal::Broadcast)),
        ("203.0.113.5", Err(Refusal::Documentation)),
        ("8.8.8.8", Ok(())),
    ];
    for (text, verdict) in cases {
        let v4: Ipv4Addr = text.parse().expect("an address");
        let [a, b, c, d] = v4.octets();
        let (high, low) = (u16::from(a) << 8 | u16::from(b), u16::from(c) << 8 | u16::from(d));
        let mapped = IpAddr::V6(v4.to_ipv6_mapped());
        let nat64 = IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low));
        let six_to_four = IpAddr::V6(Ipv6Addr::new(0x2002, high, low, 1, 0, 0, 0, 1));
        let teredo_client = IpAddr::V6(Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low));
        let teredo_server = IpAddr::V6(Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0xf7f7, 0xf7f7));
        let isatap = IpAddr::V6(Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, high, low));
        for disguise in [mapped, nat64, six_to_four, teredo_client, teredo_server, isatap] {
            assert_eq!(judge(disguise), verdict, "{text} as {disguise}");
        }
        // Never for others, even around a public address.
        for local in [Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low), Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low)] {
            assert_eq!(judge(IpAddr::V6(local)), verdict.and(Err(Refusal::Reserved)), "{local}");
        }
    }
}

#[test]
fn nobody_leads_us_to_a_metadata_service() {
    let open = Policy {
        same_lan: true,
        permitted: vec![Network::new(ip("0.0.0.0"), 0), Network::new(ip("::"), 0)],
        ..Policy::default()
    };
    let services = "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 168.63.129.16 192.0.0.192 \
        169.254.42.42 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:42::42 fd00:c1::a9fe:a9fe fe80::a9fe:a9fe \
        ::ffff:169.254.169.254 64:ff9b::169.254.169.254 2002:a9fe:a9fe::1";
    for text in services.split_whitespace() {
        for origin in ORIGINS {
            assert_eq!(open.check(socket(text), origin), Err(Refusal::Metadata), "{text}");
        }
    }
    for text in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0"] {
        for origin in ORIGINS {
            assert!(open.check(socket(text), origin).is_err(), "{text}");
        }
    }
    for origin in ORIGINS {
        assert_eq!(open.check(SocketAddr::new(ip("8.8.8.8"), 0), origin), Err(Refusal::PortZero));
        assert_eq!(open.check(socket("8.8.8.8"), origin), Ok(()));
    }
}

#[test]
fn private_addresses_need_a_reason() {
    let private = ["10.0.0.1", "172.16.0.1", "192.168.1.2", "100.64.0.9", "fd12::1", "::ffff:192.168.1.2"];
    let away = Policy::default();
    let home = Policy { same_lan: true, ..Policy::default() };
    for text in private {
        assert!(away.check(socket(text), Origin::Remote).is_err(), "{text}");
        assert_eq!(home.check(socket(text), Origin::Remote), Ok(()), "{text}");
        for origin in [Origin::User, Origin::SameMachine, Origin::LocalNetwork] {
            assert_eq!(away.check(socket(text), origin), Ok(()), "{text}");
        }
    }
    // Being in the same network opens nothing else, and private addresses in the clothes of public ones stay closed.
    let closed = "127.0.0.1 ::1 169.254.3.4 fe80::1 192.0.2.1 198.18.0.1 240.0.0.1 64:ff9b::10.0.0.1 2002:a00:1::1 \
        64:ff9b:1::10.0.0.1 2a00::5efe:10.0.0.1";
    for text in closed.split_whitespace() {
        assert!(home.check(socket(text), Origin::Remote).is_err(), "{text}");
        assert_eq!(home.check(socket(text), Origin::User), Ok(()), "{text}");
    }
    let vpn = Policy { permitted: vec![Network::new(ip("100.64.0.0"), 10)], ..Policy::default() };
    assert_eq!(vpn.check(socket("100.101.102.103"), Origin::Remote), Ok(()));
    assert_eq!(vpn.check(socket("10.0.0.1"), Origin::Remote), Err(Refusal::Private));
}

#[test]
fn this_machine_and_this_link_only_by_their_own_word() {
    let policy = Policy { same_lan: true, ..Policy::default() };
    assert_eq!(policy.check(socket("127.0.0.1"), Origin::SameMachine), Ok(()));
    assert_eq!(policy.check(socket("127.0.0.1"), Origin::LocalNetwork), Err(Refusal::Loopback));
    assert_eq!(policy.check(socket("169.254.3.4"), Origin::LocalNetwork), Ok(()));
    let unscoped: SocketAddr = "[fe80::1]:9".parse().expect("an address");
    let scoped: SocketAddr = "[fe80::1%3]:9".parse().expect("an address");
    assert_eq!(policy.check(unscoped, Origin::LocalNetwork), Err(Refusal::LinkLocal));
    assert_eq!(policy.check(scoped, Origin::LocalNetwork), Ok(()));
    assert_eq!(policy.check(scoped, Origin::Remote), Err(Refusal::LinkLocal));
}

#[test]
fn our_own_addresses_and_the_router_are_left_alone() {
    let policy = Policy { same_lan: true, excluded: vec![ip("192.168.1.1"), ip("8.8.8.8")], ..Policy::default() };
    for text in ["192.168.1.1", "::ffff:192.168.1.1", "8.8.8.8"] {
        assert_eq!(policy.check(socket(text), Origin::Remote), Err(Refusal::Excluded), "{text}");
        // Another node on this machine is heard at an address of ours.
        for origin in [Origin::SameMachine, Origin::LocalNetwork, Origin::User] {
            assert_eq!(policy.check(socket(text), origin), Ok(()), "{text}");
        }
    }
}

#[test]
fn peers_behind_one_address_share_a_site() {
    let profile = |v4: &str, v6: &str| NatProfile {
        public_v4: v4.parse().ok(),
        public_v6: v6.parse().ok(),
        ..NatProfile::default()
    };
    let ours = profile("8.8.8.8:1", "[2a00:1:2:3::1]:1");
    assert!(same_site(&ours, &profile("8.8.8.8:2", "")));
    assert!(same_site(&ours, &profile("", "[2a00:1:2:3:9::7]:5")));
    assert!(!same_site(&ours, &profile("8.8.8.9:1", "[2a00:1:2:4::1]:1")));
    assert!(!same_site(&NatProfile::default(), &NatProfile::default()));
}

#[test]
fn ranges_end_where_their_prefix_says() {
    let network = Network::new(ip("10.1.0.0"), 16);
    assert!(network.contains(ip("10.1.255.255")) && !network.contains(ip("10.2.0.0")) && !network.contains(ip("::")));
    assert!(Network::new(ip("10.1.2.3"), 255).contains(ip("10.1.2.3")), "a prefix that is too long is cut");
    assert!(Network::new(ip("::"), 0).contains(ip("ffff::")) && !Network::new(ip("::"), 0).contains(ip("1.2.3.4")));
}
