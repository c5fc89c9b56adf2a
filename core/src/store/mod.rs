//! Disk: shared files, part files, the hash cache. Not here: what the bytes mean.
