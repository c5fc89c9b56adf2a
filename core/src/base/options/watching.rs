//! Options of watching a directory. Not here: what they do (`store::watch`, `api::watching`).

use serde::{Deserialize, Serialize};

use super::{FromJson, OptionInfo, in_range};
use crate::base::error::Result;
use crate::base::priority::Priority;

options! {
    /// Options of sharing a directory and following what changes in it.
    WatchOptions {
        /// Subdirectories too. Default true.
        recursive: bool = true, "recursive" | "watchRecursive";
        /// Share only files with one of these extensions, in upper or lower case. Default empty: all.
        include_extensions: Vec<String> = Vec::new(), "includeExtensions" | "watchIncludeExtensions" | "include_extensions";
        /// Share no file with one of these extensions. Default none.
        exclude_extensions: Vec<String> = Vec::new(), "excludeExtensions" | "watchExcludeExtensions" | "exclude_extensions";
        /// Share no larger file, in bytes. Default 0: no limit.
        max_file_size: u64 = 0, "maxFileSize" | "watchMaxFileSize" | "max_file_size";
        /// How widely the files are announced: `high`, `medium` or `low` as in announcing. Default `high`.
        priority: String = "high".to_owned(), "priority" | "watchAnnouncePriority" | "announceLevel";
        /// Share a file when nothing was written to it for so long, in ms. Default 2000, range 10 to 3600000.
        stability_ms: u64 = 2000, "stabilityThreshold" | "stability_ms";
        /// Look through the directory at this interval, in ms, instead of asking the operating system what changes: for
        /// network file systems. Default 0: ask the operating system. Range 100 to 86400000.
        poll_interval_ms: u64 = 0, "pollInterval" | "poll_interval_ms";
    }
}

impl FromJson for WatchOptions {
    const TABLE: &'static [OptionInfo] = Self::OPTIONS;

    fn validate(&self) -> Result<()> {
        self.priority.parse::<Priority>()?;
        in_range("includeExtensions", self.include_extensions.len(), 0, 1000)?;
        in_range("excludeExtensions", self.exclude_extensions.len(), 0, 1000)?;
        in_range("stabilityThreshold", self.stability_ms, 10, 3_600_000)?;
        if self.poll_interval_ms == 0 {
            Ok(())
        } else {
            in_range("pollInterval", self.poll_interval_ms, 100, 86_400_000)
        }
    }
}
