//! An address at a TURN server, for programs that want to relay by themselves. Not here: the relays that nodes use.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::options::{FromJson, IceOptions, NodeOptions, TurnOptions, TurnServerOption};
use crate::nat::stun::server::host_and_port;
use crate::nat::turn::driver::{Relayed, TurnConfig, allocate};
use crate::nat::turn::{Credentials, Transport, TurnServer};

/// An address at a TURN server that relays to us, prolonged as long as it is held. Clones share it; it is released by
/// [`release`](Self::release) or when the last clone is dropped.
#[derive(Clone)]
pub struct TurnAllocation {
    relayed: Arc<Relayed>,
    released: CancellationToken,
}

/// What a server granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationInfo {
    /// The address that peers send to.
    pub relayed_address: String,
    /// Its port.
    pub relayed_port: u16,
    /// Our address as the server sees it.
    pub mapped_address: Option<String>,
    /// Its port.
    pub mapped_port: Option<u16>,
    /// The server, after redirections.
    pub server_address: String,
    /// Its port.
    pub server_port: u16,
    /// How long the server kept it at first, in seconds.
    pub lifetime_s: u64,
}

type Server = (TurnServer, Option<Credentials>);

/// Allocates an address at the first of the named servers that grants one.
///
/// Errors: `InvalidArgument` for bad options and for wrong or missing credentials (with server and user), `LimitReached`
/// for a quota, `PeerUnreachable`, `Timeout`, `Cancelled`.
pub fn create_turn_allocation(options: TurnOptions) -> Task<TurnAllocation> {
    Task::spawn(async move |cancel| {
        options.validate()?;
        let servers = of_turn(&options)?;
        let mut problem = Error::invalid("turnServer", "must be given, or turnServers");
        for (server, credentials) in servers {
            let mut config = TurnConfig::new(server, credentials);
            config.root_certificates = options.root_certificates.clone().map(String::into_bytes);
            config.lifetime = Duration::from_secs(options.lifetime_s.into());
            config.timeout = Duration::from_millis(options.timeout_ms);
            let allocated = tokio::select! {
                allocated = allocate(&config) => allocated,
                () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the allocation was cancelled")),
            };
            match allocated {
                Ok(relayed) => {
                    return Ok(TurnAllocation { relayed: Arc::new(relayed), released: CancellationToken::new() });
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    })
}

impl TurnAllocation {
    /// What the server granted.
    pub fn info(&self) -> AllocationInfo {
        let (relayed, server) = (self.relayed.relayed_address(), self.relayed.server_address());
        let mapped = self.relayed.mapped_address();
        AllocationInfo {
            relayed_address: relayed.ip().to_string(),
            relayed_port: relayed.port(),
            mapped_address: mapped.map(|mapped| mapped.ip().to_string()),
            mapped_port: mapped.map(|mapped| mapped.port()),
            server_address: server.ip().to_string(),
            server_port: server.port(),
            lifetime_s: self.relayed.lifetime().as_secs(),
        }
    }

    /// Lets a peer's address in, all ports. `PeerUnreachable` if the server forbids it, `LimitReached`,
    /// `ConnectionClosed`. Cancel safe.
    pub async fn permit(&self, peer: IpAddr) -> Result<()> {
        self.relayed.permit(peer).await
    }

    /// Sends a datagram to a peer, which is let in first if it is not yet. Like any datagram it may be lost.
    /// `InvalidArgument` if it is too large, otherwise as [`permit`](Self::permit). Cancel safe.
    pub async fn send_to(&self, peer: SocketAddr, bytes: Bytes) -> Result<()> {
        match self.relayed.send_to(peer, bytes.clone()).await {
            Err(error) if error.kind() == ErrorKind::InvalidState => {
                self.relayed.permit(peer.ip()).await?;
                self.relayed.send_to(peer, bytes).await
            }
            sent => sent,
        }
    }

    /// The next datagram from a peer that was let in, `None` after [`release`](Self::release). `ConnectionClosed` or the
    /// reason when the allocation has ended otherwise. Cancel safe.
    pub async fn receive(&self) -> Result<Option<(SocketAddr, Bytes)>> {
        tokio::select! {
            biased;
            () = self.released.cancelled() => Ok(None),
            received = self.relayed.receive() => match received {
                Err(_) if self.released.is_cancelled() => Ok(None),
                received => received.map(Some),
            },
        }
    }

    /// Prolongs it now, asking for so many seconds from now on; how many the server grants. It is prolonged in time
    /// without this too. `InvalidArgument`, `ConnectionClosed`. Cancel safe.
    pub async fn refresh(&self, lifetime_s: u32) -> Result<u64> {
        if !(1..=3600).contains(&lifetime_s) {
            return Err(Error::invalid("lifetime", format_args!("{lifetime_s} is outside 1 to 3600")));
        }
        let granted = self.relayed.refresh(Duration::from_secs(lifetime_s.into())).await?;
        Ok(granted.as_secs())
    }

    /// Removes it at the server, within about a second. Idempotent.
    pub async fn release(&self) {
        self.released.cancel();
        self.relayed.close().await;
    }
}

/// The servers of TURN options, in order.
fn of_turn(options: &TurnOptions) -> Result<Vec<Server>> {
    let TurnOptions { turn_server, turn_username, turn_password, turn_servers, protocol, turn_port, .. } = options;
    let transport = protocol.as_deref().map(|protocol| match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        _ => Transport::Udp,
    });
    list((turn_server, turn_username, turn_password), turn_servers, transport, *turn_port)
}

/// The servers of a node, in order.
pub(super) fn of_node(options: &NodeOptions) -> Result<Vec<TurnConfig>> {
    Ok(configs(list((&None, &None, &None), &options.turn_servers, None, None)?))
}

/// The servers of ICE options, in order.
pub(super) fn of_ice(options: &IceOptions) -> Result<Vec<TurnConfig>> {
    let IceOptions { turn_server, turn_username, turn_password, turn_servers, .. } = options;
    Ok(configs(list((turn_server, turn_username, turn_password), turn_servers, None, None)?))
}

fn configs(servers: Vec<Server>) -> Vec<TurnConfig> {
    servers.into_iter().map(|(server, credentials)| TurnConfig::new(server, credentials)).collect()
}

fn list(
    (server, username, password): (&Option<String>, &Option<String>, &Option<String>),
    others: &[TurnServerOption],
    transport: Option<Transport>,
    port: Option<u16>,
) -> Result<Vec<Server>> {
    let first = server.iter().map(|url| ("turnServer", url, username, password));
    let others = others
        .iter()
        .flat_map(|other| other.urls.iter().map(move |url| ("turnServers", url, &other.username, &other.credential)));
    first
        .chain(others)
        .map(|(option, url, username, password)| {
            let server = parse(option, url, transport, port)?;
            let credentials = username.as_ref().map(|username| Credentials {
                username: username.clone(),
                password: password.clone().unwrap_or_default(),
            });
            Ok((server, credentials))
        })
        .collect()
}

/// One server: the transport that was asked for counts more than that of the URL, the URL's port more than the other.
fn parse(option: &str, text: &str, transport: Option<Transport>, port: Option<u16>) -> Result<TurnServer> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let bare = !matches!(scheme.as_deref(), Some("turn" | "turns" | "stun" | "stuns"));
    let url = if bare { format!("turn:{text}") } else { text.to_owned() };
    let mut server: TurnServer =
        url.parse().map_err(|cause| Error::with_source(ErrorKind::InvalidArgument, option.to_owned(), cause))?;
    if let Some(transport) = transport {
        server.transport = transport;
    }
    let address = url.split_once(':').map_or("", |(_, rest)| rest.split('?').next().unwrap_or(rest));
    if !matches!(host_and_port(address), Ok((_, Some(_)))) {
        server.port = port.unwrap_or(if server.transport == Transport::Tls { 5349 } else { 3478 });
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::options::Unknown;

    fn servers(value: &serde_json::Value) -> Vec<(String, Option<String>)> {
        let options = TurnOptions::from_json(value, Unknown::Reject).expect("valid");
        let list = of_turn(&options).expect("servers");
        list.into_iter().map(|(server, user)| (server.to_string(), user.map(|user| user.username))).collect()
    }

    #[test]
    fn every_form_of_servers_becomes_one_list() {
        let user = Some("u".to_owned());
        for (value, expected) in [
            (json!({"turnServer": "turn:a", "turnUsername": "u", "turnPassword": "p"}), "turn:a:3478"),
            (json!({"turnServer": "a", "turnUsername": "u", "protocol": "tcp"}), "turn:a:3478?transport=tcp"),
            (json!({"turnServer": "a:1", "turnUsername": "u", "turnPort": 2}), "turn:a:1"),
            (json!({"turnServer": "turn:a", "turnUsername": "u", "turnPort": 2}), "turn:a:2"),
            (json!({"turnServer": "turn:a", "turnUsername": "u", "protocol": "TLS"}), "turns:a:5349"),
            (json!({"turnServers": [{"urls": "turns:a", "username": "u", "credential": "p"}]}), "turns:a:5349"),
        ] {
            assert_eq!(servers(&value), [(expected.to_owned(), user.clone())], "{value}");
        }
        let both = json!({"turnServer": "a", "turnServers": [{"urls": ["b", "c"]}]});
        let names: Vec<String> = servers(&both).into_iter().map(|(server, _)| server).collect();
        assert_eq!(names, ["turn:a:3478", "turn:b:3478", "turn:c:3478"]);
        let options = TurnOptions { turn_server: Some("stun:a".into()), ..TurnOptions::default() };
        assert!(of_turn(&options).expect_err("a STUN server").to_string().starts_with("turnServer"));
    }

    #[tokio::test]
    async fn a_server_must_be_named() {
        let error = create_turn_allocation(TurnOptions::default()).wait().await.err().expect("no server");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("turnServer"), "{error}");
    }
}
