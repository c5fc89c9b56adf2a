//! What can happen to a NAT lab while it runs has the effect that the lab promises: restarts, new addresses, expiry,
//! limits, long packets, broken and moved links. Not here: the types of NAT (`lab`).
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dig_nat_tests::lab::probe::external;
use dig_nat_tests::lab::{self, Ipv6, Lab, Nat, Path, Place, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// Long enough for a packet that is on its way, on a busy machine.
const ARRIVAL: Duration = Duration::from_millis(400);

#[test]
fn a_rebooted_router_has_forgotten_its_mappings() {
    lab::run(|| {
        let lab = Lab::builder().site("a", Nat::full_cone_random()).build();
        let socket = open(&lab, "a");
        let before = seen(&lab, "a", &socket).expect("UDP works");
        assert!(arrives(&lab, "relay", before, "a", &socket), "a full cone lets everyone in");
        assert_eq!(seen(&lab, "a", &socket), Some(before), "mappings stay");
        lab.reboot_nat("a");
        assert!(!arrives(&lab, "relay", before, "a", &socket), "the mapping is gone");
        let after = seen(&lab, "a", &socket).expect("UDP works again at once");
        assert_ne!(after.port(), before.port(), "a random port was found again");
        assert!(arrives(&lab, "relay", after, "a", &socket));
    });
}

#[test]
fn a_new_public_address_replaces_the_old_one() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("a", Nat::full_cone())
            .carrier("isp", Nat::full_cone())
            .site("b", Site::new(Nat::full_cone()).on_carrier("isp"))
            .build();
        for (client, changed) in [("a", "a"), ("b", "isp")] {
            let socket = open(&lab, client);
            let before = seen(&lab, client, &socket).expect("UDP works");
            for _ in 0..2 {
                let new = lab.change_public_address(changed);
                let after = seen(&lab, client, &socket).expect("UDP works");
                assert_eq!(after.ip(), new);
                assert_ne!(after.ip(), before.ip());
                assert!(!arrives(&lab, "relay", before, client, &socket), "the old address leads nowhere");
                assert!(arrives(&lab, "relay", after, client, &socket));
            }
        }
    });
}

#[test]
fn idle_mappings_expire_and_used_ones_stay() {
    lab::run(|| {
        let timeout = Duration::from_secs(2);
        let lab = Lab::builder().site("a", Nat::full_cone_random().mapping_timeout(timeout)).build();
        let (used, idle) = (open(&lab, "a"), open(&lab, "a"));
        let (used_before, idle_before) = (seen(&lab, "a", &used), seen(&lab, "a", &idle));
        // Time itself is what is tested: twice the timeout, with a packet of one socket every quarter of it.
        for _ in 0..8 {
            std::thread::sleep(timeout / 4);
            assert_eq!(seen(&lab, "a", &used), used_before);
        }
        assert!(!arrives(&lab, "relay", idle_before.expect("UDP works"), "a", &idle), "an idle mapping is closed");
        assert_ne!(seen(&lab, "a", &idle), idle_before, "and its port is given up");
    });
}

#[test]
fn flows_are_limited_in_number_and_rate() {
    const SOCKETS: usize = 64;
    lab::run(|| {
        let lab = Lab::builder()
            .site("few", Nat::port_restricted().max_flows(16))
            .site("slow", Nat::port_restricted().new_flows_per_second(10))
            .site("free", Nat::port_restricted())
            .build();
        let answered = |name: &str| {
            lab.host(name).run(|place| async move {
                let sockets = (0..SOCKETS).map(|_| async {
                    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
                    // One request each, so that nothing is tried again after the burst.
                    socket.send_to(&BINDING, place.stun[0]).await.expect("sent");
                    let mut buffer = [0; 128];
                    timeout(ARRIVAL, socket.recv_from(&mut buffer)).await.is_ok()
                });
                futures::future::join_all(sockets).await.into_iter().filter(|answered| *answered).count()
            })
        };
        assert_eq!(answered("free"), SOCKETS);
        let few = answered("few");
        // Flows that begin on both processors at the same moment may both pass.
        assert!((16..=18).contains(&few), "{few} flows of 16");
        let slow = answered("slow");
        assert!((10..=20).contains(&slow), "a burst of 10, and at most as many while it lasts: {slow}");
    });
}

/// A path that carries no long packets, with and without the messages that say so.
#[test]
fn long_packets_are_announced_or_vanish() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("honest", Site::new(Nat::full_cone().mtu(1280)).ipv6(Ipv6::Open))
            .site("hole", Site::new(Nat::full_cone().mtu_black_hole(1280)).ipv6(Ipv6::Open))
            .site("wide", Site::new(Nat::full_cone()).ipv6(Ipv6::Open))
            .build();
        lab.host("relay").run(|_| async {
            let v4 = TcpListener::bind("0.0.0.0:7000").await.expect("free");
            let v6 = TcpListener::bind("[2000:db8::a]:7000").await.expect("free");
            tokio::spawn(echo(v4));
            tokio::spawn(echo(v6));
        });
        for (site, expected) in [("wide", true), ("honest", true), ("hole", false)] {
            let short: Vec<_> = [false, true].map(|v6| round_trip(&lab, site, v6, 600)).into();
            let long: Vec<_> = [false, true].map(|v6| round_trip(&lab, site, v6, 40_000)).into();
            assert_eq!(short.into_iter().map(lab::Running::join).collect::<Vec<_>>(), [true, true], "{site}: short");
            assert_eq!(long.into_iter().map(lab::Running::join).collect::<Vec<_>>(), [expected; 2], "{site}: long");
        }
        // Datagrams: the same towards the site.
        for (site, fits, expected) in [("wide", 1400, true), ("hole", 1200, true), ("hole", 1400, false)] {
            let socket = open(&lab, site);
            let target = seen(&lab, site, &socket).expect("UDP works");
            assert_eq!(arrives_with(&lab, "relay", target, site, &socket, fits), expected, "{site}: {fits} bytes");
        }
    });
}

#[test]
fn losses_come_at_the_promised_rate() {
    /// Few enough to wait in the receiver's socket.
    const SENT: usize = 200;
    lab::run(|| {
        let lab = Lab::builder().site("a", Nat::full_cone().loss(30.0)).build();
        let server = lab.host("relay").run(|_| UdpSocket::bind("0.0.0.0:7000")).expect("free");
        let relay = lab.host("relay").v4();
        lab.host("a").run(move |_| async move {
            let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
            for _ in 0..SENT {
                socket.send_to(b"x", (relay, 7000)).await.expect("sent");
            }
        });
        let received = lab.host("relay").run(move |_| async move {
            let mut buffer = [0; 8];
            let mut received = 0;
            while timeout(ARRIVAL, server.recv_from(&mut buffer)).await.is_ok() {
                received += 1;
            }
            received
        });
        // 140 expected, standard deviation 6.5.
        assert!((105..=175).contains(&received), "{received} of {SENT} arrived");
    });
}

#[test]
fn paths_break_and_heal() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("a", Nat::full_cone())
            .site("b", Nat::full_cone())
            .site("c", Site::new(Nat::public()).ipv6(Ipv6::Open))
            .build();
        let [at_a, at_b, at_c] = ["a", "b", "c"].map(|name| open(&lab, name));
        let [a, b, c] = [("a", &at_a), ("b", &at_b), ("c", &at_c)]
            .map(|(name, socket)| seen(&lab, name, socket).expect("UDP works"));
        assert!(arrives(&lab, "a", b, "b", &at_b));
        lab.cut_between("a", "b");
        assert!(!arrives(&lab, "a", b, "b", &at_b), "cut between a and b");
        assert!(!arrives(&lab, "b", a, "a", &at_a), "in both directions");
        assert!(arrives(&lab, "a", c, "c", &at_c), "but nothing else");
        lab.cut_between("a", "c");
        assert!(!arrives(&lab, "a", c, "c", &at_c));
        lab.restore("a");
        assert!(arrives(&lab, "a", b, "b", &at_b), "restored");
        for site in ["a", "c"] {
            lab.cut(site);
            assert_eq!(seen(&lab, site, if site == "a" { &at_a } else { &at_c }), None, "{site} is cut off");
            lab.restore(site);
        }
        assert_eq!(seen(&lab, "a", &at_a), Some(a));
        for client in ["a", "c"] {
            let socket = if client == "a" { &at_a } else { &at_c };
            lab.link_down(client);
            assert_eq!(seen(&lab, client, socket), None, "{client} has no link");
            lab.link_up(client);
            assert!(seen(&lab, client, socket).is_some(), "{client} is back with its addresses and routes");
        }
        let v6 = lab.host("c").run(|place| async move {
            let socket = UdpSocket::bind("[::]:0").await.expect("a free port");
            external(&socket, place.stun[4]).await
        });
        assert!(v6.is_some_and(|seen| seen.ip() == lab.host("c").v6()), "{v6:?}");
    });
}

#[test]
fn a_client_roams() {
    lab::run(|| {
        let lab = Lab::builder()
            .site("home", Site::new(Nat::port_restricted()).ipv6(Ipv6::Firewalled))
            .site("mobile", Nat::symmetric())
            .site("open", Site::new(Nat::public()).ipv6(Ipv6::Open))
            .build();
        let phone = lab.host("home");
        let at_home = phone.place();
        let mut last = seen(&lab, "home", &open(&lab, "home")).expect("UDP works");
        let old = open(&lab, "home");
        for site in ["mobile", "open", "home"] {
            lab.roam("home", site);
            let socket = open(&lab, "home");
            let now = seen(&lab, "home", &socket).expect("UDP works at the new place");
            assert_ne!(now.ip(), last.ip(), "{site} has another address");
            assert_ne!(phone.place(), at_home);
            if site == "open" {
                assert_eq!(now.ip(), phone.v4());
            }
            last = now;
        }
        assert!(phone.place().v6[0] != at_home.v6[0], "a new lease");
        assert!(seen(&lab, "home", &old).is_some(), "a socket on no certain address moves along");
    });
}

/// The fault of routers that answer for themselves: what comes too early takes the port away.
#[test]
fn an_open_input_spoils_ports_that_are_asked_for_too_early() {
    lab::run(|| {
        let lab =
            Lab::builder().site("faulty", Nat::masquerade().open_input()).site("right", Nat::masquerade()).build();
        for (site, kept) in [("faulty", false), ("right", true)] {
            let stun = lab.host(site).place().stun[0];
            let target = SocketAddr::from((lab.router(site).v4(), 4444));
            // The server itself is the one that sends too early; its socket is taken, so another one of its host is.
            let early = lab.host("stun").run(move |_| async move {
                let socket = UdpSocket::bind((stun.ip(), 5555)).await.expect("free");
                socket.send_to(b"early", target).await.expect("sent");
                socket
            });
            lab.host(site).run(move |_| async move {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4444)).await.expect("free");
                socket.send_to(b"late", (stun.ip(), 5555)).await.expect("sent");
            });
            let from = lab.host("stun").run(move |_| async move {
                let mut buffer = [0; 16];
                timeout(ARRIVAL, async {
                    loop {
                        // The faulty router also says that nobody listens there.
                        if let Ok((_, from)) = early.recv_from(&mut buffer).await {
                            return from;
                        }
                    }
                })
                .await
            });
            assert_eq!(from.expect("it gets out").port() == 4444, kept, "{site}");
        }
    });
}

#[test]
fn lines_have_delay_loss_and_rate() {
    lab::run(|| {
        let slow = Path::delay(Duration::from_millis(20));
        let lab = Lab::builder()
            .site("far", Site::new(Nat::port_restricted()).path(slow).ipv6(Ipv6::Open))
            .site("lossy", Site::new(Nat::public()).path(Path::default().loss(30.0)))
            .site("narrow", Site::new(Nat::public()).path(slow.rate(20_000_000)))
            .build();
        lab.host("relay").run(|_| async {
            let v4 = TcpListener::bind("0.0.0.0:7000").await.expect("free");
            let v6 = TcpListener::bind("[2000:db8::a]:7000").await.expect("free");
            tokio::spawn(echo(v4));
            tokio::spawn(echo(v6));
            let udp = UdpSocket::bind("0.0.0.0:7000").await.expect("free");
            tokio::spawn(async move {
                let mut buffer = [0; 2000];
                while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                    let _ = udp.send_to(&buffer[..length], from).await;
                }
            });
        });
        // Checksums, long segments and both families survive the line.
        for v6 in [false, true] {
            assert!(round_trip(&lab, "far", v6, 200_000).join(), "IPv6: {v6}");
        }
        let delay = lab.host("far").run(fastest_of_ten);
        assert!((40.0..60.0).contains(&delay), "a round trip takes {delay} ms");
        lab.set_path("far", Path::delay(Duration::from_millis(5)));
        let delay = lab.host("far").run(fastest_of_ten);
        assert!((10.0..30.0).contains(&delay), "a round trip takes {delay} ms");

        let answered = lab.host("lossy").run(|place| async move {
            let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
            let mut buffer = [0; 8];
            // Until the hosts know each other's hardware addresses, which takes seconds when a request for one is lost.
            loop {
                socket.send_to(b"?", (place.relay[0], 7000)).await.expect("sent");
                if timeout(Duration::from_millis(50), socket.recv_from(&mut buffer)).await.is_ok() {
                    break;
                }
            }
            for _ in 0..200 {
                socket.send_to(b"x", (place.relay[0], 7000)).await.expect("sent");
            }
            let mut answered = 0;
            while timeout(ARRIVAL, socket.recv_from(&mut buffer)).await.is_ok() {
                answered += usize::from(buffer[0] == b'x');
            }
            answered
        });
        // 0.7 squared is 98 of 200, standard deviation 7.
        assert!((63..=133).contains(&answered), "{answered} of 200 came back");

        const BYTES: usize = 1_000_000;
        let seconds = lab.host("narrow").run(|place| async move {
            let begun = std::time::Instant::now();
            let mut stream = TcpStream::connect((place.relay[0], 7000)).await.expect("it listens");
            let (mut reader, mut writer) = stream.split();
            let mut back = vec![0; BYTES];
            let sent = vec![9; BYTES];
            tokio::try_join!(writer.write_all(&sent), reader.read_exact(&mut back)).expect("TCP repeats what is lost");
            assert!(back == sent);
            begun.elapsed().as_secs_f64()
        });
        // At most the rate; losses at the full queue, and other tests on the same processors, cost something.
        let megabits = BYTES as f64 * 8e-6 / seconds;
        assert!((1.0..=20.0).contains(&megabits), "{megabits} Mbit/s");
        println!("{megabits} Mbit/s of 20");
    });
}

/// Milliseconds of the fastest of ten round trips by UDP, so that a busy machine does not count.
async fn fastest_of_ten(place: Place) -> f64 {
    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
    let mut fastest = f64::INFINITY;
    let mut buffer = [0; 8];
    for number in 0..10_u8 {
        let begun = std::time::Instant::now();
        socket.send_to(&[number], (place.relay[0], 7000)).await.expect("sent");
        let echoed = async { while socket.recv_from(&mut buffer).await.is_err() || buffer[0] != number {} };
        timeout(Duration::from_secs(5), echoed).await.expect("the line loses nothing");
        fastest = fastest.min(begun.elapsed().as_secs_f64() * 1000.0);
    }
    fastest
}

/// A STUN Binding request without attributes.
const BINDING: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

fn open(lab: &Lab, host: &str) -> Arc<UdpSocket> {
    let socket = lab.host(host).run(|_| UdpSocket::bind("0.0.0.0:0"));
    Arc::new(socket.expect("a free port"))
}

/// The public endpoint of a socket.
fn seen(lab: &Lab, host: &str, socket: &Arc<UdpSocket>) -> Option<SocketAddr> {
    let socket = Arc::clone(socket);
    lab.host(host).run(move |place| async move { external(&socket, place.stun[0]).await })
}

/// Whether a datagram from a new socket of one host arrives at a socket of another.
fn arrives(lab: &Lab, from: &str, target: SocketAddr, to: &str, socket: &Arc<UdpSocket>) -> bool {
    arrives_with(lab, from, target, to, socket, 30)
}

fn arrives_with(
    lab: &Lab,
    from: &str,
    target: SocketAddr,
    to: &str,
    socket: &Arc<UdpSocket>,
    packet_bytes: usize,
) -> bool {
    /// IP and UDP.
    const HEADERS: usize = 28;
    let socket = Arc::clone(socket);
    let waiting = lab.host(to).spawn(move |_| async move {
        let mut buffer = vec![0; 2000];
        let arrival = async {
            loop {
                if let Ok((length, _)) = socket.recv_from(&mut buffer).await
                    && length == packet_bytes - HEADERS
                    && buffer[0] == b'!'
                {
                    return;
                }
            }
        };
        timeout(ARRIVAL, arrival).await.is_ok()
    });
    lab.host(from).run(move |_| async move {
        let sender = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
        // What a route refuses has not arrived either.
        let _ = sender.send_to(&vec![b'!'; packet_bytes - HEADERS], target).await;
    });
    waiting.join()
}

/// Whether so many bytes come back from the echo server on `relay` by TCP.
fn round_trip(lab: &Lab, host: &str, v6: bool, bytes: usize) -> lab::Running<bool> {
    /// TCP repeats an unanswered segment after 0.2 s and doubles it.
    const STALLED: Duration = Duration::from_millis(1500);
    lab.host(host).spawn(move |place| async move {
        let server = place.relay.iter().find(|address| address.is_ipv6() == v6).expect("it has both");
        let talk = async {
            let mut stream = TcpStream::connect((*server, 7000)).await?;
            let (mut reader, mut writer) = stream.split();
            let sent = vec![7; bytes];
            let mut back = vec![0; bytes];
            tokio::try_join!(writer.write_all(&sent), reader.read_exact(&mut back))?;
            Ok::<bool, std::io::Error>(sent == back)
        };
        matches!(timeout(STALLED, talk).await, Ok(Ok(true)))
    })
}

async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            // Clients go away when they have seen enough.
            drop(tokio::io::copy(&mut reader, &mut writer).await);
        });
    }
}
