//! What kind of NAT a host of the lab stands behind, found out by experiments of RFC 5780 against the lab's STUN server.
//! A judge of its own: it shares no code with the library's behaviour discovery and writes its STUN messages by hand.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dig_nat_core::nat::profile::{Filtering, Mapping, PortAllocation};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::host::Place;
use super::stun_server::TCP_PORTS;

/// Requests sent before a silent server counts as unreachable.
const TRIES: usize = 3;

/// How long one request waits for its answer. Paths of the lab take microseconds unless a test slows them down.
const ANSWER: Duration = Duration::from_millis(400);

/// A packet that was let through arrives before the answer to a later request, or so much after it: packets of two
/// flows may take turns on two cores.
const STRAGGLER: Duration = Duration::from_millis(60);

/// Sockets whose external ports show the allocation.
const SAMPLES: usize = 12;

/// Gaps in a sequence of so many samples, and how wide they may be, in steps.
const MAX_GAPS: usize = 2;
const MAX_GAP: i32 = 4;

/// Random ports out of 64 K practically never fit into a block of this size.
const LARGEST_BLOCK: u16 = 2048;

/// What the experiments showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Whether UDP gets out and back.
    pub udp: bool,
    /// Our address as the server saw it.
    pub public: Option<SocketAddr>,
    /// Whether that is another one than our own.
    pub translated: Option<bool>,
    /// From three and more destinations.
    pub mapping: Option<Mapping>,
    /// From answers of endpoints that we had not sent to.
    pub filtering: Option<Filtering>,
    /// From the ports of several sockets.
    pub allocation: Option<PortAllocation>,
    /// Whether one socket reaches another by its public endpoint.
    pub hairpin: Option<bool>,
    /// Ports of the server that TCP reaches.
    pub tcp: Vec<u16>,
}

/// Examines the IPv4 way of a host. Takes 0.3 s, or 2 s where UDP is blocked.
pub async fn probe(place: Place) -> Findings {
    let servers = place.stun[..4].to_vec();
    examine(servers).await
}

/// Examines the IPv6 way of a host.
pub async fn probe_v6(place: Place) -> Findings {
    let servers = place.stun[4..8].to_vec();
    examine(servers).await
}

/// The external endpoint of a socket as one server sees it. `None` when it does not answer.
pub async fn external(socket: &UdpSocket, server: SocketAddr) -> Option<SocketAddr> {
    for _ in 0..TRIES {
        if let Some((mapped, _)) = ask(socket, server, 0).await {
            return Some(mapped);
        }
    }
    None
}

async fn examine(servers: Vec<SocketAddr>) -> Findings {
    let tcp = reachable_by_tcp(servers[0].ip()).await;
    let nothing = Findings {
        udp: false,
        public: None,
        translated: None,
        mapping: None,
        filtering: None,
        allocation: None,
        hairpin: None,
        tcp,
    };
    let any = unspecified(servers[0]);
    let Ok(socket) = UdpSocket::bind(any).await else { return nothing };
    let Some(public) = external(&socket, servers[0]).await else { return nothing };
    Findings {
        udp: true,
        public: Some(public),
        translated: is_own(public.ip()).await.map(|own| !own),
        mapping: mapping(&socket, public, &servers).await,
        filtering: filtering(&servers).await.ok(),
        allocation: allocation(&servers).await,
        hairpin: hairpin(servers[0]).await,
        ..nothing
    }
}

/// One socket towards all four endpoints.
async fn mapping(socket: &UdpSocket, first: SocketAddr, servers: &[SocketAddr]) -> Option<Mapping> {
    let other_port = external(socket, servers[1]).await?;
    let other_address = external(socket, servers[2]).await?;
    let both = external(socket, servers[3]).await?;
    Some(if first == other_port && first == other_address && first == both {
        Mapping::EndpointIndependent
    } else if first == other_port && other_address == both {
        Mapping::AddressDependent
    } else {
        Mapping::AddressAndPortDependent
    })
}

/// A fresh socket asks to be answered from elsewhere. That a packet did not come is only believed after a request in
/// the ordinary way, sent later, was answered.
async fn filtering(servers: &[SocketAddr]) -> io::Result<Filtering> {
    for (flags, from, verdict) in [
        (CHANGE_IP | CHANGE_PORT, servers[3], Filtering::EndpointIndependent),
        (CHANGE_PORT, servers[1], Filtering::AddressDependent),
    ] {
        let socket = UdpSocket::bind(unspecified(servers[0])).await?;
        socket.send_to(&request(1, flags), servers[0]).await?;
        socket.send_to(&request(2, 0), servers[0]).await?;
        let mut ordinary = false;
        let mut patience = ANSWER * TRIES as u32;
        while let Ok((number, sender, _)) = timeout(patience, receive(&socket)).await {
            if number == 1 {
                assert_eq!(sender, from, "the server answers from where it was asked to");
                return Ok(verdict);
            }
            ordinary = true;
            patience = STRAGGLER;
        }
        if !ordinary {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(Filtering::AddressAndPortDependent)
}

/// The ports that new sockets get, one after the other.
async fn allocation(servers: &[SocketAddr]) -> Option<PortAllocation> {
    let mut pairs = Vec::new();
    // All at once exist before the first asks: a closed socket's port could be given out again.
    let mut sockets = Vec::new();
    for _ in 0..SAMPLES {
        sockets.push(UdpSocket::bind(unspecified(servers[0])).await.ok()?);
    }
    for socket in &sockets {
        let mapped = external(socket, servers[0]).await?;
        pairs.push((socket.local_addr().ok()?.port(), mapped.port()));
    }
    Some(pattern(&pairs))
}

/// The rule behind pairs of internal and external ports, in the order in which they were made.
fn pattern(pairs: &[(u16, u16)]) -> PortAllocation {
    if pairs.iter().all(|(inside, outside)| inside == outside) {
        return PortAllocation::Preserving;
    }
    let outside: Vec<u16> = pairs.iter().map(|(_, outside)| *outside).collect();
    if let Some(step) = step(&outside) {
        return PortAllocation::Sequential { step };
    }
    let lowest = *outside.iter().min().expect("several samples");
    let highest = *outside.iter().max().expect("several samples");
    let mut size: u16 = 1;
    while lowest / size != highest / size && size < LARGEST_BLOCK {
        size *= 2;
    }
    if size < LARGEST_BLOCK {
        return PortAllocation::Block { first: lowest / size * size, size };
    }
    PortAllocation::Random
}

/// The step of a sequence. A request that was sent again before the router had finished with the first took two ports,
/// and left one of them unused: a gap is no other rule.
fn step(ports: &[u16]) -> Option<i16> {
    let strides: Vec<i32> = ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    let step = strides.iter().copied().min_by_key(|stride| stride.abs()).filter(|step| *step != 0)?;
    let gaps = strides.iter().filter(|stride| **stride != step).count();
    let multiples = strides.iter().all(|stride| stride % step == 0 && (1..=MAX_GAP).contains(&(stride / step)));
    (multiples && gaps <= MAX_GAPS).then(|| i16::try_from(step).ok())?
}

/// One socket sends to the public endpoint of another.
async fn hairpin(server: SocketAddr) -> Option<bool> {
    let sender = UdpSocket::bind(unspecified(server)).await.ok()?;
    let receiver = UdpSocket::bind(unspecified(server)).await.ok()?;
    let target = external(&receiver, server).await?;
    // Some routers refuse it with an ICMP message, which the next call reports.
    let _ = sender.send_to(&request(3, 0), target).await;
    external(&sender, server).await?;
    // An echo of our own request is enough; it is not an answer, so the raw bytes are looked at.
    let mut buffer = [0; 64];
    let arrived = timeout(STRAGGLER, receiver.recv_from(&mut buffer)).await;
    Some(arrived.is_ok_and(|received| received.is_ok_and(|(length, _)| buffer[..length] == request(3, 0))))
}

async fn reachable_by_tcp(server: IpAddr) -> Vec<u16> {
    let tries = TCP_PORTS.map(|port| async move {
        let connected = timeout(ANSWER * 2, TcpStream::connect((server, port))).await;
        connected.is_ok_and(|result| result.is_ok()).then_some(port)
    });
    futures::future::join_all(tries).await.into_iter().flatten().collect()
}

/// Whether an address is on one of our interfaces: only then can a socket be bound to it.
async fn is_own(address: IpAddr) -> Option<bool> {
    match UdpSocket::bind((address, 0)).await {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Some(false),
        Err(_) => None,
    }
}

fn unspecified(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

// --- STUN by hand ---

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const CHANGE_PORT: u8 = 2;
const CHANGE_IP: u8 = 4;

/// A Binding request; its transaction is known again by its number.
fn request(number: u64, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, if flags == 0 { 0 } else { 8 }];
    bytes.extend(COOKIE);
    bytes.extend([0; 4]);
    bytes.extend(number.to_be_bytes());
    if flags != 0 {
        bytes.extend([0, 3, 0, 4, 0, 0, 0, flags]);
    }
    bytes
}

/// Asks once. Answers to earlier questions are skipped.
async fn ask(socket: &UdpSocket, server: SocketAddr, flags: u8) -> Option<(SocketAddr, SocketAddr)> {
    static QUESTIONS: AtomicU64 = AtomicU64::new(1 << 32);
    let question = QUESTIONS.fetch_add(1, Ordering::Relaxed);
    // A refusal reported by ICMP counts like silence.
    socket.send_to(&request(question, flags), server).await.ok()?;
    let answer = async {
        loop {
            let (number, sender, mapped) = receive(socket).await;
            if number == question {
                return (mapped, sender);
            }
        }
    };
    timeout(ANSWER, answer).await.ok()
}

/// The next answer: number of its question, sender, mapped address.
async fn receive(socket: &UdpSocket) -> (u64, SocketAddr, SocketAddr) {
    let mut buffer = [0; 1500];
    loop {
        if let Ok((length, sender)) = socket.recv_from(&mut buffer).await
            && let Some((number, mapped)) = parse(&buffer[..length])
        {
            return (number, sender, mapped);
        }
    }
}

/// Question number and XOR-MAPPED-ADDRESS of a Binding success.
fn parse(bytes: &[u8]) -> Option<(u64, SocketAddr)> {
    if bytes.get(..2)? != [1, 1] || bytes.get(4..8)? != COOKIE {
        return None;
    }
    let number = u64::from_be_bytes(bytes.get(12..20)?.try_into().ok()?);
    let mut rest = bytes.get(20..)?;
    loop {
        let kind = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
        let length = usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?));
        let value = rest.get(4..4 + length)?;
        if kind == 0x0020 {
            let hidden = value.get(4..)?.iter().zip(&bytes[4..20]).map(|(byte, key)| byte ^ key).collect::<Vec<u8>>();
            let port = u16::from_be_bytes(value.get(2..4)?.try_into().ok()?) ^ 0x2112;
            let address: IpAddr = match value.get(1)? {
                1 => <[u8; 4]>::try_from(hidden).ok()?.into(),
                _ => <[u8; 16]>::try_from(hidden).ok()?.into(),
            };
            return Some((number, SocketAddr::new(address, port)));
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
}
