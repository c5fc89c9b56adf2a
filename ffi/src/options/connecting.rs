//! The options of reaching one peer and their way to core's. Not here: defaults and ranges, which are core's.

use std::ffi::c_char;

use dig_nat_core::Result;
use dig_nat_core::base::options::ConnectOptions;

use super::{DigNatSwitch, checked, number, switch};
use crate::argument::{self, Sized1st};

/// Options of connecting to one peer by whatever way works.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatConnectOptions {
    /// Bytes of this struct; set by dig_nat_connect_options_init.
    pub size: usize,
    /// Where the peer may be, besides what is known of it: multiaddrs or "host:port". Default NULL: none.
    pub addresses: *const *const c_char,
    /// How many addresses.
    pub addresses_count: usize,
    /// Only these ways, in this order, e.g. "direct", "upnp", "udp-hole-punch", "tcp-hole-punch", "ice", "turn", "relay".
    /// Default NULL: all ways, in the order that is usually fastest.
    pub preferred_methods: *const *const c_char,
    /// How many ways.
    pub preferred_methods_count: usize,
    /// Time until a first connection stands, in ms. Default 30000, range 100 to 600000.
    pub timeout_ms: u64,
    /// Remember what worked and try it first the next time. Default on.
    pub save_to_registry: DigNatSwitch,
}

// SAFETY: a plain C struct of integers and pointers, the size first.
unsafe impl Sized1st for DigNatConnectOptions {}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_connect_options_init(options: *mut DigNatConnectOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

pub(crate) unsafe fn connecting(options: *const DigNatConnectOptions) -> Result<ConnectOptions> {
    // SAFETY: by contract NULL or a struct with its size, and what it points to lives as long as the call.
    unsafe {
        let c = argument::options(options, "connect options")?;
        let mut connect = ConnectOptions {
            addresses: argument::texts(c.addresses, c.addresses_count, "addresses")?,
            preferred_methods: argument::texts(c.preferred_methods, c.preferred_methods_count, "preferred_methods")?,
            ..ConnectOptions::default()
        };
        number(&mut connect.timeout_ms, c.timeout_ms);
        switch(&mut connect.save_to_registry, c.save_to_registry, "save_to_registry")?;
        checked(connect)
    }
}

#[cfg(test)]
mod tests {
    use super::super::DIG_NAT_SWITCH_OFF;
    use super::*;

    #[test]
    fn null_and_initialised_options_are_cores_defaults() {
        let mut c = std::mem::MaybeUninit::<DigNatConnectOptions>::uninit();
        // SAFETY: NULL or an initialised struct.
        unsafe {
            dig_nat_connect_options_init(c.as_mut_ptr(), size_of::<DigNatConnectOptions>());
            assert_eq!(connecting(c.as_ptr()).expect("valid"), ConnectOptions::default());
            assert_eq!(connecting(std::ptr::null()).expect("valid"), ConnectOptions::default());
        }
    }

    #[test]
    fn every_field_arrives() {
        let address = c"127.0.0.1:1".as_ptr();
        let methods = [c"ice".as_ptr(), c"TURN".as_ptr()];
        let c = DigNatConnectOptions {
            size: size_of::<DigNatConnectOptions>(),
            addresses: &raw const address,
            addresses_count: 1,
            preferred_methods: methods.as_ptr(),
            preferred_methods_count: 2,
            timeout_ms: 200,
            save_to_registry: DIG_NAT_SWITCH_OFF,
        };
        let expected = ConnectOptions {
            addresses: vec!["127.0.0.1:1".into()],
            preferred_methods: vec!["ice".into(), "TURN".into()],
            timeout_ms: 200,
            save_to_registry: false,
        };
        // SAFETY: a complete struct.
        assert_eq!(unsafe { connecting(&raw const c) }.expect("valid"), expected);
        let short = DigNatConnectOptions { timeout_ms: 99, ..c };
        // SAFETY: a complete struct.
        let error = unsafe { connecting(&raw const short) }.expect_err("below the range");
        assert!(error.to_string().starts_with("timeout"), "{error}");
    }
}
