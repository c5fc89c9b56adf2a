//! Options as bindings hand them over: any JSON gives options that validate, or an error that names something.
#![no_main]

use dig_nat_core::ErrorKind;
use dig_nat_core::base::options::{
    AddFileOptions, ClientOptions, DownloadOptions, FindOptions, FromJson, HostOptions, NodeOptions, Unknown,
    pair_from_json,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fn check<T: FromJson>(value: &Value) {
    for unknown in [Unknown::Reject, Unknown::Ignore] {
        match T::from_json(value, unknown) {
            Ok(options) => options.validate().expect("from_json validates"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                assert!(!error.context().is_empty());
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    check::<NodeOptions>(&value);
    check::<HostOptions>(&value);
    check::<ClientOptions>(&value);
    check::<DownloadOptions>(&value);
    check::<AddFileOptions>(&value);
    check::<FindOptions>(&value);
    let _ = pair_from_json::<NodeOptions, ClientOptions>(&value, Unknown::Reject);
});
