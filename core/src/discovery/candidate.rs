//! What a search yields: somebody who may have a content, where they may be reached, and how far to trust that.
//! Not here: how candidates are found ([`source`](super::source)) or remembered ([`table`](super::table)).

use std::fmt;
use std::str::FromStr;

use crate::base::error::{Error, Result};
use crate::base::ids::PeerId;
use crate::base::priority::Priority;

/// How a peer became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceKind {
    /// Named by the user.
    Manual,
    /// Answered on the local network (multicast DNS).
    Local,
    /// Found through Gun relays.
    Gun,
    /// Found in the distributed hash table.
    Dht,
    /// Told by another peer (peer exchange).
    Pex,
}

impl SourceKind {
    /// Every kind, most trusted first.
    pub const ALL: [Self; 5] = [Self::Manual, Self::Local, Self::Gun, Self::Dht, Self::Pex];

    /// The name used in events and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Local => "local",
            Self::Gun => "gun",
            Self::Dht => "dht",
            Self::Pex => "pex",
        }
    }

    /// Whether this way of discovery is told of a content of that priority.
    pub const fn hears(self, priority: Priority) -> bool {
        match self {
            Self::Manual | Self::Local => true,
            Self::Dht | Self::Pex => !matches!(priority, Priority::Low),
            Self::Gun => matches!(priority, Priority::High),
        }
    }

    /// Settles equal confidence: the kind listed first wins.
    pub(super) const fn rank(self) -> u8 {
        u8::MAX - self as u8
    }

    /// Trust in a record of this origin, 0 to 1: a user knows, the local network answered itself, networks relay what
    /// others signed, peer exchange is hearsay.
    pub const fn default_confidence(self) -> f64 {
        match self {
            Self::Manual => 1.0,
            Self::Local => 0.9,
            Self::Gun | Self::Dht => 0.8,
            Self::Pex => 0.7,
        }
    }
}

impl FromStr for SourceKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| Error::invalid("source", format_args!("{text:?} is no way of discovery")))
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody who may have a content. Addresses are hints: nothing here is authenticated before a connection is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id, unknown when only an address was given.
    pub id: Option<PeerId>,
    /// Multiaddrs or `host:port`, best first.
    pub addresses: Vec<String>,
    /// How it became known.
    pub source: SourceKind,
    /// Trust in the record, 0 to 1.
    pub confidence: f64,
}

impl Candidate {
    /// A candidate with the default confidence of its source.
    pub fn new(id: Option<PeerId>, addresses: Vec<String>, source: SourceKind) -> Self {
        Self { id, addresses, source, confidence: source.default_confidence() }
    }

    /// A peer that the user names by one address; its id is known if the address ends with it.
    pub fn manual(address: &str) -> Self {
        let (at, id) = match address.rsplit_once("/p2p/") {
            // An address that is nothing but an id leads nowhere by itself.
            Some((at, id)) if !at.is_empty() && !at.ends_with("/p2p-circuit") && !id.contains('/') => {
                (at, Some(PeerId::from_text(id)))
            }
            _ => (address, None),
        };
        Self::new(id, vec![at.to_owned()], SourceKind::Manual)
    }

    /// Its id, or its best address while the id is unknown.
    pub fn label(&self) -> &str {
        match &self.id {
            Some(id) => id.as_str(),
            None => self.addresses.first().map_or("", String::as_str),
        }
    }
}

/// Host and port of a multiaddr (`/ip4/192.0.2.1/tcp/9000`, `/dns4/example.org/udp/9000/quic-v1`) or of `host:port`
/// text, for showing to people.
pub fn host_and_port(address: &str) -> Option<(String, u16)> {
    if address.starts_with('/') {
        let parts: Vec<&str> = address.split('/').skip(1).collect();
        let value = |wanted: &[&str]| parts.windows(2).find(|pair| wanted.contains(&pair[0])).map(|pair| pair[1]);
        let host = value(&["ip4", "ip6", "dns", "dns4", "dns6"])?;
        return Some((host.to_owned(), value(&["tcp", "udp"])?.parse().ok()?));
    }
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_tell_whose_it_is() {
        let named = |text: &str| {
            let candidate = Candidate::manual(text);
            (candidate.id.map(|id| id.to_string()), candidate.addresses.concat())
        };
        assert_eq!(
            named("/ip4/192.0.2.1/tcp/9/p2p/12D3"),
            (Some("12D3".to_owned()), "/ip4/192.0.2.1/tcp/9".to_owned())
        );
        for plain in
            ["192.0.2.1:9", "/ip4/192.0.2.1/tcp/9", "/p2p/12D3", "/ip4/1.2.3.4/tcp/9/p2p/relay/p2p-circuit/p2p/12D3"]
        {
            assert_eq!(named(plain), (None, plain.to_owned()), "{plain}");
        }
    }

    #[test]
    fn addresses_are_split_for_people() {
        let parts = |text: &str| host_and_port(text);
        assert_eq!(parts("/ip4/192.0.2.1/udp/9000/quic-v1"), Some(("192.0.2.1".to_owned(), 9000)));
        assert_eq!(parts("/ip6/::1/tcp/1/p2p/12D3"), Some(("::1".to_owned(), 1)));
        assert_eq!(parts("[::1]:80"), Some(("::1".to_owned(), 80)));
        assert_eq!(parts("example.org:9000"), Some(("example.org".to_owned(), 9000)));
        assert_eq!(parts("/ip4/192.0.2.1"), None);
        assert_eq!(parts("example.org:70000"), None);
    }
}
