//! Files of random bytes for the demonstration, with their SHA-256 computed apart from the engine.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::random::Jitter;
use sha2::{Digest, Sha256};

const BLOCK: usize = 64 * 1024;

/// Writes `size` bytes that follow from `seed`, and returns their hash.
pub fn random_file(path: &Path, size: u64, seed: u64) -> io::Result<FileHash> {
    let mut random = Jitter::from_seed(seed);
    let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&random.bits().to_le_bytes());
        }
        let part = &block[..left.min(BLOCK as u64) as usize];
        hasher.update(part);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    file.flush()?;
    Ok(FileHash::from_bytes(hasher.finalize().into()))
}

/// Hashes a file from its first to its last byte.
pub fn hash_file(path: &Path) -> io::Result<FileHash> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(FileHash::from_bytes(hasher.finalize().into())),
            count => hasher.update(&block[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_have_their_size_and_hash() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for size in [0, 1, BLOCK as u64, BLOCK as u64 * 2 + 3] {
            let path = dir.path().join(size.to_string());
            let hash = random_file(&path, size, 7).expect("written");
            assert_eq!(std::fs::metadata(&path).expect("exists").len(), size);
            assert_eq!(hash_file(&path).expect("readable"), hash);
        }
    }
}
