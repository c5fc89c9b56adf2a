//! The connection registry as an object of its own: which way led to a peer last, kept across runs of the program.
//! Not here: the table and its file (`nat::registry`).

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value};

use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::options::{FromJson, RegistryOptions, SaveConnectionOptions};
use crate::nat::method::{Method, Transport, parse_preference};
use crate::nat::registry::driver;
use crate::nat::registry::{Entry, Success};

/// The file in the registry's directory.
const FILE: &str = "connections.json";

/// What worked, per peer. Clones share one table. One program at a time should use a directory: of two, the one that
/// writes last wins.
#[derive(Clone, Debug)]
pub struct ConnectionRegistry {
    inner: driver::ConnectionRegistry,
}

/// One way that worked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryEntry {
    /// The peer's id.
    pub peer_id: String,
    /// The way, as the original package's `CONNECTION_TYPE`.
    pub connection_type: &'static str,
    /// The peer's address that worked.
    pub address: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Milliseconds since 1970.
    pub last_success_time: u64,
    /// How often it worked.
    pub success_count: u32,
    /// Notes of the program.
    pub metadata: Map<String, Value>,
}

impl ConnectionRegistry {
    /// Reads the registry; there need not be one yet. A damaged file, which its checksum gives away, is set aside with a
    /// warning in the log. Blocks on the disk.
    ///
    /// Errors: `Io`, `PermissionDenied` for a directory that cannot be used, `InvalidState` without a home directory.
    pub fn open(options: &RegistryOptions) -> Result<Self> {
        options.validate()?;
        let directory = directory(options)?;
        std::fs::create_dir_all(&directory)
            .map_err(|cause| Error::io(format!("create the directory {}", directory.display()), cause))?;
        let (inner, _) = driver::ConnectionRegistry::open(&directory.join(FILE))?;
        Ok(Self { inner })
    }

    /// The table itself.
    pub(super) fn table(&self) -> driver::ConnectionRegistry {
        self.inner.clone()
    }

    /// [`open`](Self::open) on a thread for blocking work.
    pub fn open_in_background(options: RegistryOptions) -> Task<Self> {
        Task::spawn(async move |_| {
            tokio::task::spawn_blocking(move || Self::open(&options))
                .await
                .unwrap_or_else(|cause| Err(Error::with_source(ErrorKind::Internal, "open the registry", cause)))
        })
    }

    /// The ways that led to the peer, as `CONNECTION_TYPE`, latest first; as long as no node of the program has said in
    /// which network we are, those of all networks. From memory.
    pub fn successful_methods(&self, peer: &str) -> Vec<&'static str> {
        let mut methods = Vec::new();
        for entry in self.inner.methods_here_or_anywhere(peer) {
            let name = entry.connection_type.connection_type(entry.transport);
            if !methods.contains(&name) {
                methods.push(name);
            }
        }
        methods
    }

    /// The way that led to the peer last. From memory.
    pub fn connection_method(&self, peer: &str) -> Option<RegistryEntry> {
        self.inner.methods_here_or_anywhere(peer).into_iter().next().map(RegistryEntry::from)
    }

    /// Remembers that a way worked. Every spelling of a connection type is understood; what is given back is that of
    /// `CONNECTION_TYPE`.
    ///
    /// Errors: `InvalidArgument`, and those of writing the file; the memory is changed even so.
    pub fn save(&self, peer: String, connection_type: &str, options: SaveConnectionOptions) -> Task<()> {
        let (inner, way) = (self.inner.clone(), way(connection_type));
        Task::spawn(async move |_| {
            options.validate()?;
            let (method, transport) = way?;
            let text = |value| match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let success = Success {
                address: options.address.unwrap_or_default(),
                port: options.port.unwrap_or(0),
                metadata: options.metadata.into_iter().map(|(name, value)| (name, text(value))).collect(),
            };
            inner.save_successful_connection(&peer, method, transport, success).await
        })
    }

    /// Forgets a peer. Whether there was something to forget.
    pub fn remove(&self, peer: String) -> Task<bool> {
        let inner = self.inner.clone();
        Task::spawn(async move |_| inner.remove_connection_method(&peer).await)
    }

    /// Forgets what is older than 45 days; how many ways that were. Those count as unknown before too.
    pub fn cleanup(&self) -> Task<usize> {
        let inner = self.inner.clone();
        Task::spawn(async move |_| inner.cleanup_old_entries().await)
    }
}

impl From<Entry> for RegistryEntry {
    fn from(entry: Entry) -> Self {
        let metadata = entry.metadata.into_iter().map(|(name, note)| (name, Value::String(note))).collect();
        Self {
            peer_id: entry.peer_id,
            connection_type: entry.connection_type.connection_type(entry.transport),
            address: Some(entry.address).filter(|address| !address.is_empty()),
            port: Some(entry.port).filter(|port| *port != 0),
            last_success_time: entry.last_success_time,
            success_count: entry.success_count,
            metadata,
        }
    }
}

fn directory(options: &RegistryOptions) -> Result<PathBuf> {
    if let Some(directory) = &options.registry_dir {
        return Ok(directory.clone());
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let problem = "the user has no home directory; name a registryDir";
    let home = home.ok_or_else(|| Error::new(ErrorKind::InvalidState, problem))?;
    Ok(home.join(".dig-nat-tools").join("registry"))
}

/// The one way that a connection type names. Texts for several ways (`tcp`, `relay`) mean the one whose own text they
/// are, else the first.
fn way(text: &str) -> Result<(Method, Transport)> {
    let preference = parse_preference(text).map_err(|error| Error::invalid("connectionType", error))?;
    let transport = preference.transport.unwrap_or(Transport::Udp);
    let exact = |method: &&Method| method.connection_type(transport).eq_ignore_ascii_case(text);
    let method = preference.methods.iter().find(exact).or_else(|| preference.methods.first());
    let method = method.ok_or_else(|| Error::invalid("connectionType", format_args!("{text:?} is no way")))?;
    Ok((*method, transport))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::options::Unknown;

    #[test]
    fn connection_types_are_given_back_as_they_came() {
        let types = [
            "tcp",
            "udp",
            "UPNP",
            "NAT_PMP",
            "UDP_HOLE_PUNCH",
            "UDP_ADVANCED_HOLE_PUNCH",
            "TCP_HOLE_PUNCH",
            "TCP_SIMULTANEOUS_OPEN",
            "ICE",
            "TURN",
            "relay",
            "gun-relay",
            "IPV6",
        ];
        for name in types {
            let (method, transport) = way(name).expect(name);
            assert_eq!(method.connection_type(transport), name);
        }
        assert!(way("unknown").expect_err("no way").to_string().starts_with("connectionType"));
    }

    #[tokio::test]
    async fn what_worked_is_there_when_the_registry_is_opened_again() {
        let home = tempfile::tempdir().expect("temporary directory");
        let options = RegistryOptions { registry_dir: Some(home.path().join("new").join("registry")) };
        let registry = ConnectionRegistry::open(&options).expect("new");
        assert!(registry.successful_methods("peer").is_empty() && registry.connection_method("peer").is_none());
        let how = json!({"address": "192.0.2.1", "port": 4001, "metadata": {"relay": "x", "tries": 3}});
        let how = SaveConnectionOptions::from_json(&how, Unknown::Reject).expect("valid");
        registry.save("peer".into(), "turn", SaveConnectionOptions::default()).await.expect("saved");
        registry.save("peer".into(), "udp-hole-punch", how).await.expect("saved");
        registry.save("peer".into(), "carrier pigeon", SaveConnectionOptions::default()).await.expect_err("no way");
        let again = ConnectionRegistry::open_in_background(options.clone()).await.expect("opened");
        assert_eq!(again.successful_methods("peer"), ["UDP_HOLE_PUNCH", "TURN"]);
        let entry = again.connection_method("peer").expect("known");
        assert_eq!((entry.address.as_deref(), entry.port, entry.success_count), (Some("192.0.2.1"), Some(4001), 1));
        assert_eq!(Value::from(entry.metadata), json!({"relay": "x", "tries": "3"}));
        assert_eq!(again.cleanup().await.expect("nothing is old"), 0);
        assert!(again.remove("peer".into()).await.expect("written"));
        assert!(!again.remove("peer".into()).await.expect("nothing left"));
        assert!(ConnectionRegistry::open(&options).expect("read").connection_method("peer").is_none());
    }
}
