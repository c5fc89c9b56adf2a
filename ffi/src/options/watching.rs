//! The options of watching a directory and their way to core's. Not here: defaults and ranges, which are core's.

use std::ffi::c_char;

use dig_nat_core::Result;
use dig_nat_core::base::options::WatchOptions;

use super::{DigNatSwitch, checked, number, switch, text};
use crate::argument::{self, Sized1st};

/// Options of sharing a directory and following what changes in it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DigNatWatchOptions {
    /// Bytes of this struct; set by dig_nat_watch_options_init.
    pub size: usize,
    /// Subdirectories too. Default on.
    pub recursive: DigNatSwitch,
    /// Share only files with one of these extensions, in upper or lower case. Default NULL: all.
    pub include_extensions: *const *const c_char,
    /// How many extensions.
    pub include_extensions_count: usize,
    /// Share no file with one of these extensions. Default NULL: none.
    pub exclude_extensions: *const *const c_char,
    /// How many extensions.
    pub exclude_extensions_count: usize,
    /// Share no larger file, in bytes. Default 0: no limit.
    pub max_file_size: u64,
    /// How widely the files are announced: "high", "medium" or "low". Default NULL: "high".
    pub priority: *const c_char,
    /// Share a file when nothing was written to it for so long, in ms. Default 2000, range 10 to 3600000.
    pub stability_ms: u64,
    /// Look through the directory at this interval, in ms, instead of asking the operating system what changes: for
    /// network file systems. Default 0: ask the operating system. Range 100 to 86400000.
    pub poll_interval_ms: u64,
}

// SAFETY: a plain C struct of integers and pointers, the size first.
unsafe impl Sized1st for DigNatWatchOptions {}

/// Sets all options to their defaults. `size` is `sizeof` the struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_watch_options_init(options: *mut DigNatWatchOptions, size: usize) {
    // SAFETY: by contract `size` writable bytes or NULL.
    unsafe { argument::init(options, size) }
}

pub(crate) unsafe fn watching(options: *const DigNatWatchOptions) -> Result<WatchOptions> {
    // SAFETY: by contract NULL or a struct with its size, and what it points to lives as long as the call.
    unsafe {
        let c = argument::options(options, "watch options")?;
        let mut watch = WatchOptions {
            include_extensions: argument::texts(
                c.include_extensions,
                c.include_extensions_count,
                "include_extensions",
            )?,
            exclude_extensions: argument::texts(
                c.exclude_extensions,
                c.exclude_extensions_count,
                "exclude_extensions",
            )?,
            ..WatchOptions::default()
        };
        switch(&mut watch.recursive, c.recursive, "recursive")?;
        number(&mut watch.max_file_size, c.max_file_size);
        text(&mut watch.priority, c.priority, "priority")?;
        number(&mut watch.stability_ms, c.stability_ms);
        number(&mut watch.poll_interval_ms, c.poll_interval_ms);
        checked(watch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::DIG_NAT_SWITCH_OFF;
    use super::*;

    #[test]
    fn null_and_initialised_options_are_cores_defaults() {
        let mut c = std::mem::MaybeUninit::<DigNatWatchOptions>::uninit();
        // SAFETY: NULL or an initialised struct.
        unsafe {
            dig_nat_watch_options_init(c.as_mut_ptr(), size_of::<DigNatWatchOptions>());
            assert_eq!(watching(c.as_ptr()).expect("valid"), WatchOptions::default());
            assert_eq!(watching(std::ptr::null()).expect("valid"), WatchOptions::default());
        }
    }

    #[test]
    fn every_field_arrives() {
        let (include, exclude) = (c"txt".as_ptr(), c".bak".as_ptr());
        let c = DigNatWatchOptions {
            size: size_of::<DigNatWatchOptions>(),
            recursive: DIG_NAT_SWITCH_OFF,
            include_extensions: &raw const include,
            include_extensions_count: 1,
            exclude_extensions: &raw const exclude,
            exclude_extensions_count: 1,
            max_file_size: 7,
            priority: c"low".as_ptr(),
            stability_ms: 8000,
            poll_interval_ms: 900,
        };
        let expected = WatchOptions {
            recursive: false,
            include_extensions: vec!["txt".into()],
            exclude_extensions: vec![".bak".into()],
            max_file_size: 7,
            priority: "low".into(),
            stability_ms: 8000,
            poll_interval_ms: 900,
        };
        // SAFETY: a complete struct.
        assert_eq!(unsafe { watching(&raw const c) }.expect("valid"), expected);
        let short = DigNatWatchOptions { stability_ms: 9, ..c };
        // SAFETY: a complete struct.
        let error = unsafe { watching(&raw const short) }.expect_err("below the range");
        assert!(error.to_string().starts_with("stabilityThreshold"), "{error}");
    }
}
