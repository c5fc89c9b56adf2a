//! What a ladder asks of its driver, and the words for it. Plain data.
//! Not here: deciding (the machine in `mod.rs`).

use std::net::SocketAddr;

use super::situation::Target;
use super::theory::Technique;
use crate::base::time::Time;
use crate::nat::method::{Method, Side};
use crate::nat::report::AttemptLog;

/// One start of one way. Never used twice by a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RungId(pub u32);

/// How good a path is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Inside the local network.
    Local,
    /// From one side to the other without a third.
    Direct,
    /// Over a relay that carries files.
    Relay,
    /// Over a relay that limits bytes or time, or a slow one.
    Thin,
}

/// What a rung is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Dial these, racing each other; the first that proves to be the peer counts.
    Dial(Vec<Target>),
    /// Ask the peer to dial these addresses of ours.
    AskDialBack(Vec<Target>),
    /// Punch towards these, IPv6 first, and what signalling adds.
    Punch(Vec<SocketAddr>),
    /// Punch with guessed ports of these addresses.
    Guess {
        /// Where the peer was seen.
        addresses: Vec<SocketAddr>,
        /// How to guess.
        technique: Technique,
    },
    /// Run ICE.
    Ice,
    /// Go through a TURN server.
    Turn,
    /// Go through a circuit relay.
    Circuit,
    /// Go through a Gun relay.
    GunRelay,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Start a rung. The ladder cancels it itself at its deadline.
    Start {
        /// Its name from now on.
        rung: RungId,
        /// The way.
        method: Method,
        /// What to do.
        plan: Plan,
        /// When it will be cancelled.
        deadline: Time,
    },
    /// Stop a rung that has not ended.
    Cancel {
        /// Which.
        rung: RungId,
    },
    /// The first path stands: use it.
    Connected {
        /// Which rung gave it.
        rung: RungId,
        /// The way.
        method: Method,
    },
    /// Use another path that stands already. The old one, if it lives, stays until it is released.
    Switch {
        /// The path used so far.
        from: RungId,
        /// The path to use.
        to: RungId,
        /// The new path's way.
        method: Method,
        /// Why.
        why: Change,
    },
    /// Close a path that is not needed any more.
    Release {
        /// Which.
        rung: RungId,
    },
    /// The path in use died and none stands by. The search has begun again.
    Lost {
        /// Which path died.
        rung: RungId,
    },
    /// No way is left. Nothing follows until [`Ladder::start`] is called again.
    GiveUp {
        /// Everything that was tried.
        log: AttemptLog,
    },
}

/// Why another path is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is better, or the network changed under the old one.
    Upgrade,
    /// The old one died.
    Fallback,
}

/// What a path by this method is worth. `relayed`: over ICE's relay candidates; `limited`: circuits are.
pub(super) fn class_of(method: Method, relayed: bool, limited: bool) -> Class {
    match method {
        Method::Lan => Class::Local,
        Method::Circuit if limited => Class::Thin,
        Method::GunRelay => Class::Thin,
        Method::Circuit | Method::Turn => Class::Relay,
        _ if relayed => Class::Relay,
        Method::DirectV6
        | Method::DirectV4
        | Method::Mapped(_, Side::Ours | Side::Theirs)
        | Method::UdpPunch
        | Method::UdpAdvancedPunch
        | Method::TcpPunch
        | Method::TcpSimultaneousOpen
        | Method::Ice => Class::Direct,
    }
}

/// The first addresses of a plan, for the log.
pub(super) fn describe(plan: &Plan) -> String {
    let addresses: Vec<String> = match plan {
        Plan::Dial(targets) | Plan::AskDialBack(targets) => {
            targets.iter().map(|target| target.address.to_string()).collect()
        }
        Plan::Punch(addresses) | Plan::Guess { addresses, .. } => addresses.iter().map(ToString::to_string).collect(),
        Plan::Ice | Plan::Turn | Plan::Circuit | Plan::GunRelay => Vec::new(),
    };
    let more = if addresses.len() > 3 { ", ..." } else { "" };
    addresses.into_iter().take(3).collect::<Vec<_>>().join(", ") + more
}
