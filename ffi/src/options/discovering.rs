//! The options of announcing and of asking who is known, and their way to core's. Not here: defaults and ranges, which are
//! core's.

use std::ffi::c_char;

use dig_nat_core::Result;
use dig_nat_core::base::options::{AnnounceOptions, KnownPeersOptions, NodeOptions};

use super::{DigNatNodeOptions, checked, number, text};
use crate::argument::{self, Sized1st};

/// Options of announcing a content.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatAnnounceOptions {
    /// Bytes of this struct; set by dig_nat_announce_options_init.
    pub size: usize,
    /// Port of the host in this process that has the content. Default 0: the object that is asked to announce.
    pub port: u16,
    /// Readable id under which it is announced too. Default NULL: none.
    pub content_id: *const c_char,
    /// "high": everywhere, "medium": local network, hash table and connected peers, "low": only the local network. Default
    /// NULL: "high".
    pub priority: *const c_char,
    /// How long it is announced, in ms; after that it is taken back, unless it was announced again. It ends with the stop
    /// too. Default 0: until it is taken back. Range 1000 to 31536000000.
    pub ttl_ms: u64,
}

/// Options of asking who is known.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatKnownPeersOptions {
    /// Bytes of this struct; set by dig_nat_known_peers_options_init.
    pub size: usize,
    /// Only peers that may have this hash or readable id. Default NULL: all.
    pub key: *const c_char,
    /// Only peers found in this way: "manual", "local", "gun", "dht" or "pex". Default NULL: all.
    pub source: *const c_char,
}

// SAFETY: a plain C struct of integers and pointers, the size first.
unsafe impl Sized1st for DigNatAnnounceOptions {}
// SAFETY: a plain C struct of integers and pointers, the size first.
unsafe impl Sized1st for DigNatKnownPeersOptions {}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_announce_options_init(options: *mut DigNatAnnounceOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_known_peers_options_init(options: *mut DigNatKnownPeersOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

pub(crate) unsafe fn announce(options: *const DigNatAnnounceOptions) -> Result<AnnounceOptions> {
    // SAFETY: by contract NULL or a struct with its size, and what it points to lives as long as the call.
    unsafe {
        let c = argument::options(options, "announce options")?;
        let content_id = argument::optional_text(c.content_id, "content_id")?.map(str::to_owned);
        let mut announce = AnnounceOptions { content_id, ..AnnounceOptions::default() };
        number(&mut announce.port, c.port);
        text(&mut announce.priority, c.priority, "priority")?;
        announce.ttl_ms = (c.ttl_ms != 0).then_some(c.ttl_ms);
        checked(announce)
    }
}

pub(crate) unsafe fn known_peers(options: *const DigNatKnownPeersOptions) -> Result<KnownPeersOptions> {
    // SAFETY: by contract NULL or a struct with its size, and what it points to lives as long as the call.
    unsafe {
        let c = argument::options(options, "known peers options")?;
        let text = |pointer, name| argument::optional_text(pointer, name).map(|text| text.map(str::to_owned));
        checked(KnownPeersOptions { key: text(c.key, "key")?, source: text(c.source, "source")? })
    }
}

/// The options of a node that concern Gun, what it remembers, and its own address.
pub(super) unsafe fn node(node: &mut NodeOptions, c: &DigNatNodeOptions) -> Result<()> {
    // SAFETY: by contract what the struct points to lives as long as the call.
    unsafe {
        let optional = |pointer, name| argument::optional_text(pointer, name).map(|text| text.map(str::to_owned));
        node.gun_node_id = optional(c.gun_node_id, "gun_node_id")?;
        node.gun_namespace = optional(c.gun_namespace, "gun_namespace")?;
        text(&mut node.gun_peer_map_name, c.gun_peer_map_name, "gun_peer_map_name")?;
        text(&mut node.gun_content_map_name, c.gun_content_map_name, "gun_content_map_name")?;
        number(&mut node.gun_announce_interval_ms, c.gun_announce_interval_ms);
        number(&mut node.gun_announce_ttl_ms, c.gun_announce_ttl_ms);
        number(&mut node.gun_peer_ttl_ms, c.gun_peer_ttl_ms);
        number(&mut node.gun_cleanup_interval_ms, c.gun_cleanup_interval_ms);
        number(&mut node.gun_max_cached_peers, c.gun_max_cached_peers);
        number(&mut node.max_known_peers, c.max_known_peers);
        number(&mut node.max_cached_hashes, c.max_cached_hashes);
        number(&mut node.max_cached_peers_per_hash, c.max_cached_peers_per_hash);
        node.external_ip = optional(c.external_ip, "external_ip")?;
        number(&mut node.external_port, c.external_port);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_initialised_options_are_cores_defaults() {
        let mut a = std::mem::MaybeUninit::<DigNatAnnounceOptions>::uninit();
        let mut k = std::mem::MaybeUninit::<DigNatKnownPeersOptions>::uninit();
        // SAFETY: NULL or an initialised struct.
        unsafe {
            dig_nat_announce_options_init(a.as_mut_ptr(), size_of::<DigNatAnnounceOptions>());
            dig_nat_known_peers_options_init(k.as_mut_ptr(), size_of::<DigNatKnownPeersOptions>());
            for options in [a.as_ptr(), std::ptr::null()] {
                assert_eq!(announce(options).expect("valid"), AnnounceOptions::default());
            }
            for options in [k.as_ptr(), std::ptr::null()] {
                assert_eq!(known_peers(options).expect("valid"), KnownPeersOptions::default());
            }
        }
    }

    #[test]
    fn every_field_arrives() {
        let (id, low, hash, dht) = (c"an id".as_ptr(), c"low".as_ptr(), c"a key".as_ptr(), c"dht".as_ptr());
        let a = DigNatAnnounceOptions {
            size: size_of::<DigNatAnnounceOptions>(),
            port: 7,
            content_id: id,
            priority: low,
            ttl_ms: 5000,
        };
        let (content_id, priority) = (Some("an id".into()), "low".into());
        let expected = AnnounceOptions { port: 7, content_id, priority, ttl_ms: Some(5000) };
        // SAFETY: a complete struct.
        assert_eq!(unsafe { announce(&raw const a) }.expect("valid"), expected);
        let wrong = DigNatAnnounceOptions { priority: dht, ..a };
        // SAFETY: a complete struct.
        let error = unsafe { announce(&raw const wrong) }.expect_err("no priority");
        assert!(error.to_string().contains("priority"), "{error}");
        let k = DigNatKnownPeersOptions { size: size_of::<DigNatKnownPeersOptions>(), key: hash, source: dht };
        let expected = KnownPeersOptions { key: Some("a key".into()), source: Some("dht".into()) };
        // SAFETY: a complete struct.
        assert_eq!(unsafe { known_peers(&raw const k) }.expect("valid"), expected);
    }
}
