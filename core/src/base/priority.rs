//! How widely a content is announced. Not here: which ways of discovery each priority reaches (`discovery`).

use std::str::FromStr;

use super::error::{Error, Result};

/// How widely a content is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Only on the local network.
    Low,
    /// On the local network, in the DHT and to connected peers.
    Medium,
    /// Everywhere.
    #[default]
    High,
}

impl Priority {
    /// The name in options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Low, Self::Medium, Self::High]
            .into_iter()
            .find(|priority| priority.name() == text)
            .ok_or_else(|| Error::invalid("priority", format_args!("{text:?} is none of low, medium, high")))
    }
}
