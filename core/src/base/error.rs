//! The one error type and its table of kinds, the source of every language's errors.
//! Not here: how a binding shows them (exception classes, status numbers), which is generated from this table.

use std::error::Error as StdError;
use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $code:literal, $advice:literal;)+) => {
        /// What went wrong, stable across versions and languages. Numbers are grouped by area with gaps left free.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorKind { $($(#[doc = $doc])+ $name = $number,)+ }

        impl ErrorKind {
            /// Every kind, in order of its number.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name,)+];

            /// The number used as status in C. Never changes and is never reused.
            pub const fn number(self) -> u16 { self as u16 }

            /// The text code used in Node (`error.code`) and in JSON.
            pub const fn code(self) -> &'static str { match self { $(ErrorKind::$name => $code,)+ } }

            /// What a person can do about it.
            pub const fn advice(self) -> &'static str { match self { $(ErrorKind::$name => $advice,)+ } }

            /// One paragraph of documentation.
            pub const fn doc(self) -> &'static str { match self { $(ErrorKind::$name => concat!($($doc, "\n"),+),)+ } }

            /// The variant's name, for class names in bindings.
            pub const fn name(self) -> &'static str { match self { $(ErrorKind::$name => stringify!($name),)+ } }
        }
    };
}

kinds! {
    /// A bug in this library.
    Internal = 1, "ERR_INTERNAL", "report it with the log output";
    /// An argument or option has a value that cannot work; the message names it.
    InvalidArgument = 10, "ERR_INVALID_ARGUMENT", "correct the named option";
    /// The call needs a running object, or one that is not running.
    InvalidState = 11, "ERR_INVALID_STATE", "call start() first, or do not reuse a stopped object";
    /// The caller cancelled the operation.
    Cancelled = 12, "ERR_CANCELLED", "nothing to do; a download can be resumed by starting it again";
    /// The operation did not finish in time.
    Timeout = 13, "ERR_TIMEOUT", "raise the timeout or check the network";
    /// A limit of this node is reached.
    LimitReached = 14, "ERR_LIMIT_REACHED", "retry later or raise the named limit";
    /// A local file or directory does not exist.
    FileNotFound = 20, "ERR_FILE_NOT_FOUND", "check the path";
    /// The operating system denied access to a file or directory.
    PermissionDenied = 21, "ERR_PERMISSION_DENIED", "check the permissions of the path";
    /// The disk has no room for the file.
    DiskFull = 22, "ERR_DISK_FULL", "free space or choose another target directory; the download resumes";
    /// A file is in use by another download or process.
    FileBusy = 23, "ERR_FILE_BUSY", "wait for the other download or choose another target";
    /// A shared file changed after it was hashed.
    FileChanged = 24, "ERR_FILE_CHANGED", "share the file again";
    /// Any other failure of reading or writing local data.
    Io = 25, "ERR_IO", "see the cause";
    /// A port or address cannot be listened on.
    AddressInUse = 30, "ERR_ADDRESS_IN_USE", "choose another port, or 0 for a free one";
    /// A peer could not be reached.
    PeerUnreachable = 31, "ERR_PEER_UNREACHABLE", "check the address and that the peer is running";
    /// An established connection ended.
    ConnectionClosed = 32, "ERR_CONNECTION_CLOSED", "connect again";
    /// A peer broke the protocol.
    Protocol = 33, "ERR_PROTOCOL", "the peer runs an incompatible or faulty program";
    /// Nobody who has the content was found.
    NoPeers = 40, "ERR_NO_PEERS", "check the hash, name a peer, or wait until one is online";
    /// The peers that were asked do not have the content.
    ContentNotFound = 41, "ERR_CONTENT_NOT_FOUND", "check the hash or content id";
    /// Received data does not have the requested hash.
    VerificationFailed = 42, "ERR_VERIFICATION_FAILED", "every source lied; look for other peers";
}

/// An error: its kind, what was being done, and the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a deeper cause. `context` says what failed and names the option, path or peer.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// The same with the error that caused it.
    pub fn with_source(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    /// Wraps an I/O error, choosing the kind from the operating system's code.
    pub fn io(context: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => ErrorKind::FileNotFound,
            Io::PermissionDenied => ErrorKind::PermissionDenied,
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::DiskFull,
            Io::AddrInUse | Io::AddrNotAvailable => ErrorKind::AddressInUse,
            Io::TimedOut => ErrorKind::Timeout,
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => {
                ErrorKind::ConnectionClosed
            }
            Io::ConnectionRefused | Io::HostUnreachable | Io::NetworkUnreachable => ErrorKind::PeerUnreachable,
            Io::InvalidInput | Io::InvalidFilename => ErrorKind::InvalidArgument,
            Io::ResourceBusy => ErrorKind::FileBusy,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, context, source)
    }

    /// An [`ErrorKind::InvalidArgument`] naming the option.
    pub fn invalid(option: &str, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidArgument, format!("{option}: {problem}"))
    }

    /// The kind.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was being done, without the cause.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The whole story in one line: context, causes, advice.
    pub fn full_message(&self) -> String {
        let mut text = self.context.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let part = error.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn numbers_and_codes_are_unique_and_sorted() {
        let numbers: Vec<u16> = ErrorKind::ALL.iter().map(|kind| kind.number()).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(numbers, sorted);
        let codes: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(ErrorKind::ALL.iter().all(|kind| !kind.advice().is_empty() && !kind.doc().is_empty()));
    }

    #[test]
    fn the_cause_is_kept() {
        let error = Error::io("open a.bin", std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!(error.kind(), ErrorKind::FileNotFound);
        assert!(error.source().is_some());
        assert!(error.full_message().starts_with("open a.bin: "));
    }
}
