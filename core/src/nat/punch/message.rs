//! The signalling messages of `/dig/punch/1`. Not here: who sends which when (`driver`), and the carriers (`signal`).
//!
//! One message per signal; the carrier keeps them apart. Numbers are big-endian.
//!
//! ```text
//! 0      1  version of this layout: 1. Messages of other versions are skipped.
//! 1      1  type: 1 OFFER, 2 ANSWER, 3 GO, 4 RESULT, 5 ABORT. Unknown types are skipped.
//! 2     16  session id
//! 18     1  round, from 1
//! 19        body. What follows the last known field is ignored.
//!
//! OFFER, ANSWER
//!        1  highest version that the sender speaks. Both use the lower of the two from GO on.
//!        1  method: 0 none yet, 1 plain, 2 fresh, 3 prediction, 4 birthday, 5 TCP open, 6 TCP prediction;
//!           an unknown one counts as none. OFFER proposes, ANSWER decides.
//!        1  sides: bit 0 initiator, bit 1 responder; whose ports are predicted, or which side is the hard one
//!        2  milliseconds that the sender held the OFFER before it answered (0 in an OFFER)
//!       32  the sender's half of the session key
//!      1+n  NAT, n bytes: mapping (0 unknown, 1 endpoint independent, 2 address, 3 address and port dependent),
//!           filtering (same numbers), IPv6 filtering, allocation (0 unknown, 1 preserving, 2 sequential, 3 block,
//!           4 random), 2 step or first port of the block, 2 size of the block,
//!           flags (1 UDP blocked, 2 translated, 4 not translated, 8 has IPv6),
//!           2 sockets it would open, 2 probes it would send
//!        1  number of endpoints, at most 16, then each:
//!             1+n  n bytes: transport (1 UDP, 2 TCP), 4 or 16 address, 2 port. Other lengths and transports are skipped.
//!        1  forecast: 0 none, 1 ports (1 count, at most 64, then 2 each), 2 block (2 first, 2 size)
//! GO     2  milliseconds that the receiver waits before it starts
//! RESULT 1  1 connected, 0 failed
//! ABORT  1  reason: 1 refused, 2 no hope, 3 budget spent, 4 cancelled, 5 broken
//!      1+n  text for people, at most 200 bytes
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::prediction::Forecast;
use super::{Method, SessionId, SessionKey, Side};
use crate::base::limits;
use crate::nat::profile::{Filtering, Mapping, NatProfile, PortAllocation};
use crate::wire::reader::{Malformed, Reader};

/// The version that this code writes.
pub const VERSION: u8 = 1;

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The attempt it belongs to.
    pub session: SessionId,
    /// The round it belongs to, from 1.
    pub round: u8,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// The initiator wants a round.
    Offer(Proposal),
    /// The responder takes part.
    Answer(Proposal),
    /// Start after this delay. The sender itself starts half a round trip later than that.
    Go(Duration),
    /// How the round ended for the sender: connected or not.
    Result(bool),
    /// The attempt is over.
    Abort(Reason, String),
}

/// What one side brings into a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Highest version that the sender speaks.
    pub highest: u8,
    /// The method; `None` leaves the choice to the other side.
    pub method: Option<Method>,
    /// How long the OFFER lay with the responder, so that it does not count as round trip. Whole milliseconds.
    pub held: Duration,
    /// The sender's half of the session key.
    pub key: SessionKey,
    /// The sender's NAT.
    pub nat: NatSummary,
    /// Where servers and peers saw the sender, best first.
    pub endpoints: Vec<Endpoint>,
    /// The external ports that the sender's NAT will use next.
    pub forecast: Forecast,
}

/// Transport of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// An external endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// UDP or TCP.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
}

/// The part of a [`NatProfile`] that decides the method, and what a side is ready to spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatSummary {
    /// Mapping behaviour.
    pub mapping: Option<Mapping>,
    /// Filtering behaviour.
    pub filtering: Option<Filtering>,
    /// Filtering of IPv6.
    pub filtering_v6: Option<Filtering>,
    /// How ports are chosen.
    pub allocation: Option<PortAllocation>,
    /// UDP does not get out.
    pub udp_blocked: bool,
    /// Whether the IPv4 address is translated.
    pub translated: Option<bool>,
    /// Has an IPv6 endpoint.
    pub v6: bool,
    /// Sockets it would open for birthday probing; small where the NAT holds few sessions.
    pub sockets: u16,
    /// Probes it would send for birthday probing. Each is a session of its NAT.
    pub probes: u16,
}

impl NatSummary {
    /// Shortens a profile; spends what [`limits`] allow.
    pub fn new(profile: &NatProfile) -> Self {
        Self {
            mapping: profile.mapping,
            filtering: profile.filtering,
            filtering_v6: profile.filtering_v6,
            allocation: profile.allocation,
            udp_blocked: profile.udp_blocked,
            translated: profile.translated,
            v6: profile.public_v6.is_some(),
            sockets: limits::PUNCH_SOCKETS,
            probes: limits::PUNCH_SEARCH_PROBES,
        }
    }
}

/// Why an attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The peer does not want to be punched to.
    Refused,
    /// No method is left that could work.
    NoHope,
    /// The budget of this peer is spent.
    Budget,
    /// The caller cancelled.
    Cancelled,
    /// Something failed on the sender's machine.
    Broken,
    /// A reason of a newer version.
    Other(u8),
}

impl Message {
    /// Writes the message. Lists beyond their limits are cut.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        out.put_u8(VERSION);
        out.put_u8(match self.body {
            Body::Offer(_) => 1,
            Body::Answer(_) => 2,
            Body::Go(_) => 3,
            Body::Result(_) => 4,
            Body::Abort(..) => 5,
        });
        out.put_slice(&self.session.0);
        out.put_u8(self.round);
        match &self.body {
            Body::Offer(proposal) | Body::Answer(proposal) => encode_proposal(proposal, &mut out),
            Body::Go(delay) => out.put_u16(milliseconds(*delay)),
            Body::Result(connected) => out.put_u8(u8::from(*connected)),
            Body::Abort(reason, text) => {
                out.put_u8(match reason {
                    Reason::Refused => 1,
                    Reason::NoHope => 2,
                    Reason::Budget => 3,
                    Reason::Cancelled => 4,
                    Reason::Broken => 5,
                    Reason::Other(number) => *number,
                });
                let mut end = text.len().min(limits::PUNCH_ABORT_TEXT_BYTES);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                put_sized(&mut out, &text.as_bytes()[..end]);
            }
        }
        out.freeze()
    }

    /// Reads a message. `None`: of a type or version that we do not know, to be skipped.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        if bytes.len() > limits::MAX_SIGNAL_BYTES {
            return Err(Malformed::TooLarge("message"));
        }
        let mut reader = Reader::new(bytes);
        let (version, kind) = (reader.u8()?, reader.u8()?);
        if version != VERSION || !(1..=5).contains(&kind) {
            return Ok(None);
        }
        let session = SessionId(reader.array()?);
        let round = reader.u8()?;
        let body = match kind {
            1 => Body::Offer(decode_proposal(&mut reader)?),
            2 => Body::Answer(decode_proposal(&mut reader)?),
            3 => Body::Go(Duration::from_millis(reader.u16()?.into())),
            4 => Body::Result(reader.u8()? == 1),
            _ => {
                let reason = match reader.u8()? {
                    1 => Reason::Refused,
                    2 => Reason::NoHope,
                    3 => Reason::Budget,
                    4 => Reason::Cancelled,
                    5 => Reason::Broken,
                    other => Reason::Other(other),
                };
                let length = usize::from(reader.u8()?);
                if length > limits::PUNCH_ABORT_TEXT_BYTES {
                    return Err(Malformed::TooLarge("reason"));
                }
                // It goes into logs and error messages: no control characters.
                let text = String::from_utf8_lossy(reader.take(length)?);
                Body::Abort(reason, text.chars().filter(|character| !character.is_control()).collect())
            }
        };
        Ok(Some(Self { session, round, body }))
    }
}

fn encode_proposal(proposal: &Proposal, out: &mut BytesMut) {
    out.put_u8(proposal.highest);
    let (method, sides) = method_numbers(proposal.method);
    out.put_u8(method);
    out.put_u8(sides);
    out.put_u16(milliseconds(proposal.held));
    out.put_slice(&proposal.key.0);
    let mut nat = Vec::with_capacity(13);
    encode_nat(&proposal.nat, &mut nat);
    put_sized(out, &nat);
    let endpoints = &proposal.endpoints[..proposal.endpoints.len().min(limits::PUNCH_ENDPOINTS)];
    out.put_u8(endpoints.len() as u8);
    for endpoint in endpoints {
        out.put_u8(if endpoint.address.is_ipv4() { 7 } else { 19 });
        out.put_u8(match endpoint.transport {
            Transport::Udp => 1,
            Transport::Tcp => 2,
        });
        match endpoint.address.ip() {
            IpAddr::V4(address) => out.put_slice(&address.octets()),
            IpAddr::V6(address) => out.put_slice(&address.octets()),
        }
        out.put_u16(endpoint.address.port());
    }
    match &proposal.forecast {
        Forecast::None => out.put_u8(0),
        Forecast::Ports(ports) => {
            let ports = &ports[..ports.len().min(limits::PUNCH_PORTS)];
            out.put_u8(1);
            out.put_u8(ports.len() as u8);
            for port in ports {
                out.put_u16(*port);
            }
        }
        Forecast::Block { first, size } => {
            out.put_u8(2);
            out.put_u16(*first);
            out.put_u16(*size);
        }
    }
}

fn decode_proposal(reader: &mut Reader<'_>) -> Result<Proposal, Malformed> {
    let highest = reader.u8()?;
    let method = method_of(reader.u8()?, reader.u8()?);
    let held = Duration::from_millis(reader.u16()?.into());
    let key = SessionKey(reader.array()?);
    let length = usize::from(reader.u8()?);
    let nat = decode_nat(&mut Reader::new(reader.take(length)?))?;
    let count = usize::from(reader.u8()?);
    if count > limits::PUNCH_ENDPOINTS {
        return Err(Malformed::TooLarge("endpoints"));
    }
    let mut endpoints = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::from(reader.u8()?);
        endpoints.extend(decode_endpoint(reader.take(length)?)?);
    }
    let forecast = match reader.u8()? {
        1 => {
            let count = usize::from(reader.u8()?);
            if count > limits::PUNCH_PORTS {
                return Err(Malformed::TooLarge("ports"));
            }
            Forecast::Ports((0..count).map(|_| reader.u16()).collect::<Result<_, _>>()?)
        }
        2 => Forecast::Block { first: reader.u16()?, size: reader.u16()? },
        _ => Forecast::None,
    };
    Ok(Proposal { highest, method, held, key, nat, endpoints, forecast })
}

fn decode_endpoint(bytes: &[u8]) -> Result<Option<Endpoint>, Malformed> {
    let mut reader = Reader::new(bytes);
    let transport = match (reader.u8()?, bytes.len()) {
        (1, 7 | 19) => Transport::Udp,
        (2, 7 | 19) => Transport::Tcp,
        _ => return Ok(None),
    };
    let address: IpAddr = match bytes.len() {
        7 => reader.array::<4>()?.into(),
        _ => reader.array::<16>()?.into(),
    };
    let address = SocketAddr::new(address, reader.u16()?);
    Ok((address.port() != 0).then_some(Endpoint { transport, address }))
}

fn encode_nat(nat: &NatSummary, out: &mut Vec<u8>) {
    out.push(match nat.mapping {
        None => 0,
        Some(Mapping::EndpointIndependent) => 1,
        Some(Mapping::AddressDependent) => 2,
        Some(Mapping::AddressAndPortDependent) => 3,
    });
    out.push(filtering_number(nat.filtering));
    out.push(filtering_number(nat.filtering_v6));
    let (kind, first, size) = match nat.allocation {
        None => (0, 0, 0),
        Some(PortAllocation::Preserving) => (1, 0, 0),
        Some(PortAllocation::Sequential { step }) => (2, step.cast_unsigned(), 0),
        Some(PortAllocation::Block { first, size }) => (3, first, size),
        Some(PortAllocation::Random) => (4, 0, 0),
    };
    out.push(kind);
    out.put_u16(first);
    out.put_u16(size);
    let translated = match nat.translated {
        None => 0,
        Some(true) => 2,
        Some(false) => 4,
    };
    out.push(u8::from(nat.udp_blocked) | translated | (u8::from(nat.v6) << 3));
    out.put_u16(nat.sockets);
    out.put_u16(nat.probes);
}

fn decode_nat(reader: &mut Reader<'_>) -> Result<NatSummary, Malformed> {
    let mapping = match reader.u8()? {
        1 => Some(Mapping::EndpointIndependent),
        2 => Some(Mapping::AddressDependent),
        3 => Some(Mapping::AddressAndPortDependent),
        _ => None,
    };
    let (filtering, filtering_v6) = (filtering_of(reader.u8()?), filtering_of(reader.u8()?));
    let (kind, first, size) = (reader.u8()?, reader.u16()?, reader.u16()?);
    let allocation = match kind {
        1 => Some(PortAllocation::Preserving),
        2 => Some(PortAllocation::Sequential { step: first.cast_signed() }),
        3 => Some(PortAllocation::Block { first, size }),
        4 => Some(PortAllocation::Random),
        _ => None,
    };
    let flags = reader.u8()?;
    Ok(NatSummary {
        mapping,
        filtering,
        filtering_v6,
        allocation,
        udp_blocked: flags & 1 != 0,
        translated: match flags & 6 {
            2 => Some(true),
            4 => Some(false),
            _ => None,
        },
        v6: flags & 8 != 0,
        sockets: reader.u16()?,
        probes: reader.u16()?,
    })
}

fn filtering_number(filtering: Option<Filtering>) -> u8 {
    match filtering {
        None => 0,
        Some(Filtering::EndpointIndependent) => 1,
        Some(Filtering::AddressDependent) => 2,
        Some(Filtering::AddressAndPortDependent) => 3,
    }
}

fn filtering_of(number: u8) -> Option<Filtering> {
    match number {
        1 => Some(Filtering::EndpointIndependent),
        2 => Some(Filtering::AddressDependent),
        3 => Some(Filtering::AddressAndPortDependent),
        _ => None,
    }
}

fn method_numbers(method: Option<Method>) -> (u8, u8) {
    let sides = |initiator: bool, responder: bool| u8::from(initiator) | (u8::from(responder) << 1);
    match method {
        None => (0, 0),
        Some(Method::Plain) => (1, 0),
        Some(Method::Fresh) => (2, 0),
        Some(Method::Prediction { initiator, responder }) => (3, sides(initiator, responder)),
        Some(Method::Birthday { hard }) => (4, sides(hard == Side::Initiator, hard == Side::Responder)),
        Some(Method::TcpOpen) => (5, 0),
        Some(Method::TcpPrediction { initiator, responder }) => (6, sides(initiator, responder)),
    }
}

fn method_of(number: u8, sides: u8) -> Option<Method> {
    let (initiator, responder) = (sides & 1 != 0, sides & 2 != 0);
    match (number, initiator, responder) {
        (1, ..) => Some(Method::Plain),
        (2, ..) => Some(Method::Fresh),
        (3, ..) if initiator || responder => Some(Method::Prediction { initiator, responder }),
        (4, true, false) => Some(Method::Birthday { hard: Side::Initiator }),
        (4, false, true) => Some(Method::Birthday { hard: Side::Responder }),
        (5, ..) => Some(Method::TcpOpen),
        (6, ..) if initiator || responder => Some(Method::TcpPrediction { initiator, responder }),
        _ => None,
    }
}

fn milliseconds(span: Duration) -> u16 {
    u16::try_from(span.as_millis()).unwrap_or(u16::MAX)
}

/// Writes a length byte and the bytes, which callers keep below 256.
fn put_sized(out: &mut BytesMut, bytes: &[u8]) {
    debug_assert!(bytes.len() < 256, "{} bytes behind a length byte", bytes.len());
    out.put_u8(bytes.len() as u8);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests;
