//! How a STUN server is written: `host`, `host:port`, `stun:host:port`, `[v6]:port` (RFC 7064). Not here: looking up
//! its name, and TURN's URIs (`turn::uri`).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::base::error::{Error, Result};

/// The port of STUN servers unless another is given.
pub const DEFAULT_PORT: u16 = 3478;
/// Longest host name in the DNS.
const MAX_NAME_BYTES: usize = 253;

/// A STUN server as the user names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StunServer {
    /// Name or address, without brackets.
    pub host: String,
    /// UDP and TCP port.
    pub port: u16,
}

impl FromStr for StunServer {
    type Err = Error;

    /// `InvalidArgument` says what is wrong with the text.
    fn from_str(text: &str) -> Result<Self> {
        let problem = |problem: &str| Error::invalid("STUN server", format_args!("{text:?}: {problem}"));
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("stuns:") {
            return Err(problem("STUN over TLS tells nothing about UDP; use stun:"));
        }
        if lower.starts_with("turn:") || lower.starts_with("turns:") {
            return Err(problem(
                "this is a TURN server; give it as turnServer, or write stun: to ask it only for our address",
            ));
        }
        let rest = if lower.starts_with("stun:") { &text["stun:".len()..] } else { text };
        let (host, port) = host_and_port(rest).map_err(problem)?;
        Ok(Self { host, port: port.unwrap_or(DEFAULT_PORT) })
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address. The error says what is wrong.
pub(crate) fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or("the bracket is not closed")?;
        host.parse::<Ipv6Addr>().map_err(|_| "no IPv6 address in the brackets")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("only :port may follow the bracket"),
        }
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
            Ok(0) | Err(_) => return Err("the port must be 1 to 65535"),
            Ok(port) => Some(port),
        },
        Some(_) => return Err("the port must be a number"),
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if host.len() > MAX_NAME_BYTES || !(is_name || host.parse::<IpAddr>().is_ok()) {
        return Err("this is no host name or address");
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::ErrorKind;

    #[test]
    fn the_usual_forms_are_read() {
        for (text, host, port) in [
            ("stun.example.org", "stun.example.org", 3478),
            ("stun.example.org:19302", "stun.example.org", 19302),
            ("stun:stun.example.org:19302", "stun.example.org", 19302),
            ("STUN:192.0.2.1", "192.0.2.1", 3478),
            ("[2001:db8::1]:5349", "2001:db8::1", 5349),
            ("stun:[2001:db8::1]", "2001:db8::1", 3478),
            ("2001:db8::1", "2001:db8::1", 3478),
        ] {
            assert_eq!(text.parse::<StunServer>().expect(text), StunServer { host: host.to_owned(), port }, "{text}");
        }
        let shown = "stun:[2001:db8::1]".parse::<StunServer>().expect("valid").to_string();
        assert_eq!(shown, "[2001:db8::1]:3478");
    }

    #[test]
    fn the_rest_is_refused_with_a_reason() {
        for (text, reason) in [
            ("stuns:stun.example.org", "TLS"),
            ("turn:turn.example.org", "TURN"),
            ("", "missing"),
            ("stun:", "missing"),
            ("host:0", "1 to 65535"),
            ("host:65536", "1 to 65535"),
            ("host:", "1 to 65535"),
            ("host:12a", "number"),
            ("host:+1", "number"),
            ("[::1", "closed"),
            ("[nonsense]:1", "IPv6"),
            ("[::1]1", "bracket"),
            ("a b", "no host name"),
            ("//host", "no host name"),
        ] {
            let error = text.parse::<StunServer>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }
}
