//! A directory as it changes: files that are new, changed, moved or removed, told when they have come to rest.
//! Not here: what is done about it (`api`), and finding the files in the first place
//! ([`directory`](super::directory)).
//!
//! [`machine`] decides, without clock or disk, what to look at and what has happened; [`driver`] is the thread around
//! it, with the watches of the operating system. What the system reports is only ever a hint where to look: every
//! conclusion is drawn from the files themselves, so lost, doubled and reordered reports do no harm.

pub mod driver;
pub mod machine;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::shared_file::Fingerprint;

/// What is watched and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Subdirectories too.
    pub recursive: bool,
    /// Only files with one of these extensions, if there is any; in any case, with or without the dot.
    pub include_extensions: Vec<String>,
    /// No file with one of these extensions.
    pub exclude_extensions: Vec<String>,
    /// No larger file, in bytes.
    pub max_file_size: Option<u64>,
    /// A file that was reported is looked at when nothing more was reported for so long.
    pub debounce: Duration,
    /// A file is told of when it kept its size and modification time for so long.
    pub stability: Duration,
    /// Left out, with all below them.
    pub excluded: Vec<PathBuf>,
    /// Look through the directory at this interval instead of asking the operating system for reports.
    pub polling: Option<Duration>,
}

impl Default for WatchConfig {
    /// Everything, recursively; 100 ms debounce, 2 s stability.
    fn default() -> Self {
        Self {
            recursive: true,
            include_extensions: Vec::new(),
            exclude_extensions: Vec::new(),
            max_file_size: None,
            debounce: Duration::from_millis(100),
            stability: Duration::from_secs(2),
            excluded: Vec::new(),
            polling: None,
        }
    }
}

impl WatchConfig {
    /// Whether a file of this name and length is of interest.
    pub fn admits(&self, path: &Path, length: u64) -> bool {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let among = |list: &[String]| {
            let same = |listed: &String| {
                let listed = listed.strip_prefix('.').unwrap_or(listed);
                extension.as_ref().is_some_and(|extension| listed.to_lowercase() == *extension)
            };
            list.iter().any(same)
        };
        (self.include_extensions.is_empty() || among(&self.include_extensions))
            && !among(&self.exclude_extensions)
            && self.max_file_size.is_none_or(|most| length <= most)
    }
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new and at rest.
    Added(PathBuf),
    /// It has other content than before, or was written again, and is at rest.
    Changed(PathBuf),
    /// It has another name and is unchanged.
    Moved {
        /// The name it had.
        from: PathBuf,
        /// The name it has.
        to: PathBuf,
        /// What it looks like, before and after.
        fingerprint: Fingerprint,
    },
    /// It is gone, or of no interest any more.
    Removed(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_and_sizes_choose_files() {
        let all = WatchConfig::default();
        assert!(all.admits(Path::new("a"), u64::MAX));
        let some = WatchConfig {
            include_extensions: vec![".MKV".into(), "txt".into()],
            exclude_extensions: vec!["TXT".into()],
            max_file_size: Some(10),
            ..WatchConfig::default()
        };
        for (name, length, expected) in
            [("a.mkv", 10, true), ("a.Mkv", 11, false), ("a.txt", 1, false), ("mkv", 1, false), ("a.mkv.x", 1, false)]
        {
            assert_eq!(some.admits(Path::new(name), length), expected, "{name}");
        }
    }
}
