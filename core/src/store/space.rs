//! Free disk space, asked before a file is started: a download that cannot fit fails at once and says by how much.
//! Not here: quotas and files of other programs growing meanwhile; those show as `DiskFull` when writing.

use std::path::Path;

use crate::base::error::{Error, ErrorKind, Result};

/// Fails with `DiskFull` if the file system of this existing directory has fewer than `needed` bytes for this user.
pub fn require(directory: &Path, needed: u64) -> Result<()> {
    match fs4::available_space(directory) {
        Ok(available) if available < needed => Err(Error::new(
            ErrorKind::DiskFull,
            format!("{}: {needed} bytes are needed, {available} are free", directory.display()),
        )),
        Ok(_) => Ok(()),
        // Some network file systems cannot tell. Writing will.
        Err(error) => {
            tracing::debug!(directory = %directory.display(), %error, "free space unknown");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_both_numbers() {
        let directory = tempfile::tempdir().expect("temporary directory");
        require(directory.path(), 1).expect("one byte is free");
        let error = require(directory.path(), u64::MAX).expect_err("nobody has 16 EiB");
        assert_eq!(error.kind(), ErrorKind::DiskFull);
        assert!(error.context().contains(&u64::MAX.to_string()), "{error}");
        assert!(error.context().contains("are free"), "{error}");
    }
}
