//! Disk: shared files, part files, directories, the hash cache. Blocking code on `std::fs`, meant for
//! `spawn_blocking`.
//! Not here: what the bytes mean (`content`), who asks for them (`transfer`), tasks and sockets. The only thread of its
//! own is that of a watched directory (`watch::driver`).

pub mod atomic;
pub mod directory;
pub mod hash_cache;
pub mod names;
pub mod part_file;
pub mod positional;
pub mod shared_file;
pub mod space;
pub mod state_file;
pub mod watch;

pub use directory::HashProgress;
pub use hash_cache::HashCache;
pub use part_file::PartFile;
pub use shared_file::{Fingerprint, SharedFile};
