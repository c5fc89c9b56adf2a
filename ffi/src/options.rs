//! The options structs of the header and their way to core's options.
//! Not here: defaults and ranges, which are core's; zero and NULL mean "core's default". A test compares the fields
//! with the tables in core's manifest.

use std::ffi::c_char;
use std::path::PathBuf;

use dig_nat_core::Result;
use dig_nat_core::base::options::{
    AddFileOptions, ClientOptions, DownloadOptions, FindOptions, FromJson, HostOptions, NodeOptions,
};

use crate::argument::{self, Sized1st};

/// A switch in an options struct: one of the DIG_NAT_SWITCH_ numbers.
pub type DigNatSwitch = i32;

/// The default of this option.
pub const DIG_NAT_SWITCH_DEFAULT: i32 = 0;
/// On, whatever the default is.
pub const DIG_NAT_SWITCH_ON: i32 = 1;
/// Off, whatever the default is.
pub const DIG_NAT_SWITCH_OFF: i32 = 2;

/// Options every node has, whatever its role.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatNodeOptions {
    /// Bytes of this struct; set by dig_nat_node_options_init.
    pub size: usize,
    /// TCP and UDP port to listen on. Default 0: a free port chosen by the system, the same for both.
    pub port: u16,
    /// Listen on IPv6 as well as IPv4 and dial both. Default off.
    pub enable_ipv6: DigNatSwitch,
    /// Accept and dial TCP connections. Default on.
    pub enable_tcp: DigNatSwitch,
    /// Accept and dial QUIC (UDP) connections. Default on.
    pub enable_udp: DigNatSwitch,
    /// Find peers and be found on the local network by multicast DNS. Default on.
    pub local_enabled: DigNatSwitch,
    /// Contact nothing but the local network and addresses given by the user. Default off, or on when the environment
    /// variable DIG_NAT_LOCAL_ONLY is 1.
    pub local_only: DigNatSwitch,
    /// Interfaces (names or addresses) used for listening addresses and local discovery. Default NULL: all, or the
    /// comma-separated list in the environment variable DIG_NAT_INTERFACES.
    pub interfaces: *const *const c_char,
    /// How many interfaces.
    pub interfaces_count: usize,
    /// Directory for state that outlives the process (identity, hash cache). Default NULL: nothing is kept.
    pub persistence_dir: *const c_char,
    /// Keep state in persistence_dir ("./.dig-nat-tools" when unset). Default off.
    pub enable_persistence: DigNatSwitch,
    /// Connections held at once. Default 1000, range 1 to 100000.
    pub max_connections: u32,
    /// Upload limit of the whole node in bytes per second. Default 0: none.
    pub upload_limit: u64,
    /// Download limit of the whole node in bytes per second. Default 0: none.
    pub download_limit: u64,
    /// Upload limit per peer in bytes per second. Default 0: none.
    pub peer_upload_limit: u64,
    /// Download limit per peer in bytes per second. Default 0: none.
    pub peer_download_limit: u64,
    /// Never upload, not even pieces of running downloads. Default off.
    pub light_node: DigNatSwitch,
}

/// Options of a file host beyond those of every node.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatHostOptions {
    /// Bytes of this struct; set by dig_nat_host_options_init.
    pub size: usize,
    /// Directory whose files are shared at start, recursively. Default NULL: none.
    pub directory: *const c_char,
    /// Peers served at once (one of them the optimistic choice) while more want data. Default 4, range 1 to 1000.
    pub upload_slots: u32,
    /// Bytes per chunk for content that is not a file. Default 65536, range 1024 to 16777216.
    pub chunk_size: u32,
}

/// Options of a client or manager beyond those of every node.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatClientOptions {
    /// Bytes of this struct; set by dig_nat_client_options_init.
    pub size: usize,
    /// Directory for downloads that are given no path. Default NULL: the current directory.
    pub download_dir: *const c_char,
    /// Time for the first answer of a peer, in ms. Default 30000, range 100 to 3600000.
    pub request_timeout_ms: u64,
    /// Keep looking for further peers while a download runs. Default on.
    pub enable_continuous_discovery: DigNatSwitch,
    /// Peers one download uses at once. Default 10, range 1 to 500.
    pub max_peers: u32,
}

/// Options of one download.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatDownloadOptions {
    /// Bytes of this struct; set by dig_nat_download_options_init.
    pub size: usize,
    /// Target file. Default NULL: output_dir and the name the peers offer, made safe, else the hash.
    pub save_path: *const c_char,
    /// Target directory when save_path is NULL. Default NULL: the client's download_dir.
    pub output_dir: *const c_char,
    /// Peers to ask: "host:port", multiaddr, or peer id. Default NULL: discovery finds them.
    pub peers: *const *const c_char,
    /// How many peers.
    pub peers_count: usize,
    /// Peers used at once. Default 0: the client's max_peers. Range 1 to 500.
    pub max_peers: u32,
    /// Give up when no peer that has the content was found for so long, in ms. Default 30000, range 1 to 86400000.
    pub timeout_ms: u64,
    /// Search for peers besides those given. Default: the client's enable_continuous_discovery.
    pub discover: DigNatSwitch,
    /// Download limit in bytes per second. Default 0: none.
    pub download_limit: u64,
    /// Serve pieces to others while downloading. Default on; a light node never does.
    pub share_while_downloading: DigNatSwitch,
    /// Replace an existing target file whose content differs. Default on.
    pub overwrite: DigNatSwitch,
}

/// Options of adding a file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatAddFileOptions {
    /// Bytes of this struct; set by dig_nat_add_file_options_init.
    pub size: usize,
    /// Readable id under which the file can also be found. Default NULL: none.
    pub content_id: *const c_char,
}

/// Options of a search for peers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatFindOptions {
    /// Bytes of this struct; set by dig_nat_find_options_init.
    pub size: usize,
    /// Stop after so many peers. Default 50, range 1 to 1000.
    pub max_peers: u32,
    /// Time of the search in ms. Default 5000, range 1 to 3600000.
    pub timeout_ms: u64,
}

// SAFETY: plain C structs of integers and pointers, the size first.
unsafe impl Sized1st for DigNatNodeOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatHostOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatClientOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatDownloadOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatAddFileOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatFindOptions {}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_node_options_init(options: *mut DigNatNodeOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_host_options_init(options: *mut DigNatHostOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_client_options_init(options: *mut DigNatClientOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_download_options_init(options: *mut DigNatDownloadOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_add_file_options_init(options: *mut DigNatAddFileOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_find_options_init(options: *mut DigNatFindOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

pub(crate) unsafe fn node(options: *const DigNatNodeOptions) -> Result<NodeOptions> {
    // SAFETY: by contract NULL or a struct with its size, and what it points to lives as long as the call.
    unsafe {
        let c = argument::options(options, "node options")?;
        let mut node = NodeOptions { port: c.port, ..NodeOptions::default() };
        switch(&mut node.enable_ipv6, c.enable_ipv6, "enable_ipv6")?;
        switch(&mut node.enable_tcp, c.enable_tcp, "enable_tcp")?;
        switch(&mut node.enable_udp, c.enable_udp, "enable_udp")?;
        switch(&mut node.local_enabled, c.local_enabled, "local_enabled")?;
        switch(&mut node.local_only, c.local_only, "local_only")?;
        if c.interfaces_count > 0 {
            node.interfaces = argument::texts(c.interfaces, c.interfaces_count, "interfaces")?;
        }
        node.persistence_dir = directory(c.persistence_dir, "persistence_dir")?;
        switch(&mut node.enable_persistence, c.enable_persistence, "enable_persistence")?;
        number(&mut node.max_connections, c.max_connections);
        number(&mut node.upload_limit, c.upload_limit);
        number(&mut node.download_limit, c.download_limit);
        number(&mut node.peer_upload_limit, c.peer_upload_limit);
        number(&mut node.peer_download_limit, c.peer_download_limit);
        switch(&mut node.light_node, c.light_node, "light_node")?;
        checked(node)
    }
}

pub(crate) unsafe fn host(options: *const DigNatHostOptions) -> Result<HostOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "host options")?;
        let mut host = HostOptions { directory: directory(c.directory, "directory")?, ..HostOptions::default() };
        number(&mut host.upload_slots, c.upload_slots);
        number(&mut host.chunk_size, c.chunk_size);
        checked(host)
    }
}

pub(crate) unsafe fn client(options: *const DigNatClientOptions) -> Result<ClientOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "client options")?;
        let mut client = ClientOptions::default();
        if let Some(download_dir) = directory(c.download_dir, "download_dir")? {
            client.download_dir = download_dir;
        }
        number(&mut client.request_timeout_ms, c.request_timeout_ms);
        switch(&mut client.enable_continuous_discovery, c.enable_continuous_discovery, "enable_continuous_discovery")?;
        number(&mut client.max_peers, c.max_peers as usize);
        checked(client)
    }
}

pub(crate) unsafe fn download(options: *const DigNatDownloadOptions) -> Result<DownloadOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "download options")?;
        let mut download = DownloadOptions {
            save_path: directory(c.save_path, "save_path")?,
            output_dir: directory(c.output_dir, "output_dir")?,
            peers: argument::texts(c.peers, c.peers_count, "peers")?,
            max_peers: (c.max_peers != 0).then_some(c.max_peers as usize),
            discover: choice(c.discover, "discover")?,
            ..DownloadOptions::default()
        };
        number(&mut download.timeout_ms, c.timeout_ms);
        number(&mut download.download_limit, c.download_limit);
        switch(&mut download.share_while_downloading, c.share_while_downloading, "share_while_downloading")?;
        switch(&mut download.overwrite, c.overwrite, "overwrite")?;
        checked(download)
    }
}

pub(crate) unsafe fn add_file(options: *const DigNatAddFileOptions) -> Result<AddFileOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "add file options")?;
        checked(AddFileOptions { content_id: argument::optional_text(c.content_id, "content_id")?.map(str::to_owned) })
    }
}

pub(crate) unsafe fn find(options: *const DigNatFindOptions) -> Result<FindOptions> {
    // SAFETY: as in `node`.
    unsafe {
        let c = argument::options(options, "find options")?;
        let mut find = FindOptions::default();
        number(&mut find.max_peers, c.max_peers as usize);
        number(&mut find.timeout_ms, c.timeout_ms);
        checked(find)
    }
}

fn checked<T: FromJson>(options: T) -> Result<T> {
    options.validate()?;
    Ok(options)
}

fn choice(value: DigNatSwitch, name: &str) -> Result<Option<bool>> {
    match value {
        DIG_NAT_SWITCH_DEFAULT => Ok(None),
        DIG_NAT_SWITCH_ON => Ok(Some(true)),
        DIG_NAT_SWITCH_OFF => Ok(Some(false)),
        other => Err(dig_nat_core::Error::invalid(name, format_args!("{other} is not a DIG_NAT_SWITCH_ number"))),
    }
}

fn switch(option: &mut bool, value: DigNatSwitch, name: &str) -> Result<()> {
    if let Some(value) = choice(value, name)? {
        *option = value;
    }
    Ok(())
}

fn number<T: Default + PartialEq>(option: &mut T, value: T) {
    if value != T::default() {
        *option = value;
    }
}

unsafe fn directory(pointer: *const c_char, name: &str) -> Result<Option<PathBuf>> {
    // SAFETY: handed on.
    let text = unsafe { argument::optional_text(pointer, name) }?;
    Ok(text.filter(|text| !text.is_empty()).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_initialised_options_are_cores_defaults() {
        // SAFETY: NULL or initialised structs.
        unsafe {
            let mut c = std::mem::MaybeUninit::<DigNatNodeOptions>::uninit();
            dig_nat_node_options_init(c.as_mut_ptr(), size_of::<DigNatNodeOptions>());
            assert_eq!(node(c.as_ptr()).expect("valid"), NodeOptions::default());
            assert_eq!(node(std::ptr::null()).expect("valid"), NodeOptions::default());
            assert_eq!(host(std::ptr::null()).expect("valid"), HostOptions::default());
            assert_eq!(client(std::ptr::null()).expect("valid"), ClientOptions::default());
            assert_eq!(download(std::ptr::null()).expect("valid"), DownloadOptions::default());
            assert_eq!(add_file(std::ptr::null()).expect("valid"), AddFileOptions::default());
            assert_eq!(find(std::ptr::null()).expect("valid"), FindOptions::default());
        }
    }

    #[test]
    fn every_field_arrives() {
        let interface = c"lo".as_ptr();
        let c = DigNatNodeOptions {
            size: size_of::<DigNatNodeOptions>(),
            port: 1,
            enable_ipv6: DIG_NAT_SWITCH_ON,
            enable_tcp: DIG_NAT_SWITCH_OFF,
            enable_udp: DIG_NAT_SWITCH_ON,
            local_enabled: DIG_NAT_SWITCH_OFF,
            local_only: DIG_NAT_SWITCH_OFF,
            interfaces: &raw const interface,
            interfaces_count: 1,
            persistence_dir: c"state".as_ptr(),
            enable_persistence: DIG_NAT_SWITCH_ON,
            max_connections: 2,
            upload_limit: 3,
            download_limit: 4,
            peer_upload_limit: 5,
            peer_download_limit: 6,
            light_node: DIG_NAT_SWITCH_ON,
        };
        let expected = NodeOptions {
            port: 1,
            enable_ipv6: true,
            enable_tcp: false,
            enable_udp: true,
            local_enabled: false,
            local_only: false,
            interfaces: vec!["lo".into()],
            persistence_dir: Some("state".into()),
            enable_persistence: true,
            max_connections: 2,
            upload_limit: 3,
            download_limit: 4,
            peer_upload_limit: 5,
            peer_download_limit: 6,
            light_node: true,
        };
        // SAFETY: a complete struct.
        assert_eq!(unsafe { node(&raw const c) }.expect("valid"), expected);
        let wrong = DigNatNodeOptions { enable_tcp: 7, ..c };
        // SAFETY: a complete struct.
        let error = unsafe { node(&raw const wrong) }.expect_err("7 is no switch");
        assert!(error.to_string().starts_with("enable_tcp"), "{error}");

        let peer = c"127.0.0.1:1".as_ptr();
        let c = DigNatDownloadOptions {
            size: size_of::<DigNatDownloadOptions>(),
            save_path: c"a".as_ptr(),
            output_dir: c"b".as_ptr(),
            peers: &raw const peer,
            peers_count: 1,
            max_peers: 2,
            timeout_ms: 3,
            discover: DIG_NAT_SWITCH_OFF,
            download_limit: 4,
            share_while_downloading: DIG_NAT_SWITCH_OFF,
            overwrite: DIG_NAT_SWITCH_OFF,
        };
        let expected = DownloadOptions {
            save_path: Some("a".into()),
            output_dir: Some("b".into()),
            peers: vec!["127.0.0.1:1".into()],
            max_peers: Some(2),
            timeout_ms: 3,
            discover: Some(false),
            download_limit: 4,
            share_while_downloading: false,
            overwrite: false,
        };
        // SAFETY: a complete struct.
        assert_eq!(unsafe { download(&raw const c) }.expect("valid"), expected);
    }
}
