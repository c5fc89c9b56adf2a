//! A state that outlives the process in one small file: with a checksum, and replaced as a whole. A damaged file is set
//! aside, never believed and never overwritten. JSON with a version where a person may want to read it, or bytes. Not here:
//! what the state means.

use std::fs::{self, File};
use std::io::{ErrorKind as Io, Read as _};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::atomic;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::FileHash;

const CHECKSUM_BYTES: usize = 32;

/// The form of a JSON file.
#[derive(Deserialize)]
struct Stored<'a> {
    version: u32,
    /// SHA-256 of the state's text.
    checksum: FileHash,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// What a file gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// The state.
    State(T),
    /// There is no file yet.
    Nothing,
    /// It was damaged, of another version or larger than allowed; it was moved aside, and this says so.
    SetAside(String),
}

impl<T> Loaded<T> {
    /// The state, if there is one; what was set aside has been logged.
    pub fn state(self) -> Option<T> {
        match self {
            Self::State(state) => Some(state),
            Self::Nothing | Self::SetAside(_) => None,
        }
    }
}

/// Reads a state of this version from a JSON file of at most so many bytes. An unreadable file is an error. Blocks on the
/// disk.
pub fn read<T: DeserializeOwned>(path: &Path, version: u32, max_bytes: u64) -> Result<Loaded<T>> {
    read_with(path, max_bytes, |text| {
        let stored: Stored = serde_json::from_slice(text).map_err(|cause| cause.to_string())?;
        if stored.version != version {
            return Err(format!("version {} is unknown", stored.version));
        }
        if FileHash::of(stored.state.get().as_bytes()) != stored.checksum {
            return Err("its checksum is another".to_owned());
        }
        serde_json::from_str(stored.state.get()).map_err(|cause| cause.to_string())
    })
}

/// The content of a JSON file.
pub fn encode<T: Serialize>(version: u32, state: &T) -> Result<Vec<u8>> {
    let internal = |cause| Error::with_source(ErrorKind::Internal, "write a state as JSON", cause);
    let state = serde_json::to_string(state).map_err(internal)?;
    let checksum = FileHash::of(state.as_bytes());
    Ok(format!("{{\"version\":{version},\"checksum\":\"{checksum}\",\"state\":{state}}}\n").into_bytes())
}

/// Replaces a JSON file; only this user can read it. Blocks on the disk.
pub fn write<T: Serialize>(path: &Path, version: u32, state: &T) -> Result<()> {
    atomic::write_private(path, &encode(version, state)?)
}

/// Reads what [`write_bytes`] wrote, at most so many bytes. An unreadable file is an error. Blocks on the disk.
pub fn read_bytes(path: &Path, max_bytes: u64) -> Result<Loaded<Vec<u8>>> {
    read_with(path, max_bytes.saturating_add(CHECKSUM_BYTES as u64), |bytes| {
        let (state, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or("it is too short")?;
        let whole = FileHash::of(state).as_bytes() == checksum;
        if whole { Ok(state.to_vec()) } else { Err("its checksum is another".to_owned()) }
    })
}

/// Replaces a file by these bytes and their checksum; only this user can read it. Blocks on the disk.
pub fn write_bytes(path: &Path, state: &[u8]) -> Result<()> {
    atomic::write_private(path, &[state, FileHash::of(state).as_bytes()].concat())
}

fn read_with<T>(
    path: &Path,
    max_bytes: u64,
    parse: impl FnOnce(&[u8]) -> std::result::Result<T, String>,
) -> Result<Loaded<T>> {
    let failed = |cause| Error::io(format!("read {}", path.display()), cause);
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?,
        Err(cause) if cause.kind() == Io::NotFound => return Ok(Loaded::Nothing),
        Err(cause) => return Err(failed(cause)),
    };
    let parsed =
        if bytes.len() as u64 > max_bytes { Err(format!("it has more than {max_bytes} bytes")) } else { parse(&bytes) };
    let problem = match parsed {
        Ok(state) => return Ok(Loaded::State(state)),
        Err(problem) => problem,
    };
    let aside = path.with_extension("damaged");
    fs::rename(path, &aside).map_err(|cause| Error::io(format!("set aside {}", path.display()), cause))?;
    let warning = format!("{} cannot be used ({problem}); it was moved to {}", path.display(), aside.display());
    tracing::warn!("{warning}");
    Ok(Loaded::SetAside(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_is_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.json");
        let get = || read::<(Vec<String>, f64)>(&path, 3, 1000).expect("readable");
        assert_eq!(get(), Loaded::Nothing);
        // A number whose shortest text is easily read as its neighbour.
        let state = (vec!["one".to_owned(), "two".to_owned()], 0.1 + 0.7 * 0.3);
        write(&path, 3, &state).expect("written");
        assert!(matches!(get(), Loaded::State((texts, _)) if texts == state.0));
        let text = fs::read_to_string(&path).expect("text");
        let other_version = text.replace("\"version\":3", "\"version\":4");
        for bad in [text.replace("two", "six"), other_version, text[..text.len() - 2].to_owned(), " ".repeat(1001)] {
            fs::write(&path, &bad).expect("written");
            assert!(matches!(get(), Loaded::SetAside(_)), "{bad}");
            assert_eq!(get(), Loaded::Nothing, "it is gone from its place");
            assert_eq!(fs::read_to_string(path.with_extension("damaged")).expect("kept"), bad);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            write(&path, 3, &state).expect("written");
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn bytes_are_kept_in_the_same_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        let get = || read_bytes(&path, 10).expect("readable");
        assert_eq!(get(), Loaded::Nothing);
        for state in [&b""[..], b"0123456789"] {
            write_bytes(&path, state).expect("written");
            assert_eq!(get(), Loaded::State(state.to_vec()));
        }
        let whole = fs::read(&path).expect("bytes");
        let mut turned = whole.clone();
        turned[3] ^= 1;
        for bad in [turned, whole[..whole.len() - 1].to_vec(), Vec::new(), [&b"0"[..], &whole].concat()] {
            fs::write(&path, &bad).expect("written");
            assert!(matches!(get(), Loaded::SetAside(_)), "{bad:?}");
            assert_eq!(get(), Loaded::Nothing, "it is gone from its place");
        }
    }
}
