//! What goes into and comes out of the download machine: its configuration, inputs and outputs.
//! Not here: any decision.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::base::ids::{ContentKey, FileHash};
use crate::base::limits;
use crate::content::description::{Description, PieceCheck};
use crate::wire::transfer::{ClientFrame, ServerFrame};

/// One transfer stream of one download, which is one peer. Chosen by the driver, never reused within a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// One verification handed to the driver. Chosen by the machine, never reused within a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckId(pub u64);

/// How a download is to be done.
#[derive(Clone, Debug)]
pub struct DownloadConfig {
    /// What is wanted. For a content id the hash is taken from the first source that answers.
    pub key: ContentKey,
    /// Sources used at once.
    pub max_peers: usize,
    /// Bytes of unfinished pieces held in memory; a single piece larger than this is still fetched.
    pub assembly_bytes: u64,
    /// Largest request window per source, in bytes.
    pub max_window_bytes: u64,
    /// Seed of all random choices.
    pub seed: u64,
    /// Bytes per request, at most [`limits::MAX_BLOCK_BYTES`]; less only for tests and simulation.
    pub block_bytes: u32,
    /// Piece length instead of the layout rule's; only for tests and simulation, where small files need many pieces.
    pub piece_length: Option<u32>,
}

impl DownloadConfig {
    /// The defaults of a standard node.
    pub fn new(key: ContentKey, seed: u64) -> Self {
        Self {
            key,
            max_peers: limits::DEFAULT_MAX_PEERS,
            assembly_bytes: limits::MAX_ASSEMBLY_BYTES,
            max_window_bytes: limits::MAX_WINDOW_BYTES,
            block_bytes: limits::MAX_BLOCK_BYTES,
            seed,
            piece_length: None,
        }
    }
}

/// Something that happened to a download.
#[derive(Clone, Debug)]
pub enum Input {
    /// A stream to a peer is open and HELLO has been sent on it. Answered with [`Output::Close`] at once if the peer
    /// is banned, already in use, or one too many.
    SourceOpened {
        /// The new stream.
        source: SourceId,
        /// Text of the peer's id; two streams with the same text are the same peer.
        peer: String,
    },
    /// A control frame arrived. (A DATA frame here is treated as [`Input::Block`].)
    Frame {
        /// Where from.
        source: SourceId,
        /// What.
        frame: ServerFrame,
    },
    /// A DATA frame arrived.
    Block {
        /// Where from.
        source: SourceId,
        /// Position in the file.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The stream ended, for whatever reason. Not needed after [`Output::Close`] or [`Output::Ban`], and harmless then.
    SourceClosed {
        /// Which.
        source: SourceId,
    },
    /// Answer to [`Output::Described`]: the part file is open at its full length.
    StoreReady {
        /// Byte ranges that may hold data of an earlier run (or of an earlier description); ascending. They are
        /// verified by [`Output::CheckDisk`], never trusted.
        on_disk: Vec<Range<u64>>,
    },
    /// Answer to [`Output::Check`] or [`Output::CheckDisk`]. If `consistent`, and a position to write was given, the
    /// data is in the part file.
    Checked {
        /// Which verification.
        id: CheckId,
        /// The data continues the description at that piece.
        consistent: bool,
    },
    /// The number of sources to use at once has changed.
    MaxPeers(usize),
    /// How many further candidates the driver could dial right now. While there are some, useless sources are given
    /// up for them.
    Candidates(usize),
}

/// Something the driver is to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a frame.
    Send {
        /// On which stream.
        source: SourceId,
        /// What.
        frame: ClientFrame,
    },
    /// End the stream. No accusation.
    Close {
        /// Which.
        source: SourceId,
        /// The peer may be worth another stream after this long; `None`: not for this download.
        retry: Option<Duration>,
    },
    /// End the stream and never use this peer again: it was caught lying.
    Ban {
        /// Which stream; already ended if the lie was found later.
        source: SourceId,
        /// Text of the peer's id, as given in [`Input::SourceOpened`].
        peer: String,
        /// What it did.
        reason: String,
    },
    /// A description was accepted: open the part file (in place, keeping data that is there), register the file for
    /// serving under this description, then answer [`Input::StoreReady`].
    ///
    /// Comes again when a description was refuted, after [`Output::Unservable`] and never while a verification is
    /// under way: release the part file and open it anew, as length and even (for a content id) hash may differ.
    Described {
        /// The file's hash.
        hash: FileHash,
        /// Its size in bytes.
        length: u64,
        /// Bytes per piece.
        piece_length: u32,
        /// The name a source gave it; not sanitised, may be empty.
        name: String,
        /// The description itself, for serving.
        description: Description,
    },
    /// Hash `parts` in order with `check` on a worker; if they are consistent and `write_at` is given, write them
    /// there; then answer [`Input::Checked`]. Verifications under way never hold more than
    /// [`DownloadConfig::assembly_bytes`] (or one piece, if that is larger).
    Check {
        /// To be repeated in the answer.
        id: CheckId,
        /// Index of the piece, for logs.
        piece: u32,
        /// What to check with.
        check: PieceCheck,
        /// Where the piece belongs in the part file; `None` for a piece that only decides between two descriptions.
        write_at: Option<u64>,
        /// The piece's bytes.
        parts: Vec<Bytes>,
    },
    /// Read a piece from the part file, check it, answer [`Input::Checked`]. At most
    /// [`limits::MAX_DISK_CHECKS`] are under way at once.
    CheckDisk {
        /// To be repeated in the answer.
        id: CheckId,
        /// Index of the piece, for logs.
        piece: u32,
        /// What to check with.
        check: PieceCheck,
        /// Position of the piece in the part file.
        offset: u64,
        /// Its length.
        length: u32,
    },
    /// This piece is in the part file and consistent under the description of the last [`Output::Described`]: it may
    /// be served to others.
    Servable {
        /// Its index.
        piece: u32,
    },
    /// The description of the last [`Output::Described`] was refuted: end all serving sessions of this download with
    /// GONE (changed). A new [`Output::Described`] and [`Output::Servable`] for the pieces that stay valid follow.
    Unservable,
    /// Every piece is consistent, therefore proven, and in the part file. All sources have been closed; nothing
    /// follows.
    Finished {
        /// The proven description.
        description: Description,
    },
}
