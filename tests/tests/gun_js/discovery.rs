//! To come. Not here: anything.
