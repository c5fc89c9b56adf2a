//! The sockets around the STUN machines: asking for our address, serving others, and discovery (`detect`). Not here:
//! any decision about messages.

mod detect;
mod lifetime;
pub(crate) mod lookup;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::attribute::Attribute;
use super::message::{Message, Method, TransactionId, decode};
use super::responder::{self, Responder};
use super::transaction::{Outcome, Output, Timing, Transaction};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::base::random::Jitter;
use crate::base::time::Time;
use crate::net::clock::Clock;
use crate::net::udp::UdpPort;

pub(crate) use detect::unspecified;
pub use detect::{DetectConfig, detect};
pub use lifetime::measure_lifetime;

/// Our public addresses. `None` where no server of the family answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicAddresses {
    /// IPv4.
    pub v4: Option<IpAddr>,
    /// IPv6.
    pub v6: Option<IpAddr>,
}

/// Asks one server for the address it sees exactly this port at. Something else drives the port meanwhile (a QUIC
/// endpoint, or [`UdpPort::pump`]); otherwise use [`query_alone`]. `Timeout` if no believable answer comes,
/// `PeerUnreachable` if the server refuses, `InvalidArgument` for a server of the other address family. Cancel safe.
pub async fn query(port: &Arc<UdpPort>, server: SocketAddr, deadline: Duration) -> Result<SocketAddr> {
    let local = port.local_address().map_err(|cause| Error::io("STUN: local address", cause))?;
    if local.is_ipv4() != server.is_ipv4() {
        return Err(Error::invalid("STUN server", format_args!("{server} is not of the same family as {local}")));
    }
    let clock = Clock::start();
    let request = binding_request(&mut Jitter::from_seed(rand::random()));
    let id = request.transaction;
    let mut route = port.route(move |bytes, _| bytes.get(8..20) == Some(&id.0[..]))?;
    let timing = Timing::doubling(limits::STUN_RTO, deadline);
    let mut transaction = Transaction::plain(clock.now(), &request, server, timing)
        .map_err(|cause| Error::with_source(ErrorKind::Internal, "STUN request", cause))?;
    let mut send_problem = None;
    loop {
        while let Some(output) = transaction.poll(clock.now()) {
            match output {
                Output::Send { to, bytes } => send_problem = port.send(&bytes, to).await.err(),
                Output::Done(Outcome::Answered { message, .. }) => {
                    return message.mapped_address().ok_or_else(|| refusal(server, &message));
                }
                Output::Done(Outcome::Nothing) => {
                    let context = format!("STUN server {server}: no answer within {deadline:?}");
                    return Err(match send_problem {
                        Some(cause) => Error::with_source(ErrorKind::Timeout, context, cause),
                        None => Error::new(ErrorKind::Timeout, context),
                    });
                }
            }
        }
        tokio::select! {
            datagram = route.receive() => {
                if let Ok(received) = decode(&datagram.bytes) {
                    transaction.handle(clock.now(), datagram.from, &received);
                }
            }
            () = clock.sleep_until(transaction.next_timeout()) => transaction.handle_timeout(clock.now()),
        }
    }
}

/// [`query`] on a port that nothing else drives: pumps it meanwhile. Cancel safe.
pub async fn query_alone(port: &Arc<UdpPort>, server: SocketAddr, deadline: Duration) -> Result<SocketAddr> {
    tokio::select! {
        answer = query(port, server, deadline) => answer,
        error = port.pump() => Err(Error::io("STUN: read the UDP port", error)),
    }
}

/// Answers Binding requests at a port until cancelled, so that others learn their address from us. Something else
/// drives the port. Requests with credentials (ICE) are left to other routes. Cancel safe.
pub async fn serve(port: &Arc<UdpPort>, cancel: CancellationToken) -> Result<()> {
    let mut route = port.route(|bytes, _| responder::is_for_us(bytes))?;
    let clock = Clock::start();
    let mut responder = Responder::default();
    loop {
        let datagram = tokio::select! {
            datagram = route.receive() => datagram,
            () = cancel.cancelled() => return Ok(()),
        };
        if let Some(answer) = responder.answer(clock.now(), datagram.from, &datagram.bytes) {
            // Answers wait for nobody; who lost one asks again.
            let _ = port.try_send(&answer, datagram.from);
        }
    }
}

/// Our public addresses by the families that `config` allows: what two servers agree on, or the only answer. Takes at
/// most `config.total`. Cancel safe.
pub async fn public_addresses(config: &DetectConfig) -> PublicAddresses {
    let clock = Clock::start();
    let servers = match lookup::servers(&config.servers, limits::STUN_LOOKUP_TIMEOUT.min(config.total)).await {
        Ok(servers) => servers,
        Err(error) => {
            tracing::debug!(error = %error.full_message(), "no STUN server to ask");
            return PublicAddresses::default();
        }
    };
    let left = config.total.saturating_sub(clock.now().since(Time::ZERO));
    let family = |wanted: bool, v4: bool| {
        let servers: Vec<SocketAddr> = servers
            .iter()
            .filter_map(|addresses| addresses.iter().find(|address| address.is_ipv4() == v4))
            .copied()
            .filter(|_| wanted)
            .collect();
        async move { public_address(&servers, left).await }
    };
    let (v4, v6) = tokio::join!(family(config.ipv4, true), family(config.ipv6, false));
    PublicAddresses { v4, v6 }
}

async fn public_address(servers: &[SocketAddr], deadline: Duration) -> Option<IpAddr> {
    let port = UdpPort::bind(detect::unspecified(servers.first()?.is_ipv4())).ok()?;
    let asked: FuturesUnordered<_> = servers.iter().map(|server| query(&port, *server, deadline)).collect();
    let mut answers = asked.filter_map(|answer| std::future::ready(answer.ok())).map(|mapped| mapped.ip());
    let mut seen = Vec::new();
    let agreement = async {
        while let Some(ip) = answers.next().await {
            if seen.contains(&ip) {
                return Some(ip);
            }
            seen.push(ip);
        }
        // Nobody agrees: one answer is taken for true, different ones are not.
        seen.first().copied().filter(|_| seen.len() == 1)
    };
    tokio::select! {
        ip = agreement => ip,
        _ = port.pump() => None,
    }
}

fn binding_request(random: &mut Jitter) -> Message {
    Message::request(Method::BINDING, TransactionId::random(random))
        .with(Attribute::Software(super::CLIENT_SOFTWARE.to_owned()))
}

fn refusal(server: SocketAddr, message: &Message) -> Error {
    let what = match message.error_code() {
        Some((code, reason)) => format!("STUN server {server} answers with error {code} {reason}"),
        None => format!("STUN server {server} answers without our address"),
    };
    Error::new(ErrorKind::PeerUnreachable, what)
}
