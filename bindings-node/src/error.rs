//! Errors on their way to JavaScript. Node-API carries one text, so the whole record (code, number, message, advice)
//! travels in it as JSON and `lib/errors.js` makes the `DigNatError`. Not here: the table of kinds, which is core's.

use dig_nat_core::Error;
use dig_nat_core::base::events::ErrorRecord;

/// Wraps an error of the engine.
pub(crate) fn to_js(error: Error) -> napi::Error {
    let record = ErrorRecord::from(&error);
    // A record of plain fields always serialises; the message alone would still say what happened.
    let text = serde_json::to_string(&record).unwrap_or(record.message);
    napi::Error::from_reason(text)
}
