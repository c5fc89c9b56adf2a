//! Moving bytes: the machines of downloading and serving, and their driver.
//!
//! [`download`] decides what to ask from whom, and whom to believe. [`serve`] is one served stream, [`choker`] chooses
//! which peers of the whole node are served, [`bucket`] paces, [`meter`] measures.

pub mod bucket;
pub mod choker;
pub mod download;
#[cfg(feature = "engine")]
pub mod driver;
pub mod meter;
pub mod serve;
