//! Hashes and content ids as people type them: what is accepted prints as itself.
#![no_main]

use dig_nat_core::base::ids::{ContentKey, FileHash};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(hash) = text.parse::<FileHash>() {
        assert_eq!(hash.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(key) = text.parse::<ContentKey>() {
        assert_eq!(key.to_string().parse::<ContentKey>().expect("prints as a key"), key);
    }
});
