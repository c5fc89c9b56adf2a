//! The options of a light node as records in which everything has a default.
//! Not here: the defaults and ranges, which are core's. A test compares the fields with core's tables.

use dig_nat_core::base::options as core;
use dig_nat_core::base::options::FromJson;

use crate::errors::Result;

/// Options of a light node. Everything that is not set has its default.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct LightNodeOptions {
    /// TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both.
    #[uniffi(default = None)]
    pub port: Option<u16>,
    /// Listen on IPv6 as well as IPv4 and dial both. Default false.
    #[uniffi(default = None)]
    pub enable_ipv6: Option<bool>,
    /// Accept and dial TCP connections. Default true.
    #[uniffi(default = None)]
    pub enable_tcp: Option<bool>,
    /// Accept and dial QUIC (UDP) connections. Default true.
    #[uniffi(default = None)]
    pub enable_udp: Option<bool>,
    /// Find peers on the local network by multicast DNS. Default true.
    #[uniffi(default = None)]
    pub local_enabled: Option<bool>,
    /// Contact nothing but the local network and addresses given by the user. Default false.
    #[uniffi(default = None)]
    pub local_only: Option<bool>,
    /// Interfaces (names or addresses) used for listening and local discovery. Default all.
    #[uniffi(default = None)]
    pub interfaces: Option<Vec<String>>,
    /// Directory for state that outlives the process (identity). Default none: nothing is kept.
    #[uniffi(default = None)]
    pub persistence_dir: Option<String>,
    /// Keep state in `persistence_dir`. Default false; setting the directory is enough.
    #[uniffi(default = None)]
    pub enable_persistence: Option<bool>,
    /// Connections held at once. Default 1000, range 1 to 100000.
    #[uniffi(default = None)]
    pub max_connections: Option<u32>,
    /// Download limit of the whole node in bytes per second. Default 0: none.
    #[uniffi(default = None)]
    pub download_limit: Option<u64>,
    /// Download limit per peer in bytes per second. Default 0: none.
    #[uniffi(default = None)]
    pub peer_download_limit: Option<u64>,
    /// Directory for downloads that are given no path. Default the current directory, which apps seldom can write to.
    #[uniffi(default = None)]
    pub download_dir: Option<String>,
    /// Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000.
    #[uniffi(default = None)]
    pub request_timeout_ms: Option<u64>,
    /// Keep looking for further peers while a download runs. Default true.
    #[uniffi(default = None)]
    pub enable_continuous_discovery: Option<bool>,
    /// Peers one download uses at once. Default 10, range 1 to 500.
    #[uniffi(default = None)]
    pub max_peers: Option<u32>,
}

/// Options of one download. Everything that is not set has its default.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct DownloadOptions {
    /// Target file. Default: `output_dir` and the name the peers offer, made safe, else the hash.
    #[uniffi(default = None)]
    pub save_path: Option<String>,
    /// Target directory when `save_path` is not given. Default: the node's `download_dir`.
    #[uniffi(default = None)]
    pub output_dir: Option<String>,
    /// Peers to ask: `host:port`, multiaddr, or peer id. Default none: discovery finds them.
    #[uniffi(default = [])]
    pub peers: Vec<String>,
    /// Peers used at once. Default: the node's `max_peers`. Range 1 to 500.
    #[uniffi(default = None)]
    pub max_peers: Option<u32>,
    /// Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000.
    #[uniffi(default = None)]
    pub timeout_ms: Option<u64>,
    /// Search for peers besides those given. Default: the node's `enable_continuous_discovery`.
    #[uniffi(default = None)]
    pub discover: Option<bool>,
    /// Download limit in bytes per second. Default 0: none.
    #[uniffi(default = None)]
    pub download_limit: Option<u64>,
    /// Replace an existing target file whose content differs. Default true.
    #[uniffi(default = None)]
    pub overwrite: Option<bool>,
}

/// Options of a search for peers. Everything that is not set has its default.
#[derive(Clone, Copy, Debug, Default, uniffi::Record)]
pub struct FindOptions {
    /// Stop after so many peers. Default 50, range 1 to 1000.
    #[uniffi(default = None)]
    pub max_peers: Option<u32>,
    /// Time of the search in ms. Default 5000, range 1 to 3600000.
    #[uniffi(default = None)]
    pub timeout_ms: Option<u64>,
}

fn set<T>(option: &mut T, value: Option<impl Into<T>>) {
    if let Some(value) = value {
        *option = value.into();
    }
}

fn set_count(option: &mut usize, value: Option<u32>) {
    set(option, value.map(|value| value as usize));
}

impl LightNodeOptions {
    pub(crate) fn into_core(self) -> Result<(core::NodeOptions, core::ClientOptions)> {
        let mut node = core::NodeOptions { light_node: true, ..core::NodeOptions::default() };
        set(&mut node.port, self.port);
        set(&mut node.enable_ipv6, self.enable_ipv6);
        set(&mut node.enable_tcp, self.enable_tcp);
        set(&mut node.enable_udp, self.enable_udp);
        set(&mut node.local_enabled, self.local_enabled);
        set(&mut node.local_only, self.local_only);
        set(&mut node.interfaces, self.interfaces);
        node.persistence_dir = self.persistence_dir.map(Into::into);
        set(&mut node.enable_persistence, self.enable_persistence);
        set(&mut node.max_connections, self.max_connections);
        set(&mut node.download_limit, self.download_limit);
        set(&mut node.peer_download_limit, self.peer_download_limit);
        node.validate()?;
        let mut client = core::ClientOptions::default();
        set(&mut client.download_dir, self.download_dir);
        set(&mut client.request_timeout_ms, self.request_timeout_ms);
        set(&mut client.enable_continuous_discovery, self.enable_continuous_discovery);
        set_count(&mut client.max_peers, self.max_peers);
        client.validate()?;
        Ok((node, client))
    }
}

impl DownloadOptions {
    pub(crate) fn into_core(self) -> Result<core::DownloadOptions> {
        let mut options = core::DownloadOptions {
            save_path: self.save_path.map(Into::into),
            output_dir: self.output_dir.map(Into::into),
            peers: self.peers,
            max_peers: self.max_peers.map(|count| count as usize),
            discover: self.discover,
            share_while_downloading: false,
            ..core::DownloadOptions::default()
        };
        set(&mut options.timeout_ms, self.timeout_ms);
        set(&mut options.download_limit, self.download_limit);
        set(&mut options.overwrite, self.overwrite);
        options.validate()?;
        Ok(options)
    }
}

impl FindOptions {
    pub(crate) fn into_core(self) -> Result<core::FindOptions> {
        let mut options = core::FindOptions::default();
        set_count(&mut options.max_peers, self.max_peers);
        set(&mut options.timeout_ms, self.timeout_ms);
        options.validate()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_cores_default_of_a_light_node() {
        let (node, client) = LightNodeOptions::default().into_core().expect("valid");
        assert_eq!(node, core::NodeOptions { light_node: true, ..core::NodeOptions::default() });
        assert_eq!(client, core::ClientOptions::default());
        let download = DownloadOptions::default().into_core().expect("valid");
        let expected = core::DownloadOptions { share_while_downloading: false, ..core::DownloadOptions::default() };
        assert_eq!(download, expected);
        assert_eq!(FindOptions::default().into_core().expect("valid"), core::FindOptions::default());
    }

    #[test]
    fn what_is_set_arrives() {
        let options = LightNodeOptions {
            port: Some(1),
            enable_ipv6: Some(true),
            enable_tcp: Some(false),
            enable_udp: Some(true),
            local_enabled: Some(false),
            local_only: Some(false),
            interfaces: Some(vec!["en0".into()]),
            persistence_dir: Some("state".into()),
            enable_persistence: Some(true),
            max_connections: Some(2),
            download_limit: Some(3),
            peer_download_limit: Some(4),
            download_dir: Some("files".into()),
            request_timeout_ms: Some(500),
            enable_continuous_discovery: Some(false),
            max_peers: Some(6),
        };
        let (node, client) = options.into_core().expect("valid");
        let expected = core::NodeOptions {
            port: 1,
            enable_ipv6: true,
            enable_tcp: false,
            enable_udp: true,
            local_enabled: false,
            local_only: false,
            interfaces: vec!["en0".into()],
            persistence_dir: Some("state".into()),
            enable_persistence: true,
            max_connections: 2,
            upload_limit: 0,
            download_limit: 3,
            peer_upload_limit: 0,
            peer_download_limit: 4,
            light_node: true,
        };
        assert_eq!(node, expected);
        let expected = core::ClientOptions {
            download_dir: "files".into(),
            request_timeout_ms: 500,
            enable_continuous_discovery: false,
            max_peers: 6,
        };
        assert_eq!(client, expected);
    }
}
