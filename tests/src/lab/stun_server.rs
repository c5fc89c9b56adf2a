//! A STUN server with two addresses and two ports for behaviour discovery (RFC 5780), by UDP and TCP. It serves labs,
//! not the internet: no limits, no authentication. Not here: the codec, which is core's.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dig_nat_core::nat::stun::{Attribute, Class, Message, Method, decode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// The two ports of each address.
pub const PORTS: [u16; 2] = [3478, 3479];

/// Where the server answers by TCP, on all addresses: its own port, and those that firewalls like or do not like.
pub const TCP_PORTS: [u16; 4] = [3478, 80, 443, 8080];

/// Longest message taken; the longest that UDP could bring.
const MAX_MESSAGE: usize = 65_535;

/// The four endpoints of a pair of addresses: the first with both ports, then the other with both ports.
pub fn endpoints(addresses: [IpAddr; 2]) -> [SocketAddr; 4] {
    let [first, other] = addresses;
    let [port, alternate] = PORTS;
    [(first, port), (first, alternate), (other, port), (other, alternate)].map(SocketAddr::from)
}

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct StunServer {
    _tasks: JoinSet<()>,
}

impl StunServer {
    /// Starts a server on pairs of addresses of this host, e.g. one pair by IPv4 and one by IPv6.
    pub async fn start(pairs: &[[IpAddr; 2]]) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        for pair in pairs {
            let mut sockets = HashMap::new();
            for endpoint in endpoints(*pair) {
                sockets.insert(endpoint, UdpSocket::bind(endpoint).await?);
            }
            let sockets = Arc::new(sockets);
            for endpoint in endpoints(*pair) {
                tasks.spawn(serve_udp(endpoint, Arc::clone(&sockets)));
            }
            for address in pair {
                for port in TCP_PORTS {
                    tasks.spawn(serve_tcp(TcpListener::bind((*address, port)).await?));
                }
            }
        }
        Ok(Self { _tasks: tasks })
    }
}

async fn serve_udp(here: SocketAddr, sockets: Arc<HashMap<SocketAddr, UdpSocket>>) {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        // Errors are late news of earlier answers that did not get through.
        let Ok((length, from)) = sockets[&here].recv_from(&mut buffer).await else { continue };
        let Some((answer, flags)) = answer(&buffer[..length], from, here) else { continue };
        let origin = changed(&sockets, here, flags);
        let to = match flags.response_port {
            Some(port) => SocketAddr::new(from.ip(), port),
            None => from,
        };
        let _ = sockets[&origin].send_to(&finish(answer, origin, changed(&sockets, here, BOTH)), to).await;
    }
}

async fn serve_tcp(listener: TcpListener) {
    let mut clients = JoinSet::new();
    loop {
        if let Ok((stream, from)) = listener.accept().await {
            // A client that goes away in the middle ends its task.
            clients.spawn(async move { drop(serve_stream(stream, from).await) });
        }
    }
}

/// Messages follow each other without framing; the header tells the length (RFC 8489 section 6.2.2).
async fn serve_stream(mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    let here = stream.local_addr()?;
    loop {
        let mut message = vec![0; 20];
        stream.read_exact(&mut message).await?;
        let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
        message.resize(20 + length, 0);
        stream.read_exact(&mut message[20..]).await?;
        let Some((answer, _)) = answer(&message, from, here) else { return Ok(()) };
        stream.write_all(&finish(answer, here, here)).await?;
    }
}

/// What a request asks about the way of its answer.
#[derive(Clone, Copy)]
struct Wishes {
    ip: bool,
    port: bool,
    response_port: Option<u16>,
}

const BOTH: Wishes = Wishes { ip: true, port: true, response_port: None };

/// The answer without its origin; `None` for everything but Binding requests.
fn answer(bytes: &[u8], from: SocketAddr, _here: SocketAddr) -> Option<(Message, Wishes)> {
    let received = decode(bytes).ok()?;
    let request = received.message;
    if request.class != Class::Request || request.method != Method::BINDING {
        return None;
    }
    let mut wishes = Wishes { ip: false, port: false, response_port: None };
    if !received.unknown.is_empty() {
        let refusal = Message::error_to(&request, 420, "Unknown Attribute");
        return Some((refusal.with(Attribute::UnknownAttributes(received.unknown)), wishes));
    }
    let mut answer =
        Message::success_to(&request).with(Attribute::XorMappedAddress(from)).with(Attribute::MappedAddress(from));
    for attribute in &request.attributes {
        match attribute {
            Attribute::ChangeRequest { ip, port } => (wishes.ip, wishes.port) = (*ip, *port),
            Attribute::ResponsePort(port) => wishes.response_port = Some(*port),
            Attribute::Padding(bytes) => answer = answer.with(Attribute::Padding(*bytes)),
            _ => {}
        }
    }
    Some((answer, wishes))
}

fn finish(answer: Message, origin: SocketAddr, other: SocketAddr) -> Vec<u8> {
    let answer = answer.with(Attribute::ResponseOrigin(origin)).with(Attribute::OtherAddress(other));
    answer.encode(None, true).expect("answers are short")
}

/// The endpoint to answer from when a request to `here` has these wishes.
fn changed(sockets: &HashMap<SocketAddr, UdpSocket>, here: SocketAddr, wishes: Wishes) -> SocketAddr {
    let matches =
        |there: &&SocketAddr| (there.ip() != here.ip()) == wishes.ip && (there.port() != here.port()) == wishes.port;
    *sockets.keys().find(matches).expect("two addresses with two ports each")
}
