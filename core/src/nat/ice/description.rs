//! What two ICE agents tell each other over signalling: credentials, candidates, their end; as lines of text in the
//! manner of RFC 8840. Not here: the carrier (`signal`), candidate lines themselves (`candidate`).
//!
//! First line `dig-ice/1`, then in any number and order `a=ice-ufrag:…`, `a=ice-pwd:…`, `a=candidate:…`,
//! `a=end-of-candidates`. Other lines, and candidates that we cannot use, are skipped.

use std::fmt::Write as _;

use super::candidate::Candidate;
use super::messages::Credentials;
use crate::base::limits;
use crate::wire::reader::Malformed;

const HEADER: &str = "dig-ice/1";

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// In the first message, and again after a restart.
    pub credentials: Option<Credentials>,
    /// New ones.
    pub candidates: Vec<Candidate>,
    /// No more will come.
    pub end: bool,
}

impl Description {
    /// The text.
    pub fn encode(&self) -> String {
        let mut text = format!("{HEADER}\r\n");
        // Writing to a String cannot fail.
        if let Some(Credentials { ufrag, password }) = &self.credentials {
            let _ = write!(text, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n");
        }
        for candidate in &self.candidates {
            let _ = write!(text, "a={candidate}\r\n");
        }
        if self.end {
            text.push_str("a=end-of-candidates\r\n");
        }
        text
    }

    /// Whether a signalling message is meant for ICE.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.strip_prefix(HEADER.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'\r' | b'\n')))
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > limits::MAX_SIGNAL_BYTES {
            return Err(Malformed::TooLarge("ICE description"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::BadValue("ICE description"))?;
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(Malformed::BadValue("ICE description"));
        }
        let (mut ufrag, mut password) = (None, None);
        let mut description = Self::default();
        for line in lines {
            if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
                ufrag = Some(value);
            } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
                password = Some(value);
            } else if line == "a=end-of-candidates" {
                description.end = true;
            } else if let Ok(candidate) = line.parse()
                && description.candidates.len() < limits::MAX_ICE_CANDIDATES
            {
                description.candidates.push(candidate);
            }
        }
        description.credentials = match (ufrag, password) {
            (Some(ufrag), Some(password)) => Some(Credentials::new(ufrag, password)?),
            (None, None) => None,
            _ => return Err(Malformed::Truncated),
        };
        Ok(description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_and_fit_signalling() {
        let line = "candidate:1 1 udp 2130706431 2001:db8:1234:5678:9abc:def0:1234:5678 50000 typ relay raddr \
                    2001:db8:1234:5678:9abc:def0:1234:5678 rport 50000";
        let candidates = vec![line.parse().expect("a candidate"); limits::MAX_ICE_CANDIDATES];
        let credentials = Credentials::new("abcd", &"p".repeat(22)).ok();
        let full = Description { credentials, candidates, end: true };
        let text = full.encode();
        assert!(text.len() <= limits::MAX_SIGNAL_BYTES, "{}", text.len());
        assert_eq!(Description::decode(text.as_bytes()), Ok(full));
        assert!(Description::is_one(text.as_bytes()) && !Description::is_one(b"dig-ice/12"));
        let empty = Description::default();
        assert_eq!(empty.encode(), "dig-ice/1\r\n");
        assert_eq!(Description::decode(b"dig-ice/1"), Ok(empty));
    }

    #[test]
    fn what_is_unknown_is_skipped_and_what_is_broken_refused() {
        let text = "dig-ice/1\na=candidate:1 1 tcp 9 192.0.2.1 9 typ host tcptype active\na=mid:0\n\
                    a=candidate:2 1 udp 9 192.0.2.1 9 typ host\n";
        assert_eq!(Description::decode(text.as_bytes()).expect("readable").candidates.len(), 1);
        let broken: [&[u8]; 6] = [
            b"",
            b"dig-ice/2\r\n",
            b"dig-ice/1\r\na=ice-ufrag:abcd\r\n",
            b"dig-ice/1\r\na=ice-ufrag:abcd\r\na=ice-pwd:short\r\n",
            b"dig-ice/1\r\n\xff",
            &[b'x'; limits::MAX_SIGNAL_BYTES + 1],
        ];
        for bytes in broken {
            assert!(Description::decode(bytes).is_err());
        }
    }
}
