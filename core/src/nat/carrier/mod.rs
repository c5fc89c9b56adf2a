//! What two peers write into a Gun graph that both reach: signed letters with the messages of signalling, one inbox per
//! receiver; and, where nothing else works, the bytes of a link in a ring of slots (`ring`). Pure. Not here: encryption,
//! keys and the graph (`fabric::carrier`), and what the messages say (`punch`, `ice`, `fabric::ladder`).
//!
//! - *Inbox*: the node `dig-signal/<receiver>`. A letter is one field of it, named
//!   `<sender>.<lane>.<number % 16>`, and a JSON text. Lanes and slots are used again, so an inbox grows with the number
//!   of senders and not with what they say.
//! - *Session*: one attempt of two peers to work together. Its random name is in every letter and covered by the
//!   signature; letters are numbered from 0 in each direction.

pub mod letter;
pub mod mailbox;
pub mod ring;

pub use letter::{Content, Letter, SessionId, inbox, slot};
pub use mailbox::{Arrival, Mailbox, Number, Refusal, Standing};
