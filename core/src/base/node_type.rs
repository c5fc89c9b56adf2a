//! How much a node remembers of others, by the machine it runs on. Not here: what is remembered (`discovery`).

use std::str::FromStr;

use super::error::{Error, Result};

/// What kind of machine a node runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeType {
    /// A phone, or a program that only downloads now and then.
    Light,
    /// A desktop.
    #[default]
    Standard,
    /// A server.
    Super,
}

impl NodeType {
    /// The name in options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Standard => "standard",
            Self::Super => "super",
        }
    }

    /// Peers remembered in all.
    pub const fn max_peers(self) -> usize {
        match self {
            Self::Light => 100,
            Self::Standard => 1000,
            Self::Super => 10_000,
        }
    }

    /// Content keys for which peers are remembered; what this node shares is not counted.
    pub const fn max_keys(self) -> usize {
        match self {
            Self::Light => 50,
            Self::Standard => 200,
            Self::Super => 1000,
        }
    }

    /// Peers remembered per content key.
    pub const fn max_peers_per_key(self) -> usize {
        match self {
            Self::Light => 20,
            Self::Standard => 50,
            Self::Super => 200,
        }
    }
}

impl FromStr for NodeType {
    type Err = Error;

    /// Also takes the other names of the original package: `unknown` is a standard node, `relay` and `bootstrap` are
    /// super nodes.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "light" => Ok(Self::Light),
            "standard" | "unknown" => Ok(Self::Standard),
            "super" | "relay" | "bootstrap" => Ok(Self::Super),
            other => Err(Error::invalid("nodeType", format_args!("{other:?} is none of light, standard, super"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        for kind in [NodeType::Light, NodeType::Standard, NodeType::Super] {
            assert_eq!(kind.name().parse::<NodeType>().expect("its name"), kind);
        }
        assert_eq!("relay".parse::<NodeType>().expect("known"), NodeType::Super);
        assert!("huge".parse::<NodeType>().is_err());
    }
}
