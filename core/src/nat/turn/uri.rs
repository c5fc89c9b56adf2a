//! How a TURN server is written: `turn:host[:port][?transport=udp|tcp]`, `turns:host[:port]` (RFC 7065). Not here:
//! credentials.

use std::fmt;
use std::str::FromStr;

use crate::base::error::{Error, Result};
use crate::nat::stun::server::host_and_port;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A TCP connection.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// A TURN server as the user names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TurnServer {
    /// Name or address, without brackets. TLS checks the certificate against it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is reached.
    pub transport: Transport,
}

impl FromStr for TurnServer {
    type Err = Error;

    /// `InvalidArgument` says what is wrong with the text.
    fn from_str(text: &str) -> Result<Self> {
        let problem = |problem: &str| Error::invalid("TURN server", format_args!("{text:?}: {problem}"));
        let (scheme, rest) = text.split_once(':').ok_or_else(|| problem("it must start with turn: or turns:"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "turn" => false,
            "turns" => true,
            _ => return Err(problem("it must start with turn: or turns:")),
        };
        let (address, query) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
        let transport = match (query, secure) {
            (None | Some("transport=udp"), false) => Transport::Udp,
            (Some("transport=tcp"), false) => Transport::Tcp,
            (None | Some("transport=tcp"), true) => Transport::Tls,
            (Some("transport=udp"), true) => {
                return Err(problem("TURN over DTLS is not supported; leave transport away"));
            }
            (Some(_), _) => return Err(problem("only ?transport=udp or ?transport=tcp may follow")),
        };
        let (host, port) = host_and_port(address).map_err(problem)?;
        Ok(Self { host, port: port.unwrap_or(if secure { 5349 } else { 3478 }), transport })
    }
}

impl fmt::Display for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, transport } = self;
        let (scheme, query) = match transport {
            Transport::Udp => ("turn", ""),
            Transport::Tcp => ("turn", "?transport=tcp"),
            Transport::Tls => ("turns", ""),
        };
        if host.contains(':') {
            write!(f, "{scheme}:[{host}]:{port}{query}")
        } else {
            write!(f, "{scheme}:{host}:{port}{query}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_and_written() {
        for (text, host, port, transport) in [
            ("turn:turn.example.org", "turn.example.org", 3478, Transport::Udp),
            ("turn:turn.example.org:80?transport=udp", "turn.example.org", 80, Transport::Udp),
            ("TURN:192.0.2.1:443?transport=tcp", "192.0.2.1", 443, Transport::Tcp),
            ("turns:turn.example.org", "turn.example.org", 5349, Transport::Tls),
            ("turns:[2001:db8::1]:443?transport=tcp", "2001:db8::1", 443, Transport::Tls),
        ] {
            let server: TurnServer = text.parse().expect(text);
            assert_eq!(server, TurnServer { host: host.to_owned(), port, transport }, "{text}");
            assert_eq!(server.to_string().parse::<TurnServer>().expect("ours"), server);
        }
        for (text, reason) in [
            ("turn.example.org", "turn:"),
            ("stun:example.org", "turn:"),
            ("turn:", "missing"),
            ("turn:host?transport=sctp", "transport"),
            ("turn:host?x=y", "transport"),
            ("turns:host?transport=udp", "DTLS"),
            ("turn:host:99999", "65535"),
            ("turn:us er", "host name"),
        ] {
            let error = text.parse::<TurnServer>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
