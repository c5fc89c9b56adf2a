//! Writes the Swift, Kotlin and Python sources; the same version of UniFFI as the library, as it demands.
//! `cargo run -p dig-nat-mobile --features bindgen --bin uniffi-bindgen -- generate --language kotlin --out-dir DIR LIB`

fn main() {
    uniffi::uniffi_bindgen_main();
}
