//! A line with delay, loss and a rate: frames that arrive at one interface leave later by another. The kernels of many
//! machines lack `netem`, so this is done here, with packet sockets on two interfaces of a namespace that has nothing
//! else. Not here: where lines are laid (`plan`).
//!
//! Interfaces leave checksums to hardware that does not exist, so each frame's is computed here. They would also hand
//! over segments of many packets at once; the ends of a line must be told not to (`gso_max_segs 1`).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dig_nat_core::base::random::Jitter;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::namespace::Namespace;
use super::site::Path;

/// The two interfaces of a line's namespace.
pub(super) const ENDS: [&str; 2] = ["x", "y"];

/// Frames under way in one direction: 15 MB of full ones, more than any line of the tests holds.
const QUEUE_FRAMES: usize = 10_000;

/// How much may wait before a line that has a rate.
const QUEUE_TIME: Duration = Duration::from_millis(100);

/// Receive buffer of a packet socket: bursts of a fast sender must fit.
const SOCKET_BUFFER: usize = 8 << 20;

/// How often a reader looks whether its line is gone.
const GLANCE_MICROS: i64 = 200_000;

/// `sll_pkttype` of frames that we sent ourselves.
const OUTGOING: u8 = 4;

/// A running line. It ends, within a moment, when dropped.
#[derive(Debug)]
pub(super) struct Wire {
    shared: Arc<Shared>,
    _namespace: Namespace,
}

#[derive(Debug)]
struct Shared {
    path: Mutex<Path>,
    stopped: AtomicBool,
    directions: [Direction; 2],
}

#[derive(Debug, Default)]
struct Direction {
    queue: Mutex<VecDeque<(Instant, Vec<u8>)>>,
    filled: Condvar,
}

impl Wire {
    /// Connects both interfaces of a namespace.
    pub(super) fn start(namespace: Namespace, path: Path, seed: u64) -> io::Result<Self> {
        let sockets = namespace.inside(|| -> io::Result<[Arc<OwnedFd>; 2]> {
            Ok([Arc::new(packet_socket(ENDS[0])?), Arc::new(packet_socket(ENDS[1])?)])
        })?;
        let shared = Arc::new(Shared {
            path: Mutex::new(path),
            stopped: AtomicBool::new(false),
            directions: <[Direction; 2]>::default(),
        });
        for direction in 0..2 {
            let [from, to] = if direction == 0 { [0, 1] } else { [1, 0] }.map(|end: usize| Arc::clone(&sockets[end]));
            let (reading, writing) = (Arc::clone(&shared), Arc::clone(&shared));
            let random = Jitter::from_seed(seed.wrapping_mul(2).wrapping_add(direction as u64));
            thread::Builder::new().name("wire-in".to_owned()).spawn(move || reading.read(direction, &from, random))?;
            thread::Builder::new().name("wire-out".to_owned()).spawn(move || writing.write(direction, &to))?;
        }
        Ok(Self { shared, _namespace: namespace })
    }

    /// From the next frame on.
    pub(super) fn set_path(&self, path: Path) {
        *lock(&self.shared.path) = path;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for direction in &self.shared.directions {
            // The lock makes sure that a writer is either before its check or in its wait.
            drop(lock(&direction.queue));
            direction.filled.notify_all();
        }
    }
}

impl Shared {
    fn read(&self, direction: usize, socket: &OwnedFd, mut random: Jitter) {
        let mut buffer = vec![0; 1 << 16];
        let mut last = Instant::now();
        // When the line has put the last frame's last bit on its way.
        let mut idle_at = last;
        while !self.stopped.load(Ordering::Relaxed) {
            let length = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
                Ok((_, Some(from))) if from.pkttype() == OUTGOING => continue,
                Ok((length, _)) => length,
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => continue,
                // The interface is gone, e.g. because its client has moved.
                Err(_) => return,
            };
            let (now, path) = (Instant::now(), *lock(&self.path));
            if random.fraction() * 100.0 < path.loss_percent {
                continue;
            }
            let mut sent_at = now;
            if path.rate > 0 {
                let start = idle_at.max(now);
                if start - now > QUEUE_TIME {
                    continue;
                }
                idle_at = start + Duration::from_secs_f64(length as f64 * 8.0 / path.rate as f64);
                sent_at = idle_at;
            }
            // Frames do not overtake each other.
            let due = (sent_at + path.delay + path.jitter.mul_f64(random.fraction())).max(last);
            last = due;
            let mut frame = buffer[..length].to_vec();
            complete_checksum(&mut frame);
            let mut queue = lock(&self.directions[direction].queue);
            if queue.len() < QUEUE_FRAMES {
                queue.push_back((due, frame));
                self.directions[direction].filled.notify_one();
            }
        }
    }

    fn write(&self, direction: usize, socket: &OwnedFd) {
        let Direction { queue, filled } = &self.directions[direction];
        let mut waiting = lock(queue);
        while !self.stopped.load(Ordering::Relaxed) {
            let now = Instant::now();
            match waiting.front() {
                None => waiting = filled.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some((due, _)) if *due > now => {
                    let left = *due - now;
                    waiting = filled.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    let (_, frame) = waiting.pop_front().expect("just looked at");
                    drop(waiting);
                    // An interface that is down loses frames, as a real one.
                    let _ = send(socket.as_raw_fd(), &frame, MsgFlags::empty());
                    waiting = lock(queue);
                }
            }
        }
    }
}

/// A socket for all frames of one interface, of the calling thread's namespace.
pub(super) fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    let address = nix::ifaddrs::getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::other(format!("no interface {interface}")))?;
    bind(socket.as_raw_fd(), &address)?;
    // Beyond the usual limit only with true privileges; else as much as there is.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, GLANCE_MICROS))?;
    Ok(socket)
}

/// Writes the checksum of TCP and UDP into an Ethernet frame. Other frames, and fragments, which the kernel completes
/// before it cuts them, stay as they are.
fn complete_checksum(frame: &mut [u8]) {
    const ETHERNET: usize = 14;
    let Some(kind) = frame.get(12..ETHERNET) else { return };
    let (protocol, addresses, start, end) = match kind {
        [0x08, 0x00] => {
            let Some(header) = frame.get(ETHERNET..ETHERNET + 20) else { return };
            let fragmented = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
            if fragmented {
                return;
            }
            let start = ETHERNET + usize::from(header[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            (header[9], ETHERNET + 12..ETHERNET + 20, start, ETHERNET + total)
        }
        [0x86, 0xdd] => {
            let Some(header) = frame.get(ETHERNET..ETHERNET + 40) else { return };
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            (header[6], ETHERNET + 8..ETHERNET + 40, ETHERNET + 40, ETHERNET + 40 + length)
        }
        _ => return,
    };
    let at = match protocol {
        6 => start + 16,
        17 => start + 6,
        _ => return,
    };
    if end > frame.len() || at + 2 > end {
        return;
    }
    frame[at..at + 2].fill(0);
    let pseudo = sum(&frame[addresses]) + u64::from(protocol) + (end - start) as u64;
    let mut folded = pseudo + sum(&frame[start..end]);
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    let checksum = match !(folded as u16) {
        // UDP uses zero for "none".
        0 if protocol == 17 => 0xffff,
        checksum => checksum,
    };
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// The sum of big-endian 16-bit words; an odd last byte counts as the upper half.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let odd = words.remainder().first().map_or(0, |byte| u64::from(*byte) << 8);
    words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>() + odd
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_add_up_and_nothing_else_changes() {
        let udp = [
            0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
            0x45, 0, 0, 0x20, 0, 1, 0, 0, 0x40, 0x11, 0xf6, 0xc9, 127, 0, 0, 1, 127, 0, 0, 1, // IPv4
            0x30, 0x39, 0xd4, 0x31, 0, 0x0c, 0, 0, b'a', b'b', b'c', b'd',
        ];
        let mut frame = udp.to_vec();
        complete_checksum(&mut frame);
        // Adding everything up, the checksum included, must give all ones (RFC 1071).
        let mut all = sum(&frame[26..34]) + 17 + 12 + sum(&frame[34..46]);
        while all > 0xffff {
            all = (all & 0xffff) + (all >> 16);
        }
        assert_eq!(all, 0xffff);
        assert_eq!(frame[..40], udp[..40], "nothing else changes");
        assert_ne!(frame[40..42], [0, 0]);
        let mut fragment = udp.to_vec();
        fragment[20] = 0x20;
        let before = fragment.clone();
        complete_checksum(&mut fragment);
        assert_eq!(fragment, before);
        for length in 0..udp.len() {
            complete_checksum(&mut udp[..length].to_vec());
        }
    }
}
