//! What was tried, for error reports, and the errors that carry it. Not here: what is tried next (`plan`).

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::base::error::{Error, ErrorKind};
use crate::nat::punch::Method;

/// One round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its number, from 1.
    pub round: u8,
    /// How it was tried.
    pub method: Method,
    /// Addresses that were aimed at, ports counted one by one.
    pub targets: u32,
    /// Packets sent, or connections tried.
    pub spent: u32,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Outcome {
    /// A path to this address.
    Connected {
        /// The peer's address.
        remote: SocketAddr,
    },
    /// None, and why.
    Failed {
        /// For people.
        reason: String,
    },
}

/// The whole story of an attempt that failed: the source of its [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// All rounds in order.
    pub log: Vec<Attempt>,
}

impl Attempt {
    /// A round that is about to run.
    pub(super) fn new(round: u8, method: Method, targets: u32) -> Self {
        let outcome = Outcome::Failed { reason: "not finished".into() };
        Self { round, method, targets, spent: 0, took_ms: 0, outcome }
    }

    /// Notes how it ended.
    pub(super) fn end(&mut self, spent: u32, took: Duration, result: Result<SocketAddr, String>) {
        self.spent = spent;
        self.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.outcome = match result {
            Ok(remote) => Outcome::Connected { remote },
            Err(reason) => Outcome::Failed { reason },
        };
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, method, targets, spent, took_ms, outcome } = self;
        write!(f, "round {round}, {method}, {targets} targets, {spent} sent, {took_ms} ms: ")?;
        match outcome {
            Outcome::Connected { remote } => write!(f, "connected to {remote}"),
            Outcome::Failed { reason } => f.write_str(reason),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.log.is_empty() {
            return f.write_str("nothing was tried");
        }
        for (index, attempt) in self.log.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// An error that carries the log.
pub(super) fn error(kind: ErrorKind, reason: &str, log: Vec<Attempt>) -> Error {
    Error::with_source(kind, format!("hole punching: {reason}"), Failure { log })
}

/// The error of a cancelled attempt.
pub(super) fn cancelled(log: Vec<Attempt>) -> Error {
    error(ErrorKind::Cancelled, "cancelled", log)
}
