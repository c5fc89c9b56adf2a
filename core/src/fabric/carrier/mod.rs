//! Signalling through a Gun graph: letters to peers with which there is no link yet. A way to talk, like a stream of a
//! relayed link. Not here: the form of letters and the order of their messages (`nat::carrier`), and the graph (`gun`).

mod post;
mod seal;

pub use post::{LetterSignal, Post};
