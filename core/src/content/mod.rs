//! What a file is: its SHA-256, cut into pieces that can each be proven against it. Pure.
//! Not here: where the bytes come from or go to (`store`), and who is asked for them (`transfer`).
//!
//! From the ground up: [`sha256`] compresses, [`layout`] cuts, [`description`] holds the chaining states at the cuts,
//! [`proof`] keeps count of what is proven (and states what the proof rests on), [`rivals`] decides between two
//! descriptions of the same hash.

pub mod description;
pub mod layout;
pub mod proof;
pub mod rivals;
pub mod sha256;

pub use description::{After, Describer, Description, PieceCheck};
pub use layout::{PieceLayout, PieceRange};
pub use proof::Ledger;
pub use rivals::{Decision, decisive_piece};
pub use sha256::State;
