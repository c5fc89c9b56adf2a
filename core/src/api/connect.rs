//! Reaching one peer by whatever way works, and saying how. Not here: the ways (`fabric::ladder`).

use std::time::{Duration, Instant};

use serde::Serialize;

use super::connection::Connection;
use super::node::{Node, Running};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::options::{ConnectOptions, FromJson};
use crate::discovery::candidate::host_and_port;
use crate::discovery::trust::{near, source_of};
use crate::fabric::ladder::Wish;
use crate::fabric::{Link, peer_of};
use crate::nat::ladder::Source;
use crate::nat::method::{Method, Transport, parse_preference};
use crate::nat::report::AttemptLog;
use crate::wire::message;

/// How a peer was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traversal {
    /// Who, proven by the handshake.
    pub peer: PeerId,
    /// The way: `direct-v4`, `udp-hole-punch`, `circuit`, …
    pub method: &'static str,
    /// The same as a `CONNECTION_TYPE` of the original package: `tcp`, `UDP_HOLE_PUNCH`, `relay`, …
    pub connection_type: &'static str,
    /// What carries the bytes: `tcp` or `udp`.
    pub transport: &'static str,
    /// Host part of the other end's address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Whether a third node carries the bytes.
    pub relayed: bool,
    /// Milliseconds from the call to the connection.
    pub took_ms: u64,
    /// Every way that was tried until then, and why others were not.
    pub attempts: AttemptLog,
}

impl Traversal {
    fn new(link: &Link, method: Method, begun: Instant, attempts: AttemptLog) -> Self {
        let (address, port) = host_and_port(&link.address).unwrap_or_default();
        let transport = match link.transport {
            crate::fabric::Transport::Tcp => Transport::Tcp,
            crate::fabric::Transport::Quic => Transport::Udp,
        };
        Self {
            peer: link.peer.clone(),
            method: method.name(),
            connection_type: method.connection_type(transport),
            transport: link.transport.name(),
            address,
            port,
            relayed: link.relayed,
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            attempts,
        }
    }
}

impl Node {
    /// Reaches a peer, named by its id or by an address that ends in it.
    pub(crate) async fn connect_to_peer(
        &self,
        target: &str,
        options: ConnectOptions,
    ) -> Result<(Connection, Traversal)> {
        options.validate()?;
        let running = self.ensure_started().await?;
        let (link, traversal) = reach(&running, target, &options).await?;
        Ok((open(&running, &link).await?, traversal))
    }
}

/// Opens a message connection on a link.
pub(super) async fn open(running: &Running, link: &Link) -> Result<Connection> {
    let stream = running.engine.fabric.open(link, message::PROTOCOL).await?;
    let connection = Connection::new(stream);
    connection.greet().await?;
    Ok(connection)
}

/// A link to a peer by whatever way works.
pub(super) async fn reach(running: &Running, target: &str, options: &ConnectOptions) -> Result<(Link, Traversal)> {
    let begun = Instant::now();
    let fabric = &running.engine.fabric;
    let (peer, rest) =
        peer_of(target).map_err(|cause| Error::with_source(ErrorKind::InvalidArgument, "peer", cause))?;
    let timeout = Duration::from_millis(options.timeout_ms);
    let Some(peer) = peer else {
        // Nobody can be met elsewhere without being named.
        let link = fabric.dial(target, timeout).await?;
        let method = if link.address.starts_with("/ip6/") { Method::DirectV6 } else { Method::DirectV4 };
        return Ok((link.clone(), Traversal::new(&link, method, begun, AttemptLog::default())));
    };
    let mut preferred = Vec::new();
    for text in &options.preferred_methods {
        preferred.push(parse_preference(text)?);
    }
    let named = options.addresses.iter().chain(&rest).map(|text| (text.clone(), Source::User));
    let known = fabric.known_addresses(&peer).into_iter().map(|text| {
        let source = near(&text);
        (text, source)
    });
    let heard = running.engine.discovery.known_peer(&peer);
    let heard = heard.into_iter().flat_map(|found| {
        let told_by = found.source;
        found.addresses.into_iter().map(move |text| {
            let source = source_of(told_by, &text);
            (text, source)
        })
    });
    let wish = Wish {
        addresses: named.chain(known).chain(heard).collect(),
        preferred: (!preferred.is_empty()).then_some(preferred),
        remember: options.save_to_registry,
    };
    let reached = running.reachability.connector().connect(&peer, wish, timeout).await?;
    let traversal = Traversal::new(&reached.link, reached.method, begun, reached.log);
    Ok((reached.link, traversal))
}
