//! Who has what. Pure tables; drivers for the local network.
