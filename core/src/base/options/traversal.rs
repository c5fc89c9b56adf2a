//! Options of the single ways through NATs: hole punching, TURN, ICE, and the registry of what worked.
//! Not here: the options of nodes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{FromJson, OptionInfo, env_switch, in_range};
use crate::base::error::{Error, Result};
use crate::base::limits;

options! {
    /// A hole to be punched, to a known endpoint or to a peer that is met over signalling.
    PunchOptions {
        /// The peer's endpoint, `host:port`, as the internet sees it. Default none: both sides tell each other over
        /// signalling.
        remote_endpoint: String = String::new(), "remoteEndpoint" | "remote_endpoint";
        /// Our address and port, `host:port`, to punch from. Default any address and `localPort`.
        local_endpoint: String = String::new(), "localEndpoint" | "local_endpoint";
        /// Our port when `localEndpoint` is not given. Default 0: a free one.
        local_port: u16 = 0, "localPort" | "local_port";
        /// Our possible ports: the first free one is used. Default none: `localPort`.
        local_ports: Vec<u16> = Vec::new(), "localPorts" | "local_ports";
        /// Secret text that both sides know. Without one, anybody at the peer's address can pretend to be the peer.
        /// Default none.
        key: Option<String> = None, "key";
        /// Time for the attempt in ms; the peer has to try within it. Default 10000, range 100 to 120000.
        timeout_ms: u64 = 10_000, "timeout" | "punchTimeout" | "timeout_ms";
        /// Our name, any text. Both names are needed with signalling, the peer gives them the other way round. Default
        /// none.
        local_id: Option<String> = None, "localId" | "local_id";
        /// The peer's name. Default none.
        remote_id: Option<String> = None, "remoteId" | "remote_id";
        /// URLs of Gun relays to meet the peer at. Without a `key`, whoever knows both names can take the peer's place.
        /// Default none.
        gun_peers: Vec<String> = Vec::new(), "gunPeers" | "gun_peers";
        /// STUN servers (`host:port` or `stun:host:port`) that tell us our endpoint, with signalling. Default empty:
        /// three public ones, or none when `localOnly` is set.
        stun_servers: Vec<String> = Vec::new(), "stunServers" | "stun_servers";
        /// Punch over IPv6 as well, with signalling. Default false.
        enable_ipv6: bool = false, "enableIPv6" | "useIPv6" | "enable_ipv6";
        /// Try private and loopback addresses that the peer names: for peers in one network or on one machine. Default
        /// false.
        allow_private: bool = false, "allowPrivate" | "allow_private";
        /// Ask no STUN server that was not named. Default false, or true when the environment variable
        /// `DIG_NAT_LOCAL_ONLY` is `1`.
        local_only: bool = env_switch("DIG_NAT_LOCAL_ONLY"), "localOnly" | "local_only";
    }

    /// An address that a TURN server relays from.
    TurnOptions {
        /// The server: `turn:host[:port][?transport=tcp]`, `turns:host[:port]` or `host[:port]`. Default none: this or
        /// `turnServers` has to be given.
        turn_server: Option<String> = None, "turnServer" | "turn_server";
        /// User name at `turnServer`. Default none.
        turn_username: Option<String> = None, "turnUsername" | "turn_username";
        /// Password at `turnServer`. Default none.
        turn_password: Option<String> = None, "turnPassword" | "turnCredential" | "turn_password";
        /// Further servers, `{urls, username, credential}` each, asked one after the other. Default none.
        turn_servers: Vec<TurnServerOption> = Vec::new(), "turnServers" | "turn_servers";
        /// How servers are reached: `UDP`, `TCP` or `TLS`. Default: what their URLs say, else UDP.
        protocol: Option<String> = None, "protocol";
        /// Port of servers that are named without one. Default 3478, or 5349 for TLS.
        turn_port: Option<u16> = None, "turnPort" | "turn_port";
        /// Certificates (PEM) trusted for TLS instead of the system's. Default none.
        root_certificates: Option<String> = None, "rootCertificates" | "root_certificates";
        /// Lifetime asked for, in seconds; prolonged as long as the allocation is held. Default 600, range 1 to 3600.
        lifetime_s: u32 = 600, "lifetime" | "lifetime_s";
        /// Time to allocate in ms. Default 10000, range 100 to 120000.
        timeout_ms: u64 = 10_000, "timeout" | "timeout_ms";
    }

    /// A connection by ICE.
    IceOptions {
        /// Our name; of two sides that give both names the one with the greater name controls. Default none.
        local_id: Option<String> = None, "localId" | "local_id";
        /// The peer's name. Default none.
        remote_id: Option<String> = None, "remoteId" | "remote_id";
        /// STUN servers (`host:port` or `stun:host:port`). Default empty: three public ones, or none when `localOnly` is
        /// set.
        stun_servers: Vec<String> = Vec::new(), "stunServers" | "stun_servers";
        /// A TURN server whose relayed address is a candidate. Default none.
        turn_server: Option<String> = None, "turnServer" | "turn_server";
        /// User name at `turnServer`. Default none.
        turn_username: Option<String> = None, "turnUsername" | "turn_username";
        /// Password at `turnServer`. Default none.
        turn_password: Option<String> = None, "turnPassword" | "turnCredential" | "turn_password";
        /// TURN servers, `{urls, username, credential}` each; the first one of all is used. Default none.
        turn_servers: Vec<TurnServerOption> = Vec::new(), "turnServers" | "turn_servers";
        /// Our UDP port. Default 0: a free one.
        local_port: u16 = 0, "localPort" | "local_port";
        /// Gather IPv6 candidates as well. Default false.
        enable_ipv6: bool = false, "enableIPv6" | "useIPv6" | "enable_ipv6";
        /// Check private and loopback addresses that the peer names: for peers in one network or on one machine. Default
        /// false.
        allow_private: bool = false, "allowPrivate" | "allow_private";
        /// Ask no STUN server that was not named. Default false, or true when the environment variable
        /// `DIG_NAT_LOCAL_ONLY` is `1`.
        local_only: bool = env_switch("DIG_NAT_LOCAL_ONLY"), "localOnly" | "local_only";
        /// Time until a pair works in ms. Default 15000, range 100 to 120000.
        timeout_ms: u64 = 15_000, "timeout" | "connectTimeout" | "timeout_ms";
        /// URLs of Gun relays to meet the peer at; both names are needed then, the peer gives them the other way round.
        /// Default none.
        gun_peers: Vec<String> = Vec::new(), "gunPeers" | "gun_peers";
        /// Secret text that both sides know. Without one, whoever knows both names can take the peer's place in a Gun
        /// graph. Default none.
        key: Option<String> = None, "key";
    }

    /// Where the connection registry is kept.
    RegistryOptions {
        /// Its directory, made when it is missing. Default `.dig-nat-tools/registry` in the home directory.
        registry_dir: Option<PathBuf> = None, "registryDir" | "registry_dir";
    }

    /// What is remembered of a connection.
    SaveConnectionOptions {
        /// The peer's address that worked. Default none.
        address: Option<String> = None, "address";
        /// Its port. Default none.
        port: Option<u16> = None, "port";
        /// Up to 8 notes of at most 256 bytes; what is not text is kept as its JSON. Default none.
        metadata: BTreeMap<String, Value> = BTreeMap::new(), "metadata";
    }
}

/// A TURN server in the form of WebRTC's `RTCIceServer`, or its URL alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TurnServerOption {
    /// One or several URLs of the same server.
    pub urls: Vec<String>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub credential: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(urls: OneOrMany) -> Self {
        match urls {
            OneOrMany::One(url) => vec![url],
            OneOrMany::Many(urls) => urls,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ServerForm {
    Urls(OneOrMany),
    Record {
        #[serde(alias = "url")]
        urls: OneOrMany,
        #[serde(default)]
        username: Option<String>,
        #[serde(default, alias = "password")]
        credential: Option<String>,
    },
}

impl<'de> Deserialize<'de> for TurnServerOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match ServerForm::deserialize(deserializer)? {
            ServerForm::Urls(urls) => Self { urls: urls.into(), ..Self::default() },
            ServerForm::Record { urls, username, credential } => Self { urls: urls.into(), username, credential },
        })
    }
}

impl FromJson for PunchOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("localPorts", self.local_ports.len(), 0, limits::MAX_PUNCH_LOCAL_PORTS)?;
        in_range("stunServers", self.stun_servers.len(), 0, limits::MAX_STUN_SERVERS)?;
        in_range("gunPeers", self.gun_peers.len(), 0, limits::MAX_GUN_RELAYS)?;
        in_range("timeout", self.timeout_ms, 100, 120_000)
    }
}

/// Bounds of a list of servers; a server of a node has to be one.
pub(super) fn check_servers(servers: &[TurnServerOption]) -> Result<()> {
    in_range("turnServers", servers.len(), 0, limits::MAX_TURN_SERVERS)
}

impl FromJson for TurnOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        if let Some(protocol) = &self.protocol
            && !["udp", "tcp", "tls"].iter().any(|known| protocol.eq_ignore_ascii_case(known))
        {
            return Err(Error::invalid("protocol", format_args!("{protocol:?} is none of UDP, TCP and TLS")));
        }
        check_servers(&self.turn_servers)?;
        in_range("lifetime", self.lifetime_s, 1, 3600)?;
        in_range("timeout", self.timeout_ms, 100, 120_000)
    }
}

impl FromJson for IceOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("stunServers", self.stun_servers.len(), 0, limits::MAX_STUN_SERVERS)?;
        in_range("gunPeers", self.gun_peers.len(), 0, limits::MAX_GUN_RELAYS)?;
        check_servers(&self.turn_servers)?;
        in_range("timeout", self.timeout_ms, 100, 120_000)
    }
}

impl FromJson for RegistryOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl FromJson for SaveConnectionOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        in_range("metadata", self.metadata.len(), 0, limits::MAX_REGISTRY_NOTES)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Unknown;
    use super::*;

    #[test]
    fn turn_servers_are_read_in_every_documented_form() {
        let value = json!({"turnServers": [
            "turn:a", ["turn:b", "turns:b"], {"urls": "turn:c", "username": "u", "credential": "p"},
            {"urls": ["turn:d"], "password": "p"},
        ]});
        let options = TurnOptions::from_json(&value, Unknown::Reject).expect("valid");
        let urls: Vec<usize> = options.turn_servers.iter().map(|server| server.urls.len()).collect();
        assert_eq!(urls, [1, 2, 1, 1]);
        assert_eq!(options.turn_servers[2].username.as_deref(), Some("u"));
        assert_eq!(options.turn_servers[3].credential.as_deref(), Some("p"));
        for wrong in [json!({"turnServers": [5]}), json!({"turnServers": [{"username": "u"}]})] {
            let error = TurnOptions::from_json(&wrong, Unknown::Ignore).expect_err("no URL");
            assert!(error.to_string().starts_with("turnServers"), "{error}");
        }
        let error = TurnOptions::from_json(&json!({"protocol": "SCTP"}), Unknown::Ignore).expect_err("unknown");
        assert!(error.to_string().starts_with("protocol"), "{error}");
    }
}
