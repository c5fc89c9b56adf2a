//! How our QUIC behaves: windows, timeouts, congestion control. Not here: which socket it runs on.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use libp2p::identity::Keypair;
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use sha2::Sha256;

use super::super::tls::Tls;
use super::tasks::Tasks;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;

/// Everything quinn needs, once per node.
#[derive(Clone)]
pub struct Config {
    pub endpoint: EndpointConfig,
    /// Where its tasks run.
    pub runtime: Arc<Tasks>,
    /// For paths inside a site and on the loopback interface: nothing is lost there, and BBR's pacing only costs.
    pub near: Sides,
    /// For paths through the internet: every loss-based controller collapses at 0.5 % loss, BBR does not.
    pub far: Sides,
}

/// Both roles with one congestion controller.
#[derive(Clone)]
pub struct Sides {
    pub client: ClientConfig,
    pub server: Arc<ServerConfig>,
}

impl Config {
    /// Prepares both sides from the node's key.
    pub fn new(key: &Keypair, tls: &Tls, tasks: Tasks) -> Result<Self> {
        let failed =
            |cause| Error::with_source(ErrorKind::Internal, "prepare QUIC: no cipher for its first packets", cause);
        let client = Arc::new(QuicClientConfig::try_from(Arc::clone(&tls.client)).map_err(failed)?);
        let server = Arc::new(QuicServerConfig::try_from(Arc::clone(&tls.server)).map_err(failed)?);
        let sides = |bbr: bool| {
            let transport = Arc::new(transport(bbr));
            let mut client = ClientConfig::new(Arc::clone(&client) as _);
            client.transport_config(Arc::clone(&transport));
            let mut server = ServerConfig::with_crypto(Arc::clone(&server) as _);
            // A client whose NAT forgot it goes on from its new address.
            server.transport_config(transport).migration(true).max_incoming(limits::MAX_PENDING_CONNECTIONS as usize);
            Sides { client, server: Arc::new(server) }
        };
        // From the node's key, so that a restarted node can tell its peers that the old connections are gone.
        // That needs connection ids, too, which it knows for its own.
        let reset = key.derive_secret(b"dig-nat-tools stateless reset").map(|secret| ResetKey(secret.to_vec()));
        let mut endpoint = reset.map(|key| EndpointConfig::new(Arc::new(key))).unwrap_or_default();
        if let Some(secret) = key.derive_secret(b"dig-nat-tools connection ids") {
            let (first, _) = secret.split_first_chunk().expect("32 bytes");
            let ids = u64::from_be_bytes(*first);
            endpoint.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
        }
        endpoint.supported_versions(vec![1]);
        // The port is shared with STUN, which is told apart by the bit that greasing would clear (RFC 9443).
        endpoint.grease_quic_bit(false);
        Ok(Self { endpoint, runtime: Arc::new(tasks), near: sides(false), far: sides(true) })
    }

    /// The configuration for a path.
    pub fn sides(&self, near: bool) -> &Sides {
        if near { &self.near } else { &self.far }
    }
}

fn transport(bbr: bool) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(limits::QUIC_IDLE_TIMEOUT).expect("seconds fit QUIC's 62 bits of milliseconds");
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::STREAMS_PER_CONNECTION as u32))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(limits::QUIC_IDLE_TIMEOUT / 4))
        .max_idle_timeout(Some(idle))
        .allow_spin(false)
        .stream_receive_window(VarInt::from_u32(limits::QUIC_STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(limits::QUIC_CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(limits::QUIC_CONNECTION_WINDOW_BYTES));
    if bbr {
        transport.congestion_controller_factory(Arc::new(BbrConfig::default()));
    } else {
        transport.congestion_controller_factory(Arc::new(CubicConfig::default()));
    }
    transport
}

/// Signs stateless resets (RFC 9000 section 10.3).
struct ResetKey(Vec<u8>);

impl ResetKey {
    fn mac(&self, data: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(data);
        mac
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        out.copy_from_slice(&self.mac(data).finalize().into_bytes());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.mac(data).verify_slice(signature).map_err(|_| CryptoError)
    }
}
