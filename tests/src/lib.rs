//! What the tests of several crates share: a NAT lab, the built command line, files from a seed, a lying host, and the
//! sources of this repository as data. Not here: tests; they stand in `tests/tests` and `cli/tests`.

pub mod files;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod liar;
pub mod process;
pub mod tree;

/// The Rust code of the README, compiled and run by the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
