//! The yardstick: what must happen to the bytes, and nothing else. A file is read, encrypted in records as TLS does
//! (AES-128-GCM, 16 KiB), sent over one TCP connection on the loopback interface, decrypted, written to a file, and
//! hashed on a second thread. No pieces, no requests, no multiplexing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::measure;

/// Plain bytes of one record, as in TLS.
const RECORD: usize = 16 * 1024;
/// Bytes of the tag behind each record.
const TAG: usize = 16;
/// Records sent, written and hashed together.
const BATCH: usize = 8;
/// Batches waiting to be hashed.
const AHEAD: usize = 64;

/// What the bare pipeline reaches.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Megabytes per second.
    pub mb_per_second: f64,
    /// CPU seconds of both sides.
    pub cpu_seconds: f64,
}

/// Moves a file, whose size must be a multiple of a batch, and checks that it arrived.
pub fn run(from: &Path, to: &Path) -> Figures {
    let size = std::fs::metadata(from).expect("exists").len();
    assert_eq!(size % (RECORD * BATCH) as u64, 0);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let cpu_before = measure::cpu_seconds("self").expect("/proc is there");
    let started = Instant::now();
    let source = File::open(from).expect("exists");
    let sender = std::thread::spawn(move || send(source, &listener.accept().expect("a connection").0));
    let hash = receive(&TcpStream::connect(address).expect("a listener"), File::create(to).expect("writable"), size);
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = measure::cpu_seconds("self").expect("/proc is there") - cpu_before;
    assert_eq!(sender.join().expect("sent"), (), "the sender ends");
    assert_eq!(hash, *dig_nat_tests::files::sha256(from).as_bytes(), "the copy differs");
    Figures { mb_per_second: size as f64 / 1e6 / seconds, cpu_seconds }
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key of the right length"))
}

fn nonce(record: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&record.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn send(mut source: File, mut stream: &TcpStream) {
    let key = key();
    let mut plain = vec![0; RECORD * BATCH];
    let mut sealed = Vec::with_capacity((RECORD + TAG) * BATCH);
    let mut record = 0;
    while source.read_exact(&mut plain).is_ok() {
        sealed.clear();
        for part in plain.chunks_exact_mut(RECORD) {
            let tag = key.seal_in_place_separate_tag(nonce(record), Aad::empty(), part).expect("sealed");
            sealed.extend_from_slice(part);
            sealed.extend_from_slice(tag.as_ref());
            record += 1;
        }
        stream.write_all(&sealed).expect("sent");
    }
}

fn receive(mut stream: &TcpStream, mut target: File, size: u64) -> [u8; 32] {
    let (sender, batches) = mpsc::sync_channel::<Vec<u8>>(AHEAD);
    let hashing = std::thread::spawn(move || {
        let mut hasher = Sha256::new();
        for batch in batches {
            hasher.update(batch);
        }
        hasher.finalize().into()
    });
    let key = key();
    let mut sealed = vec![0; (RECORD + TAG) * BATCH];
    let mut record = 0;
    for _ in 0..size / (RECORD * BATCH) as u64 {
        stream.read_exact(&mut sealed).expect("received");
        let mut batch = Vec::with_capacity(RECORD * BATCH);
        for part in sealed.chunks_exact_mut(RECORD + TAG) {
            batch.extend_from_slice(key.open_in_place(nonce(record), Aad::empty(), part).expect("authentic"));
            record += 1;
        }
        target.write_all(&batch).expect("written");
        sender.send(batch).expect("the hashing thread listens");
    }
    drop(sender);
    hashing.join().expect("hashed")
}
