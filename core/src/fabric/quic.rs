//! The QUIC transport: libp2p's over quinn, with windows for long paths. Not here: the UDP socket itself, which
//! libp2p keeps to itself (its buffers stay at the system's default size).

use std::io;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport as _};
use libp2p::identity::Keypair;
use libp2p::{PeerId, quic};

use crate::base::limits;

/// QUIC version 1 with libp2p's TLS profile.
pub fn transport(key: &Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    let mut config = quic::Config::new(key);
    config.max_stream_data = limits::QUIC_STREAM_WINDOW_BYTES;
    config.max_connection_data = limits::QUIC_CONNECTION_WINDOW_BYTES;
    config.max_concurrent_stream_limit = limits::STREAMS_PER_CONNECTION as u32;
    config.max_idle_timeout = limits::QUIC_IDLE_TIMEOUT.as_millis() as u32;
    config.keep_alive_interval = limits::QUIC_IDLE_TIMEOUT / 4;
    config.handshake_timeout = limits::DIAL_TIMEOUT;
    quic::tokio::Transport::new(config)
        // The system's error itself, where there is one: the driver looks for it.
        .map_err(|error| match error {
            quic::Error::Io(cause) => cause,
            other => io::Error::other(other),
        })
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}
