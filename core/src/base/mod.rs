//! Vocabulary shared by all layers: ids, errors, options, events, limits, time and randomness.
//! No I/O and no protocol logic lives here.

pub mod error;
pub mod events;
pub mod ids;
pub mod limits;
pub mod node_type;
pub mod options;
pub mod priority;
pub mod random;
pub mod time;
