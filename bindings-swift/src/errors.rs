//! The error of all calls: one case per kind of core's table, with code, reason and advice.
//! Not here: the table.

use std::fmt;

use dig_nat_core::{Error, ErrorKind};

/// Results of this crate.
pub(crate) type Result<T> = std::result::Result<T, DigNatError>;

// No field may be called `message`: the Kotlin class would have two.
macro_rules! errors {
    ($($(#[doc = $doc:literal])+ $kind:ident)+) => {
        /// Why a call failed. One case per kind; new versions may add cases.
        #[derive(Clone, Debug, PartialEq, Eq, uniffi::Error)]
        pub enum DigNatError {
            $($(#[doc = $doc])+ $kind {
                /// The same text in every language of this library, such as `ERR_TIMEOUT`.
                code: String,
                /// What was being done and what went wrong.
                reason: String,
                /// What a person can do about it.
                advice: String,
            },)+
        }

        impl From<Error> for DigNatError {
            fn from(error: Error) -> Self {
                let kind = error.kind();
                let (code, reason, advice) = (kind.code().into(), error.full_message(), kind.advice().into());
                match kind {
                    $(ErrorKind::$kind => Self::$kind { code, reason, advice },)+
                    // The test below fails before a release could get here.
                    _ => Self::Internal { code, reason, advice },
                }
            }
        }

        impl DigNatError {
            fn parts(&self) -> (&'static str, &str, &str, &str) {
                match self {
                    $(Self::$kind { code, reason, advice } => (stringify!($kind), code, reason, advice),)+
                }
            }
        }
    };
}

errors! {
    /// A bug in this library.
    Internal
    /// An argument or option has a value that cannot work; the reason names it.
    InvalidArgument
    /// The call needs a running object, or one that is not running.
    InvalidState
    /// The caller cancelled the operation.
    Cancelled
    /// The operation did not finish in time.
    Timeout
    /// A limit of this node is reached.
    LimitReached
    /// A local file or directory does not exist.
    FileNotFound
    /// The operating system denied access to a file or directory.
    PermissionDenied
    /// The disk has no room for the file.
    DiskFull
    /// A file is in use by another download or process.
    FileBusy
    /// A shared file changed after it was hashed.
    FileChanged
    /// Any other failure of reading or writing local data.
    Io
    /// A port or address cannot be listened on.
    AddressInUse
    /// A peer could not be reached.
    PeerUnreachable
    /// An established connection ended.
    ConnectionClosed
    /// A peer broke the protocol.
    Protocol
    /// Nobody who has the content was found.
    NoPeers
    /// The peers that were asked do not have the content.
    ContentNotFound
    /// Received data does not have the requested hash.
    VerificationFailed
}

impl DigNatError {
    pub(crate) fn internal(reason: String) -> Self {
        Error::new(ErrorKind::Internal, reason).into()
    }
}

impl fmt::Display for DigNatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, code, reason, advice) = self.parts();
        write!(f, "{reason} ({code}); {advice}")
    }
}

impl std::error::Error for DigNatError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_case() {
        for kind in ErrorKind::ALL {
            let error = DigNatError::from(Error::new(*kind, "x"));
            assert_eq!(error.parts(), (kind.name(), kind.code(), "x", kind.advice()));
        }
    }
}
