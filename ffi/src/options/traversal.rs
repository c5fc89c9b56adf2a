//! The options structs of hole punching, TURN, ICE and the registry. Not here: those of nodes (`options`).

use std::collections::BTreeMap;
use std::ffi::c_char;

use dig_nat_core::base::options::{
    IceOptions, PunchOptions, RegistryOptions, SaveConnectionOptions, TurnOptions, TurnServerOption,
};
use dig_nat_core::{Error, Result};

use super::{DigNatSwitch, checked, directory, number, switch};
use crate::argument::{self, Sized1st};

/// A hole to be punched, to a known endpoint or to a peer that is met at Gun relays.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatPunchOptions {
    /// Bytes of this struct; set by dig_nat_punch_options_init.
    pub size: usize,
    /// The peer's endpoint, "host:port", as the internet sees it. Default NULL: none, both sides tell each other at the
    /// relays of gun_peers.
    pub remote_endpoint: *const c_char,
    /// Our address and port, "host:port", to punch from. Default NULL: any address and local_port.
    pub local_endpoint: *const c_char,
    /// Our port when local_endpoint is not given. Default 0: a free one.
    pub local_port: u16,
    /// Our possible ports: the first free one is used. Default NULL: local_port.
    pub local_ports: *const u16,
    /// How many possible ports.
    pub local_ports_count: usize,
    /// Secret text that both sides know. Without one, anybody at the peer's address can pretend to be the peer. Default
    /// NULL: none.
    pub key: *const c_char,
    /// Time for the attempt in ms; the peer has to try within it. Default 10000, range 100 to 120000.
    pub timeout_ms: u64,
    /// Our name, any text. Both names are needed with gun_peers, the peer gives them the other way round. Default NULL:
    /// none.
    pub local_id: *const c_char,
    /// The peer's name. Default NULL: none.
    pub remote_id: *const c_char,
    /// URLs of Gun relays to meet the peer at. Without a key, whoever knows both names can take the peer's place. Default
    /// NULL: none.
    pub gun_peers: *const *const c_char,
    /// How many Gun relays.
    pub gun_peers_count: usize,
    /// STUN servers ("host:port" or "stun:host:port") that tell us our endpoint, with gun_peers. Default NULL: three public
    /// ones, or none when local_only is on.
    pub stun_servers: *const *const c_char,
    /// How many STUN servers.
    pub stun_servers_count: usize,
    /// Punch over IPv6 as well, with gun_peers. Default off.
    pub enable_ipv6: DigNatSwitch,
    /// Try private and loopback addresses that the peer names: for peers in one network or on one machine. Default off.
    pub allow_private: DigNatSwitch,
    /// Ask no STUN server that was not named. Default off, or on when the environment variable DIG_NAT_LOCAL_ONLY is 1.
    pub local_only: DigNatSwitch,
}

/// A TURN server in the form of WebRTC. It has no size field and will not grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatTurnServer {
    /// "turn:host[:port][?transport=tcp]", "turns:host[:port]" or "host[:port]".
    pub url: *const c_char,
    /// User name. NULL for none.
    pub username: *const c_char,
    /// Password. NULL for none.
    pub credential: *const c_char,
}

/// An address that a TURN server relays from.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatTurnOptions {
    /// Bytes of this struct; set by dig_nat_turn_options_init.
    pub size: usize,
    /// The server: "turn:host[:port][?transport=tcp]", "turns:host[:port]" or "host[:port]". Default NULL: this or
    /// turn_servers has to be given.
    pub turn_server: *const c_char,
    /// User name at turn_server. Default NULL: none.
    pub turn_username: *const c_char,
    /// Password at turn_server. Default NULL: none.
    pub turn_password: *const c_char,
    /// Further servers, asked one after the other. Default NULL: none.
    pub turn_servers: *const DigNatTurnServer,
    /// How many further servers.
    pub turn_servers_count: usize,
    /// How servers are reached: "UDP", "TCP" or "TLS". Default NULL: what their URLs say, else UDP.
    pub protocol: *const c_char,
    /// Port of servers that are named without one. Default 0: 3478, or 5349 for TLS.
    pub turn_port: u16,
    /// Certificates (PEM) trusted for TLS instead of the system's. Default NULL: none.
    pub root_certificates: *const c_char,
    /// Lifetime asked for, in seconds; prolonged as long as the allocation is held. Default 600, range 1 to 3600.
    pub lifetime_s: u32,
    /// Time to allocate in ms, for each server. Default 10000, range 100 to 120000.
    pub timeout_ms: u64,
}

/// A connection by ICE.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatIceOptions {
    /// Bytes of this struct; set by dig_nat_ice_options_init.
    pub size: usize,
    /// Our name; of two sides that give both names the one with the greater name controls. Default NULL: none.
    pub local_id: *const c_char,
    /// The peer's name. Default NULL: none.
    pub remote_id: *const c_char,
    /// STUN servers ("host:port" or "stun:host:port"). Default NULL: three public ones, or none when local_only is on.
    pub stun_servers: *const *const c_char,
    /// How many STUN servers.
    pub stun_servers_count: usize,
    /// A TURN server whose relayed address is a candidate. Default NULL: none.
    pub turn_server: *const c_char,
    /// User name at turn_server. Default NULL: none.
    pub turn_username: *const c_char,
    /// Password at turn_server. Default NULL: none.
    pub turn_password: *const c_char,
    /// TURN servers; the first one of all is used. Default NULL: none.
    pub turn_servers: *const DigNatTurnServer,
    /// How many TURN servers.
    pub turn_servers_count: usize,
    /// Our UDP port. Default 0: a free one.
    pub local_port: u16,
    /// Gather IPv6 candidates as well. Default off.
    pub enable_ipv6: DigNatSwitch,
    /// Check private and loopback addresses that the peer names: for peers in one network or on one machine. Default off.
    pub allow_private: DigNatSwitch,
    /// Ask no STUN server that was not named. Default off, or on when the environment variable DIG_NAT_LOCAL_ONLY is 1.
    pub local_only: DigNatSwitch,
    /// Time until a pair works in ms. Default 15000, range 100 to 120000.
    pub timeout_ms: u64,
    /// URLs of Gun relays to meet the peer at; both names are needed then, the peer gives them the other way round. Default
    /// NULL: none.
    pub gun_peers: *const *const c_char,
    /// How many Gun relays.
    pub gun_peers_count: usize,
    /// Secret text that both sides know. Without one, whoever knows both names can take the peer's place in a Gun graph.
    /// Default NULL: none.
    pub key: *const c_char,
}

/// Where the connection registry is kept.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatRegistryOptions {
    /// Bytes of this struct; set by dig_nat_registry_options_init.
    pub size: usize,
    /// Its directory, made when it is missing. Default NULL: .dig-nat-tools/registry in the home directory.
    pub registry_dir: *const c_char,
}

/// What is remembered of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatSaveConnectionOptions {
    /// Bytes of this struct; set by dig_nat_save_connection_options_init.
    pub size: usize,
    /// The peer's address that worked. Default NULL: none.
    pub address: *const c_char,
    /// Its port. Default 0: none.
    pub port: u16,
    /// Up to 8 notes as a JSON object; what is not text is kept as its JSON. Default NULL: none.
    pub metadata: *const c_char,
}

// SAFETY: plain C structs of integers and pointers, the size first.
unsafe impl Sized1st for DigNatPunchOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatTurnOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatIceOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatRegistryOptions {}
// SAFETY: as above.
unsafe impl Sized1st for DigNatSaveConnectionOptions {}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_punch_options_init(options: *mut DigNatPunchOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_turn_options_init(options: *mut DigNatTurnOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_ice_options_init(options: *mut DigNatIceOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_registry_options_init(options: *mut DigNatRegistryOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_save_connection_options_init(options: *mut DigNatSaveConnectionOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

pub(crate) unsafe fn punch(options: *const DigNatPunchOptions) -> Result<PunchOptions> {
    // SAFETY: by contract NULL or a struct with its size, and what it points to lives as long as the call.
    unsafe {
        let c = argument::options(options, "punch options")?;
        let mut punch = PunchOptions {
            remote_endpoint: argument::optional_text(c.remote_endpoint, "remote_endpoint")?
                .unwrap_or_default()
                .to_owned(),
            local_endpoint: argument::optional_text(c.local_endpoint, "local_endpoint")?.unwrap_or_default().to_owned(),
            local_port: c.local_port,
            local_ports: argument::items(c.local_ports, c.local_ports_count, "local_ports")?.to_vec(),
            key: owned(c.key, "key")?,
            local_id: owned(c.local_id, "local_id")?,
            remote_id: owned(c.remote_id, "remote_id")?,
            gun_peers: argument::texts(c.gun_peers, c.gun_peers_count, "gun_peers")?,
            stun_servers: argument::texts(c.stun_servers, c.stun_servers_count, "stun_servers")?,
            ..PunchOptions::default()
        };
        switch(&mut punch.enable_ipv6, c.enable_ipv6, "enable_ipv6")?;
        switch(&mut punch.allow_private, c.allow_private, "allow_private")?;
        switch(&mut punch.local_only, c.local_only, "local_only")?;
        number(&mut punch.timeout_ms, c.timeout_ms);
        checked(punch)
    }
}

pub(crate) unsafe fn turn(options: *const DigNatTurnOptions) -> Result<TurnOptions> {
    // SAFETY: as in `punch`.
    unsafe {
        let c = argument::options(options, "TURN options")?;
        let mut turn = TurnOptions {
            turn_server: owned(c.turn_server, "turn_server")?,
            turn_username: owned(c.turn_username, "turn_username")?,
            turn_password: owned(c.turn_password, "turn_password")?,
            turn_servers: servers(c.turn_servers, c.turn_servers_count)?,
            protocol: owned(c.protocol, "protocol")?,
            turn_port: (c.turn_port != 0).then_some(c.turn_port),
            root_certificates: owned(c.root_certificates, "root_certificates")?,
            ..TurnOptions::default()
        };
        number(&mut turn.lifetime_s, c.lifetime_s);
        number(&mut turn.timeout_ms, c.timeout_ms);
        checked(turn)
    }
}

pub(crate) unsafe fn ice(options: *const DigNatIceOptions) -> Result<IceOptions> {
    // SAFETY: as in `punch`.
    unsafe {
        let c = argument::options(options, "ICE options")?;
        let mut ice = IceOptions {
            local_id: owned(c.local_id, "local_id")?,
            remote_id: owned(c.remote_id, "remote_id")?,
            stun_servers: argument::texts(c.stun_servers, c.stun_servers_count, "stun_servers")?,
            turn_server: owned(c.turn_server, "turn_server")?,
            turn_username: owned(c.turn_username, "turn_username")?,
            turn_password: owned(c.turn_password, "turn_password")?,
            turn_servers: servers(c.turn_servers, c.turn_servers_count)?,
            local_port: c.local_port,
            gun_peers: argument::texts(c.gun_peers, c.gun_peers_count, "gun_peers")?,
            key: owned(c.key, "key")?,
            ..IceOptions::default()
        };
        switch(&mut ice.enable_ipv6, c.enable_ipv6, "enable_ipv6")?;
        switch(&mut ice.allow_private, c.allow_private, "allow_private")?;
        switch(&mut ice.local_only, c.local_only, "local_only")?;
        number(&mut ice.timeout_ms, c.timeout_ms);
        checked(ice)
    }
}

pub(crate) unsafe fn registry(options: *const DigNatRegistryOptions) -> Result<RegistryOptions> {
    // SAFETY: as in `punch`.
    unsafe {
        let c = argument::options(options, "registry options")?;
        checked(RegistryOptions { registry_dir: directory(c.registry_dir, "registry_dir")? })
    }
}

pub(crate) unsafe fn save_connection(options: *const DigNatSaveConnectionOptions) -> Result<SaveConnectionOptions> {
    // SAFETY: as in `punch`.
    unsafe {
        let c = argument::options(options, "save connection options")?;
        let metadata = match argument::optional_text(c.metadata, "metadata")? {
            Some(json) => serde_json::from_str(json).map_err(|error| Error::invalid("metadata", error))?,
            None => BTreeMap::new(),
        };
        let address = owned(c.address, "address")?;
        checked(SaveConnectionOptions { address, port: (c.port != 0).then_some(c.port), metadata })
    }
}

pub(super) unsafe fn servers(servers: *const DigNatTurnServer, count: usize) -> Result<Vec<TurnServerOption>> {
    // SAFETY: by contract an array of `count` structs of texts.
    unsafe {
        let servers = argument::items(servers, count, "turn_servers")?;
        let read = |server: &DigNatTurnServer| {
            let urls = vec![argument::text(server.url, "turn_servers")?.to_owned()];
            let username = owned(server.username, "turn_servers")?;
            Ok(TurnServerOption { urls, username, credential: owned(server.credential, "turn_servers")? })
        };
        servers.iter().map(read).collect()
    }
}

unsafe fn owned(pointer: *const c_char, name: &str) -> Result<Option<String>> {
    // SAFETY: handed on.
    Ok(unsafe { argument::optional_text(pointer, name) }?.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{DIG_NAT_SWITCH_OFF, DIG_NAT_SWITCH_ON};

    #[test]
    fn null_is_cores_defaults() {
        // SAFETY: NULL.
        unsafe {
            assert_eq!(punch(std::ptr::null()).expect("valid"), PunchOptions::default());
            assert_eq!(turn(std::ptr::null()).expect("valid"), TurnOptions::default());
            assert_eq!(ice(std::ptr::null()).expect("valid"), IceOptions::default());
            assert_eq!(registry(std::ptr::null()).expect("valid"), RegistryOptions::default());
            assert_eq!(save_connection(std::ptr::null()).expect("valid"), SaveConnectionOptions::default());
        }
    }

    #[test]
    fn every_field_arrives() {
        let text = |text: &str| Some(text.to_owned());
        let (url, user, word) = (c"turn:b".as_ptr(), c"u".as_ptr(), c"p".as_ptr());
        let server = DigNatTurnServer { url, username: user, credential: word };
        let servers =
            vec![TurnServerOption { urls: vec!["turn:b".into()], username: text("u"), credential: text("p") }];
        let ports = [1_u16, 2];
        let (gun, stun) = ([c"ws://g".as_ptr()], [c"s:1".as_ptr()]);
        let c = DigNatPunchOptions {
            size: size_of::<DigNatPunchOptions>(),
            remote_endpoint: c"a:1".as_ptr(),
            local_endpoint: c"b:2".as_ptr(),
            local_port: 3,
            local_ports: ports.as_ptr(),
            local_ports_count: 2,
            key: c"k".as_ptr(),
            timeout_ms: 400,
            local_id: c"us".as_ptr(),
            remote_id: c"them".as_ptr(),
            gun_peers: gun.as_ptr(),
            gun_peers_count: 1,
            stun_servers: stun.as_ptr(),
            stun_servers_count: 1,
            enable_ipv6: DIG_NAT_SWITCH_ON,
            allow_private: DIG_NAT_SWITCH_ON,
            local_only: DIG_NAT_SWITCH_ON,
        };
        let expected = PunchOptions {
            remote_endpoint: "a:1".into(),
            local_endpoint: "b:2".into(),
            local_port: 3,
            local_ports: vec![1, 2],
            key: text("k"),
            timeout_ms: 400,
            local_id: text("us"),
            remote_id: text("them"),
            gun_peers: vec!["ws://g".into()],
            stun_servers: vec!["s:1".into()],
            enable_ipv6: true,
            allow_private: true,
            local_only: true,
        };
        // SAFETY: a complete struct, here and below.
        assert_eq!(unsafe { punch(&raw const c) }.expect("valid"), expected);
        let c = DigNatTurnOptions {
            size: size_of::<DigNatTurnOptions>(),
            turn_server: c"turn:a".as_ptr(),
            turn_username: user,
            turn_password: word,
            turn_servers: &raw const server,
            turn_servers_count: 1,
            protocol: c"TCP".as_ptr(),
            turn_port: 1,
            root_certificates: c"PEM".as_ptr(),
            lifetime_s: 2,
            timeout_ms: 300,
        };
        let expected = TurnOptions {
            turn_server: text("turn:a"),
            turn_username: text("u"),
            turn_password: text("p"),
            turn_servers: servers.clone(),
            protocol: text("TCP"),
            turn_port: Some(1),
            root_certificates: text("PEM"),
            lifetime_s: 2,
            timeout_ms: 300,
        };
        // SAFETY: as above.
        assert_eq!(unsafe { turn(&raw const c) }.expect("valid"), expected);
        let stun = c"s".as_ptr();
        let c = DigNatIceOptions {
            size: size_of::<DigNatIceOptions>(),
            local_id: c"x".as_ptr(),
            remote_id: c"y".as_ptr(),
            stun_servers: &raw const stun,
            stun_servers_count: 1,
            turn_server: c"turn:a".as_ptr(),
            turn_username: user,
            turn_password: word,
            turn_servers: &raw const server,
            turn_servers_count: 1,
            local_port: 1,
            enable_ipv6: DIG_NAT_SWITCH_ON,
            allow_private: DIG_NAT_SWITCH_ON,
            local_only: DIG_NAT_SWITCH_OFF,
            timeout_ms: 200,
            gun_peers: gun.as_ptr(),
            gun_peers_count: 1,
            key: c"k".as_ptr(),
        };
        let expected = IceOptions {
            local_id: text("x"),
            remote_id: text("y"),
            stun_servers: vec!["s".into()],
            turn_server: text("turn:a"),
            turn_username: text("u"),
            turn_password: text("p"),
            turn_servers: servers,
            local_port: 1,
            enable_ipv6: true,
            allow_private: true,
            local_only: false,
            timeout_ms: 200,
            gun_peers: vec!["ws://g".into()],
            key: text("k"),
        };
        // SAFETY: as above.
        assert_eq!(unsafe { ice(&raw const c) }.expect("valid"), expected);
        let mut c = DigNatSaveConnectionOptions {
            size: size_of::<DigNatSaveConnectionOptions>(),
            address: c"a".as_ptr(),
            port: 1,
            metadata: c"{\"n\": 2}".as_ptr(),
        };
        // SAFETY: as above.
        let read = unsafe { save_connection(&raw const c) }.expect("valid");
        assert_eq!((read.address, read.port, read.metadata["n"].as_u64()), (text("a"), Some(1), Some(2)));
        c.metadata = c"[]".as_ptr();
        // SAFETY: as above.
        let error = unsafe { save_connection(&raw const c) }.expect_err("no object");
        assert!(error.to_string().starts_with("metadata"), "{error}");
    }
}
