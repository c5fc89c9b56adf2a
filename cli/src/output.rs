//! Standard output: results for people or programs, one line each. Not here: progress and errors, which go to
//! standard error.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

/// Prints one line. Fails when nobody reads standard output any more.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    // Readers wait for whole lines; standard output to a pipe would keep them back.
    out.flush()
}

/// Prints a record as one JSON line with its type first.
pub fn json(kind: &str, record: &impl Serialize) -> io::Result<()> {
    line(&with_type(kind, record).to_string())
}

/// Prints a record that carries its type already.
pub fn json_event(record: &impl Serialize) -> io::Result<()> {
    line(&serde_json::to_string(record).map_err(io::Error::from)?)
}

fn with_type(kind: &str, record: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(record).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut value {
        fields.insert("type".to_owned(), Value::from(kind));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_get_their_type() {
        #[derive(Serialize)]
        struct Record {
            size: u64,
        }
        assert_eq!(with_type("result", &Record { size: 3 }).to_string(), r#"{"size":3,"type":"result"}"#);
    }
}
