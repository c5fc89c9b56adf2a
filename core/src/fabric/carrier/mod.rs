//! What goes through a Gun graph: letters to peers with which there is no link yet, a way to talk like a stream of a
//! relayed link (`post`), also for two that only know each other's names (`meeting`); and as the last resort the bytes of
//! a link (`passage`, and `transport`, which makes links of them). Not here: the form of letters and the order of their
//! messages (`nat::carrier`), and the graph (`gun`).

mod meeting;
mod passage;
mod post;
mod seal;
mod transport;

pub use meeting::{Meeting, leads};
pub use passage::{Passage, PassageKey};
pub use post::{LetterSignal, Post};
pub(super) use transport::passages;
