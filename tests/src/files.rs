//! Files of random bytes from a seed, and the SHA-256 of a file by a plain pass over it.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use dig_nat_core::base::ids::FileHash;
use dig_nat_core::base::random::Jitter;
use sha2::{Digest, Sha256};

const BLOCK: usize = 64 * 1024;

/// Writes a file of `size` bytes that follow from `seed`; gives its SHA-256. Panics when it cannot.
pub fn random_file(path: &Path, size: u64, seed: u64) -> FileHash {
    let mut random = Jitter::from_seed(seed);
    let file = File::create(path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut left = size;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&random.bits().to_le_bytes());
        }
        let part = &block[..left.min(BLOCK as u64) as usize];
        hasher.update(part);
        file.write_all(part).expect("the disk has room for test files");
        left -= part.len() as u64;
    }
    file.flush().expect("the disk has room for test files");
    FileHash::from_bytes(hasher.finalize().into())
}

/// The SHA-256 of a file. Panics when it cannot be read.
pub fn sha256(path: &Path) -> FileHash {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).expect("readable") {
            0 => return FileHash::from_bytes(hasher.finalize().into()),
            count => hasher.update(&block[..count]),
        }
    }
}
