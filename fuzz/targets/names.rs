//! Names from peers: what the sanitiser lets through is one harmless path component, and stays so.
#![no_main]

// The sanitiser stands in the layer `store`, which is only built with the engine. It needs nothing of it, so its file
// is compiled here, under the names it uses.
use dig_nat_core::base;
#[path = "../../core/src/store/names.rs"]
#[allow(dead_code)]
mod names;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(name) = names::sanitize(text) else { return };
    assert!(!name.is_empty() && name.len() <= base::limits::MAX_FILE_NAME_BYTES);
    assert!(!name.contains(['/', '\\', '\0', ':']) && !name.chars().any(char::is_control));
    assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{name:?}");
    let mut components = std::path::Path::new(&name).components();
    assert!(matches!(components.next(), Some(std::path::Component::Normal(_))) && components.next().is_none());
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    assert!(!["CON", "PRN", "AUX", "NUL", "COM1", "LPT9"].contains(&stem.as_str()), "{name:?}");
    assert_eq!(names::sanitize(&name).as_deref(), Some(name.as_str()), "not stable");
});
