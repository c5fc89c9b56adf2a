//! Descriptions of files hashed before, so that a restart does not read terabytes again. Kept in redb, which survives a
//! crash at any moment.
//! Not here: hashing (`shared_file`, `directory`). The cache is only ever a shortcut: whatever goes wrong with it, files
//! are hashed again, and nothing but a warning comes of it.
//!
//! ```text
//! key    absolute path, in the operating system's encoding
//! value  version:u8=1 length:u64 modified_ns:i64 device:u64 inode:u64 hash:32 piece_length:u32 check:8 states:32*n
//!        integers are big-endian; check is the start of the SHA-256 over key, the fields before it, and the states
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, ReadableTableMetadata, StorageError, TableDefinition};
use sha2::{Digest, Sha256};

use super::names;
use super::shared_file::Fingerprint;
use crate::base::ids::FileHash;
use crate::base::limits;
use crate::content::{Description, PieceLayout};
use crate::wire::reader::Reader;

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("descriptions");
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;

/// One file's description, as [`HashCache::put_all`] takes it.
pub type CacheEntry = (PathBuf, Fingerprint, Description);

/// A persistent map from a path and its fingerprint to the description. Use from any thread.
#[derive(Debug)]
pub struct HashCache {
    database: Option<Database>,
}

impl HashCache {
    /// Opens or creates the cache in a directory, which is created if need be.
    ///
    /// A damaged file is set aside (`.damaged`, replacing an older one) with a warning and a fresh one is made. If
    /// another process holds the file, or it cannot be written, the cache works in memory only, with a warning.
    pub fn open(directory: &Path) -> Self {
        let path = directory.join(names::HASH_CACHE);
        let opened = fs::create_dir_all(directory).map_err(|error| DatabaseError::Storage(StorageError::Io(error)));
        match opened.and_then(|()| open_database(&path)) {
            Ok(database) => return Self { database: Some(database) },
            Err(error) if is_damage(&error) => {
                tracing::warn!(path = %path.display(), %error, "hash cache is damaged and set aside; files are hashed again");
                let fresh = fs::rename(&path, path.with_extension("redb.damaged"))
                    .map_err(|error| DatabaseError::Storage(StorageError::Io(error)))
                    .and_then(|()| open_database(&path));
                match fresh {
                    Ok(database) => return Self { database: Some(database) },
                    Err(error) => tracing::warn!(path = %path.display(), %error, "no fresh hash cache"),
                }
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                tracing::warn!(path = %path.display(), "hash cache is used by another process; this one keeps none");
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "hash cache cannot be opened"),
        }
        Self::in_memory()
    }

    /// A cache that ends with the process.
    pub fn in_memory() -> Self {
        let database = builder().create_with_backend(InMemoryBackend::new());
        Self { database: database.inspect_err(|error| tracing::warn!(%error, "no hash cache in memory")).ok() }
    }

    /// The description of the file at this path, if it was stored for this very version of the file.
    pub fn get(&self, path: &Path, fingerprint: &Fingerprint) -> Option<Description> {
        let found = self.read(path).inspect_err(|error| tracing::warn!(%error, "hash cache not read")).ok()??;
        let (stored, description) = found;
        (stored == *fingerprint).then_some(description)
    }

    /// Remembers one description. See [`Self::put_all`], which is far cheaper for many.
    pub fn put(&self, path: &Path, fingerprint: &Fingerprint, description: &Description) {
        self.put_all(&[(path.to_owned(), *fingerprint, description.clone())]);
    }

    /// Remembers descriptions in one transaction. Files that are not settled ([`Fingerprint::is_settled`]) are left
    /// out: their fingerprint does not prove yet that they are the version that was hashed.
    pub fn put_all(&self, entries: &[CacheEntry]) {
        if let Err(error) = self.write(entries) {
            tracing::warn!(%error, "hash cache not written");
        }
    }

    /// Number of files remembered.
    pub fn len(&self) -> u64 {
        self.count().unwrap_or(0)
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn count(&self) -> Result<u64, redb::Error> {
        let Some(database) = &self.database else { return Ok(0) };
        match redb::ReadableDatabase::begin_read(database)?.open_table(TABLE) {
            Ok(table) => Ok(table.len()?),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<(Fingerprint, Description)>, redb::Error> {
        let (Some(database), Some(key)) = (&self.database, key(path)) else { return Ok(None) };
        let table = match redb::ReadableDatabase::begin_read(database)?.open_table(TABLE) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A value that does not decode (another version, damage) is a miss and is replaced by the next put.
        Ok(table.get(&key[..])?.and_then(|value| decode(&key, value.value())))
    }

    fn write(&self, entries: &[CacheEntry]) -> Result<(), redb::Error> {
        let Some(database) = &self.database else { return Ok(()) };
        if !entries.iter().any(|(_, fingerprint, _)| fingerprint.is_settled()) {
            return Ok(());
        }
        let transaction = database.begin_write()?;
        let full = transaction.open_table(TABLE)?.len()? >= limits::MAX_HASH_CACHE_ENTRIES;
        if full {
            tracing::warn!("hash cache is full and starts afresh");
            transaction.delete_table(TABLE)?;
        }
        {
            let mut table = transaction.open_table(TABLE)?;
            for (path, fingerprint, description) in entries {
                if let (true, Some(key)) = (fingerprint.is_settled(), key(path)) {
                    table.insert(&key[..], &encode(&key, fingerprint, description)[..])?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // A plain open trusts the pages it finds and may panic on damaged ones.
    builder.set_cache_size(limits::HASH_CACHE_MEMORY_BYTES).set_check_integrity_on_open(true);
    builder
}

fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    builder().create(path)
}

/// Whether an error speaks of the file's content and not of access to it.
fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        DatabaseError::Storage(StorageError::Corrupted(_))
        | DatabaseError::RepairAborted
        | DatabaseError::UpgradeRequired(_) => true,
        _ => false,
    }
}

/// `None` if there is no current directory to make a relative path absolute.
fn key(path: &Path) -> Option<Vec<u8>> {
    std::path::absolute(path).ok().map(|path| path.into_os_string().into_encoded_bytes())
}

fn encode(key: &[u8], fingerprint: &Fingerprint, description: &Description) -> Vec<u8> {
    let states = description.all_state_bytes();
    let mut value = Vec::with_capacity(80 + states.len());
    value.push(VERSION);
    value.extend(fingerprint.length.to_be_bytes());
    value.extend(fingerprint.modified_ns.to_be_bytes());
    value.extend(fingerprint.device.to_be_bytes());
    value.extend(fingerprint.inode.to_be_bytes());
    value.extend(description.hash().as_bytes());
    value.extend(description.layout().piece_length().to_be_bytes());
    value.extend(check(key, &value, states));
    value.extend_from_slice(states);
    value
}

fn decode(key: &[u8], value: &[u8]) -> Option<(Fingerprint, Description)> {
    let mut reader = Reader::new(value);
    if reader.u8().ok()? != VERSION {
        return None;
    }
    let length = reader.u64().ok()?;
    let modified_ns = i64::from_be_bytes(reader.array().ok()?);
    let (device, inode) = (reader.u64().ok()?, reader.u64().ok()?);
    let hash = FileHash::from_bytes(reader.array().ok()?);
    let piece_length = reader.u32().ok()?;
    let fields = &value[..value.len() - reader.rest().len()];
    let stored: [u8; CHECK_BYTES] = reader.array().ok()?;
    let states = reader.rest();
    if stored != check(key, fields, states) {
        return None;
    }
    let layout = PieceLayout::for_length(length).ok().filter(|layout| layout.piece_length() == piece_length)?;
    let description = Description::from_state_bytes(hash, layout, Bytes::copy_from_slice(states)).ok()?;
    Some((Fingerprint::restored(length, modified_ns, device, inode), description))
}

fn check(key: &[u8], fields: &[u8], states: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(key).chain_update(fields).chain_update(states).finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests;
