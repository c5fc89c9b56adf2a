//! What a file is: SHA-256 chaining states, pieces, proofs. Pure.
