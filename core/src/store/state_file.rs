//! A small state in one JSON file that a person can read: with a version and a checksum, replaced as a whole. A damaged
//! file is set aside, never believed and never overwritten. Not here: what the state means.

use std::fs::{self, File};
use std::io::{ErrorKind as Io, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::atomic;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::FileHash;

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    version: u32,
    /// SHA-256 of the state in compact form.
    checksum: String,
    state: T,
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

/// Reads a state of this version from a file of at most so many bytes. An unreadable file is an error. Blocks on the
/// disk.
pub fn read<T: Serialize + DeserializeOwned>(path: &Path, version: u32, max_bytes: u64) -> Result<Loaded<T>> {
    let failed = |cause| Error::io(format!("read {}", path.display()), cause);
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(max_bytes + 1).read_to_end(&mut text).map_err(failed)?,
        Err(cause) if cause.kind() == Io::NotFound => return Ok(Loaded::Nothing),
        Err(cause) => return Err(failed(cause)),
    };
    let problem = if text.len() as u64 > max_bytes {
        format!("it has more than {max_bytes} bytes")
    } else {
        match parse(&text, version) {
            Ok(state) => return Ok(Loaded::State(state)),
            Err(problem) => problem,
        }
    };
    let aside = path.with_extension("damaged");
    fs::rename(path, &aside).map_err(|cause| Error::io(format!("set aside {}", path.display()), cause))?;
    let warning = format!("{} cannot be used ({problem}); it was moved to {}", path.display(), aside.display());
    tracing::warn!("{warning}");
    Ok(Loaded::SetAside(warning))
}

/// Replaces the file; only this user can read it. Blocks on the disk.
pub fn write<T: Serialize>(path: &Path, version: u32, state: &T) -> Result<()> {
    let internal = |cause| Error::with_source(ErrorKind::Internal, format!("write {}", path.display()), cause);
    let checksum = checksum(state).map_err(internal)?;
    let text = serde_json::to_vec_pretty(&Stored { version, checksum, state }).map_err(internal)?;
    atomic::write_private(path, &text)
}

fn parse<T: Serialize + DeserializeOwned>(text: &[u8], version: u32) -> std::result::Result<T, String> {
    let stored: Stored<T> = serde_json::from_slice(text).map_err(|cause| cause.to_string())?;
    if stored.version != version {
        return Err(format!("version {} is unknown", stored.version));
    }
    let checksum = checksum(&stored.state).map_err(|cause| cause.to_string())?;
    if checksum == stored.checksum { Ok(stored.state) } else { Err("its checksum is another".to_owned()) }
}

fn checksum<T: Serialize>(state: &T) -> serde_json::Result<String> {
    Ok(FileHash::of(&serde_json::to_vec(state)?).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_is_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.json");
        let get = || read::<Vec<String>>(&path, 3, 1000).expect("readable");
        assert_eq!(get(), Loaded::Nothing);
        let state = vec!["one".to_owned(), "two".to_owned()];
        write(&path, 3, &state).expect("written");
        assert_eq!(get(), Loaded::State(state.clone()));
        let text = fs::read_to_string(&path).expect("text");
        for bad in [
            text.replace("two", "six"),
            text.replace("\"version\": 3", "\"version\": 4"),
            text[..text.len() - 2].to_owned(),
            " ".repeat(1001),
        ] {
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
}
