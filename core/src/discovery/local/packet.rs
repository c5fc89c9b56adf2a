//! Multicast DNS packets (RFC 1035, RFC 6762) as plain values, through the `simple-dns` crate. Pure.
//! Not here: what to answer.
//!
//! Only the records of service discovery are kept; all others are skipped. Names are dotted text in lower case with
//! the escapes of RFC 1035 section 5.1. Any bytes decode to a packet or to an error, never to a panic, and a packet
//! cannot make the decoder allocate more than a fixed multiple of its own length.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{A, AAAA, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, CharacterString, Label, Name, PacketFlag, QCLASS, QTYPE, TYPE};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// Bytes of the header.
const HEADER_BYTES: usize = 12;
/// Least bytes of a question: root name, type, class.
const QUESTION_BYTES: usize = 5;
/// Least bytes of a record: root name, type, class, TTL, length.
const RECORD_BYTES: usize = 11;

/// A query or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Copied from the question in replies to legacy queries, else 0 (RFC 6762 section 18.1).
    pub id: u16,
    /// Whether it is a response.
    pub response: bool,
    /// More known answers follow in another packet (RFC 6762 section 7.2).
    pub truncated: bool,
    /// What is asked.
    pub questions: Vec<Question>,
    /// Answers, or in a query the answers already known.
    pub answers: Vec<Record>,
    /// Records the asker will want next.
    pub additional: Vec<Record>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub kind: Kind,
    /// The asker would like the answer by unicast (RFC 6762 section 5.4).
    pub unicast: bool,
}

/// Types that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 address.
    A,
    /// Pointer to another name.
    Ptr,
    /// Text attributes.
    Txt,
    /// IPv6 address.
    Aaaa,
    /// Port and host of a service.
    Srv,
    /// All of them.
    Any,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Seconds it stays valid; 0 is a goodbye (RFC 6762 section 10.1).
    pub ttl: u32,
    /// It replaces what is known of this name and type (RFC 6762 section 10.2).
    pub flush: bool,
    /// Its content.
    pub data: Data,
}

/// Content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Pointer to another name.
    Ptr(String),
    /// Port and host of a service.
    Srv {
        /// The port.
        port: u16,
        /// The host's name.
        host: String,
    },
    /// Attributes as `key=value` strings.
    Txt(Vec<Vec<u8>>),
    /// Address of a host.
    Address(IpAddr),
}

impl Data {
    /// Its type as asked for in questions.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ptr(_) => Kind::Ptr,
            Self::Srv { .. } => Kind::Srv,
            Self::Txt(_) => Kind::Txt,
            Self::Address(IpAddr::V4(_)) => Kind::A,
            Self::Address(IpAddr::V6(_)) => Kind::Aaaa,
        }
    }
}

/// Reads a packet. Questions of other types or classes and records of other types are left out.
///
/// # Errors
/// [`ErrorKind::Protocol`] if it is too long, malformed, or neither a standard query nor a response.
pub fn decode(bytes: &[u8]) -> Result<Packet> {
    if bytes.len() > limits::MAX_MDNS_PACKET_BYTES {
        return Err(Error::new(ErrorKind::Protocol, "multicast DNS packet: too long"));
    }
    check_counts(bytes)?;
    let packet = simple_dns::Packet::parse(bytes).map_err(malformed)?;
    if packet.opcode() != simple_dns::OPCODE::StandardQuery {
        return Err(Error::new(ErrorKind::Protocol, "multicast DNS packet: not a standard query"));
    }
    Ok(Packet {
        id: packet.id(),
        response: packet.has_flags(PacketFlag::RESPONSE),
        truncated: packet.has_flags(PacketFlag::TRUNCATION),
        questions: packet.questions.iter().filter_map(read_question).collect(),
        answers: packet.answers.iter().filter_map(read_record).collect(),
        additional: packet.additional_records.iter().filter_map(read_record).collect(),
    })
}

/// Writes a packet with compressed names.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] if a name or text does not fit DNS, or the packet is too long.
pub fn encode(packet: &Packet) -> Result<Vec<u8>> {
    let mut out = if packet.response {
        simple_dns::Packet::new_reply(packet.id)
    } else {
        simple_dns::Packet::new_query(packet.id)
    };
    if packet.response {
        // RFC 6762 section 18.4.
        out.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    }
    if packet.truncated {
        out.set_flags(PacketFlag::TRUNCATION);
    }
    for question in &packet.questions {
        let kind = match question.kind {
            Kind::A => TYPE::A.into(),
            Kind::Ptr => TYPE::PTR.into(),
            Kind::Txt => TYPE::TXT.into(),
            Kind::Aaaa => TYPE::AAAA.into(),
            Kind::Srv => TYPE::SRV.into(),
            Kind::Any => QTYPE::ANY,
        };
        let name = write_name(&question.name)?;
        out.questions.push(simple_dns::Question::new(name, kind, CLASS::IN.into(), question.unicast));
    }
    out.answers = packet.answers.iter().map(write_record).collect::<Result<_>>()?;
    out.additional_records = packet.additional.iter().map(write_record).collect::<Result<_>>()?;
    let bytes = out.build_bytes_vec_compressed().map_err(unwritable)?;
    if bytes.len() > limits::MAX_MDNS_PACKET_BYTES {
        return Err(Error::invalid("multicast DNS packet", "too long"));
    }
    Ok(bytes)
}

/// The parser reserves memory for as many entries as the header claims, so claims the length cannot hold are refused
/// before it starts.
fn check_counts(bytes: &[u8]) -> Result<()> {
    let count = |at: usize| bytes.get(at..at + 2).map_or(0, |pair| usize::from(pair[0]) << 8 | usize::from(pair[1]));
    let least = HEADER_BYTES + count(4) * QUESTION_BYTES + (count(6) + count(8) + count(10)) * RECORD_BYTES;
    if bytes.len() < least {
        return Err(Error::new(ErrorKind::Protocol, "multicast DNS packet: shorter than its header claims"));
    }
    Ok(())
}

fn read_question(question: &simple_dns::Question<'_>) -> Option<Question> {
    if !matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN)) {
        return None;
    }
    let kind = match question.qtype {
        QTYPE::ANY => Kind::Any,
        QTYPE::TYPE(TYPE::A) => Kind::A,
        QTYPE::TYPE(TYPE::PTR) => Kind::Ptr,
        QTYPE::TYPE(TYPE::TXT) => Kind::Txt,
        QTYPE::TYPE(TYPE::AAAA) => Kind::Aaaa,
        QTYPE::TYPE(TYPE::SRV) => Kind::Srv,
        _ => return None,
    };
    Some(Question { name: read_name(&question.qname), kind, unicast: question.unicast_response })
}

fn read_record(record: &simple_dns::ResourceRecord<'_>) -> Option<Record> {
    if record.class != CLASS::IN {
        return None;
    }
    let data = match &record.rdata {
        RData::PTR(PTR(target)) => Data::Ptr(read_name(target)),
        RData::SRV(srv) => Data::Srv { port: srv.port, host: read_name(&srv.target) },
        RData::TXT(txt) => Data::Txt(
            txt.iter_raw()
                .map(|(key, value)| match value {
                    Some(value) => [key, b"=", value].concat(),
                    None => key.to_vec(),
                })
                .collect(),
        ),
        RData::A(a) => Data::Address(Ipv4Addr::from_bits(a.address).into()),
        RData::AAAA(aaaa) => Data::Address(Ipv6Addr::from_bits(aaaa.address).into()),
        _ => return None,
    };
    Some(Record { name: read_name(&record.name), ttl: record.ttl, flush: record.cache_flush, data })
}

fn read_name(name: &Name<'_>) -> String {
    let mut text = String::new();
    for (index, label) in name.as_bytes().enumerate() {
        if index > 0 {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => text.extend(['\\', *byte as char]),
                0x21..=0x7e => text.push(byte.to_ascii_lowercase() as char),
                _ => write!(text, "\\{byte:03}").expect("a String takes any text"),
            }
        }
    }
    text
}

fn write_name(text: &str) -> Result<Name<'_>> {
    let name = Name::new(text).map_err(unwritable)?;
    if name.get_labels().iter().any(Label::is_empty) {
        return Err(Error::invalid("multicast DNS name", "empty label"));
    }
    Ok(name)
}

fn write_record(record: &Record) -> Result<simple_dns::ResourceRecord<'_>> {
    let data = match &record.data {
        Data::Ptr(target) => RData::PTR(PTR(write_name(target)?)),
        Data::Srv { port, host } => RData::SRV(SRV { priority: 0, weight: 0, port: *port, target: write_name(host)? }),
        Data::Txt(strings) => {
            let mut txt = TXT::new();
            for string in strings {
                txt.add_char_string(CharacterString::new(string).map_err(unwritable)?);
            }
            RData::TXT(txt)
        }
        Data::Address(IpAddr::V4(address)) => RData::A(A { address: address.to_bits() }),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA { address: address.to_bits() }),
    };
    let name = write_name(&record.name)?;
    Ok(simple_dns::ResourceRecord::new(name, CLASS::IN, record.ttl, data).with_cache_flush(record.flush))
}

fn malformed(error: simple_dns::SimpleDnsError) -> Error {
    Error::with_source(ErrorKind::Protocol, "multicast DNS packet: malformed", error)
}

fn unwritable(error: simple_dns::SimpleDnsError) -> Error {
    Error::with_source(ErrorKind::InvalidArgument, "multicast DNS packet: cannot be written", error)
}
