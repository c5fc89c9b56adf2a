//! SHA-256 of data and files for users of the library.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::FileHash;

/// Hashes bytes held in memory.
pub fn calculate_sha256(data: &[u8]) -> FileHash {
    FileHash::of(data)
}

/// Hashes a file on a worker thread. Dropping the task cancels it within a few MiB.
pub fn calculate_sha256_file(path: impl AsRef<Path>) -> Task<FileHash> {
    let path = path.as_ref().to_owned();
    Task::spawn(async move |cancel| {
        tokio::task::spawn_blocking(move || hash_file(&path, &cancel))
            .await
            .map_err(|error| Error::with_source(ErrorKind::Internal, "hashing thread", error))?
    })
}

fn hash_file(path: &Path, cancel: &CancellationToken) -> Result<FileHash> {
    use std::io::Read;

    use sha2::{Digest, Sha256};

    let failed = |error| Error::io(format!("hash {}", path.display()), error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut hasher = Sha256::new();
    loop {
        if cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "hashing was cancelled"));
        }
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(FileHash::from_bytes(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
