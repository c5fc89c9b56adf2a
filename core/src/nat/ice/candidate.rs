//! ICE candidates and their line of text (RFC 8839 section 5.1, `candidate-attribute`). Not here: pairing them (`pair`).
//!
//! `candidate:FOUNDATION COMPONENT udp PRIORITY ADDRESS PORT typ KIND [raddr ADDRESS rport PORT] [NAME VALUE]...`

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::base::limits;
use crate::wire::reader::Malformed;

/// How a candidate's address was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An address of an interface.
    Host,
    /// Learned from a check: the other side saw packets coming from there.
    PeerReflexive,
    /// A STUN server saw packets coming from there.
    ServerReflexive,
    /// A TURN server's address that relays.
    Relayed,
}

/// A candidate as it is told to the other side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Equal for candidates of one kind, base address and server: 1 to 32 letters, digits, `+` or `/`.
    pub foundation: String,
    /// 1 to 256. We have one component, number 1.
    pub component: u16,
    /// 1 to 2^31 - 1.
    pub priority: u32,
    /// Where to send to.
    pub address: SocketAddr,
    /// How it was learned.
    pub kind: Kind,
    /// The address behind it, for people; may be withheld.
    pub related: Option<SocketAddr>,
}

impl Kind {
    /// The value after `typ`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::PeerReflexive => "prflx",
            Kind::ServerReflexive => "srflx",
            Kind::Relayed => "relay",
        }
    }

    /// The recommended type preference (RFC 8445 section 5.1.2.2).
    pub const fn preference(self) -> u32 {
        match self {
            Kind::Host => 126,
            Kind::PeerReflexive => 110,
            Kind::ServerReflexive => 100,
            Kind::Relayed => 0,
        }
    }

    fn from_name(name: &str) -> Result<Self, Malformed> {
        [Kind::Host, Kind::PeerReflexive, Kind::ServerReflexive, Kind::Relayed]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or(Malformed::BadValue("candidate type"))
    }
}

/// A candidate's priority (RFC 8445 section 5.1.2.1): kind first, then our own preference among its addresses.
pub const fn priority(kind: Kind, local_preference: u16, component: u16) -> u32 {
    let component = if component > 256 { 256 } else { component as u32 };
    (kind.preference() << 24) + ((local_preference as u32) << 8) + (256 - component)
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, component, priority, address, kind, related } = self;
        let (ip, port, kind) = (address.ip(), address.port(), kind.name());
        write!(f, "candidate:{foundation} {component} udp {priority} {ip} {port} typ {kind}")?;
        if let Some(related) = related {
            write!(f, " raddr {} rport {}", related.ip(), related.port())?;
        }
        Ok(())
    }
}

impl FromStr for Candidate {
    type Err = Malformed;

    /// Reads a line, with or without `a=`. Extensions are skipped. Candidates that we cannot use are malformed to us:
    /// TCP, and names instead of addresses (multicast DNS names of browsers).
    fn from_str(line: &str) -> Result<Self, Malformed> {
        if line.len() > limits::MAX_ICE_LINE_BYTES {
            return Err(Malformed::TooLarge("candidate"));
        }
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").ok_or(Malformed::BadValue("candidate"))?;
        let mut words = line.trim_end_matches(['\r', '\n']).split(' ');
        let mut next = || words.next().ok_or(Malformed::Truncated);
        let foundation = next()?;
        if !(1..=32).contains(&foundation.len()) || !foundation.bytes().all(is_ice_character) {
            return Err(Malformed::BadValue("candidate foundation"));
        }
        let component = number(next()?, 1, 256, "candidate component")? as u16;
        if !next()?.eq_ignore_ascii_case("udp") {
            return Err(Malformed::BadValue("candidate transport"));
        }
        let priority = number(next()?, 1, 0x7fff_ffff, "candidate priority")?;
        let address = socket(next()?, next()?)?;
        if next()? != "typ" {
            return Err(Malformed::BadValue("candidate type"));
        }
        let kind = Kind::from_name(next()?)?;
        let mut related_ip = None;
        let mut related = None;
        // Extensions come in pairs of name and value.
        while let Some(name) = words.next() {
            let value = words.next().ok_or(Malformed::Truncated)?;
            match name {
                "raddr" => related_ip = Some(value),
                "rport" => related = related_ip.and_then(|ip| socket(ip, value).ok()),
                _ => {}
            }
        }
        Ok(Self { foundation: foundation.to_owned(), component, priority, address, kind, related })
    }
}

/// `ice-char` of RFC 8839.
pub(super) const fn is_ice_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

fn number(text: &str, least: u32, most: u32, what: &'static str) -> Result<u32, Malformed> {
    // `parse` would take a sign, and leading zeros without end.
    if text.len() > 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed::BadValue(what));
    }
    text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or(Malformed::BadValue(what))
}

fn socket(ip: &str, port: &str) -> Result<SocketAddr, Malformed> {
    let ip: IpAddr = ip.parse().map_err(|_| Malformed::BadValue("candidate address"))?;
    let port = number(port, 0, 0xffff, "candidate port")?;
    Ok(SocketAddr::new(ip, port as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_standard_and_of_browsers_are_read() {
        // RFC 8839 section 5.1, Firefox and Chromium.
        let lines = [
            "candidate:1 1 UDP 2130706431 203.0.113.141 8998 typ host",
            "a=candidate:2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
            "candidate:842163049 1 udp 1677729535 192.0.2.3 5000 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag aB3/ \
             network-id 1 network-cost 10",
            "candidate:0 1 udp 2122252543 2001:db8::1 50000 typ relay raddr 2001:db8::2 rport 9\r\n",
        ];
        for line in lines {
            let candidate: Candidate = line.parse().expect(line);
            assert_eq!(candidate.to_string().parse::<Candidate>().expect("our own line"), candidate);
        }
        let candidate: Candidate = lines[1].parse().expect("read above");
        assert_eq!((candidate.kind, candidate.priority), (Kind::ServerReflexive, 1_694_498_815));
        assert_eq!(candidate.related, "203.0.113.141:8998".parse().ok());
        assert_eq!(
            candidate.to_string(),
            "candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998"
        );
    }

    #[test]
    fn anything_else_is_refused() {
        let good = "candidate:1 1 udp 99 192.0.2.1 9 typ host";
        good.parse::<Candidate>().expect("good");
        let long = format!("{good} x {}", "y".repeat(600));
        let foundation = "f".repeat(33);
        let bad = [
            String::new(),
            "candidate:".to_owned(),
            long,
            good.replace("candidate:1", &format!("candidate:{foundation}")),
            good.replace("candidate:1", "candidate:"),
            good.replace("candidate:1", "candidate:ä"),
            good.replace(" 1 udp", " 0 udp"),
            good.replace(" 1 udp", " 257 udp"),
            good.replace(" 1 udp", " +1 udp"),
            good.replace("udp", "tcp"),
            good.replace(" 99", " 0"),
            good.replace(" 99", " 2147483648"),
            good.replace(" 99", " 99999999999999999999"),
            good.replace("192.0.2.1", "3f0e7a52-1a2b.local"),
            good.replace(" 9 ", " 65536 "),
            good.replace("typ host", "typ guest"),
            good.replace("typ", "type"),
            format!("{good} alone"),
            good.replace(' ', "  "),
        ];
        for line in bad {
            assert!(line.parse::<Candidate>().is_err(), "{line:?}");
        }
        for end in 0..good.len() {
            let _ = good[..end].parse::<Candidate>();
        }
    }

    #[test]
    fn priorities_are_those_of_the_standard() {
        // RFC 8445 section 5.1.2.1 with the values of RFC 8839's example.
        assert_eq!(priority(Kind::Host, 65535, 1), 2_130_706_431);
        assert_eq!(priority(Kind::ServerReflexive, 65535, 1), 1_694_498_815);
        assert!(priority(Kind::Relayed, 65535, 1) < priority(Kind::ServerReflexive, 0, 1));
        assert!(priority(Kind::Host, 65535, 1) <= 0x7fff_ffff && priority(Kind::Relayed, 0, 255) >= 1);
    }
}
