//! What passes an interface of a host: the frames, as they are. Not here: making frames pass (`wire`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, recvfrom};

use super::host::Host;
use super::wire::packet_socket;

/// Frames kept; far more than a test looks at.
const FRAMES: usize = 100_000;

/// A running capture. It ends, within a moment, when dropped.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Mutex<Vec<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
}

impl Host {
    /// Keeps what passes an interface from now on, in both directions.
    #[track_caller]
    pub fn capture(&self, interface: &str) -> Capture {
        let socket = self.inside(|_| packet_socket(interface));
        let socket = socket.unwrap_or_else(|error| panic!("capture on {}: {error}", self.name()));
        let (frames, stopped) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicBool>::default());
        let (kept, stop) = (Arc::clone(&frames), Arc::clone(&stopped));
        // A socket keeps its namespace wherever it is read.
        let reading = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while !stop.load(Ordering::Relaxed) {
                match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
                    Ok((length, _)) => {
                        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                        if kept.len() < FRAMES {
                            kept.push(buffer[..length].to_vec());
                        }
                    }
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(_) => return,
                }
            }
        });
        Capture { frames, stopped, reading: Some(reading) }
    }
}

impl Capture {
    /// Packets of UDP to this port so far, by IPv4 and by IPv6.
    pub fn udp_to(&self, port: u16) -> [usize; 2] {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        [4, 6].map(|version| frames.iter().filter(|frame| udp_port(frame) == Some((version, port))).count())
    }

    /// Where packets were on their way to so far, whatever is in them.
    pub fn destinations(&self) -> BTreeSet<IpAddr> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.iter().filter_map(|frame| destination(frame)).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            // A panic there has been reported by then.
            let _ = reading.join();
        }
    }
}

/// The destination of an IP packet.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => frame.get(30..34)?.first_chunk::<4>().map(|address| IpAddr::from(*address)),
        [0x86, 0xdd] => frame.get(38..54)?.first_chunk::<16>().map(|address| IpAddr::from(*address)),
        _ => None,
    }
}

/// IP version and destination port of a UDP packet without extension headers, which is what multicast DNS sends.
fn udp_port(frame: &[u8]) -> Option<(u8, u16)> {
    const ETHERNET: usize = 14;
    let packet = frame.get(ETHERNET..)?;
    let (protocol, start) = match frame.get(12..ETHERNET)? {
        [0x08, 0x00] => (*packet.get(9)?, usize::from(packet.first()? & 15) * 4),
        [0x86, 0xdd] => (*packet.get(6)?, 40),
        _ => return None,
    };
    let port = packet.get(start + 2..start + 4)?;
    let version = packet.first()? >> 4;
    (protocol == 17).then(|| (version, u16::from_be_bytes([port[0], port[1]])))
}
