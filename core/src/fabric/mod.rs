//! Authenticated links between peers. Not here: what is said on them.
