//! TLS 1.3 as libp2p profiles it (libp2p TLS specification 1.0.0): a self-signed certificate on each side that carries
//! the peer's identity key. Ours differs from the stock implementation in the order of ciphers only: AES-GCM first where
//! the processor has instructions for it, which there costs a third of ChaCha20. Not here: who may connect.

use std::sync::Arc;

use libp2p::PeerId;
use libp2p::identity::Keypair;
use libp2p::tls::certificate::{self, P2pCertificate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, sign};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme, SupportedCipherSuite,
};

use crate::base::error::{Error, ErrorKind, Result};

/// The name given to TLS: an address, so that no server name is sent, as the specification wants it.
pub const SERVER_NAME: &str = "0.0.0.0";

/// Both sides' configuration, made once per node.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For connections we open.
    pub client: Arc<ClientConfig>,
    /// For connections we accept.
    pub server: Arc<ServerConfig>,
}

impl Tls {
    /// Makes a certificate that proves the node's key.
    pub fn new(key: &Keypair) -> Result<Self> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::with_source(ErrorKind::Internal, "prepare TLS from the node's key", cause)
        };
        let (certificate, private) = certificate::generate(key).map_err(|cause| failed(Box::new(cause)))?;
        let signing = sign::any_ecdsa_type(&private).map_err(|cause| failed(Box::new(cause)))?;
        let own = Arc::new(Own(Arc::new(CertifiedKey::new(vec![certificate], signing))));

        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = ciphers(has_aes()).to_vec();
        let provider = Arc::new(provider);
        let versions = &[&rustls::version::TLS13];

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|cause| failed(Box::new(cause)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(Arc::clone(&own) as Arc<dyn ResolvesClientCert>);
        client.alpn_protocols = vec![b"libp2p".to_vec()];
        // Tickets are filed by server name, and all peers have the same.
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|cause| failed(Box::new(cause)))?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(own);
        server.alpn_protocols = vec![b"libp2p".to_vec()];
        // Stock clients put ChaCha20 first whatever their processor is.
        server.ignore_client_order = true;
        server.send_tls13_tickets = 0;

        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// The peer id proven by the certificate of a finished handshake.
pub fn peer_of(certificates: &[CertificateDer<'_>]) -> Result<PeerId, rustls::Error> {
    match certificates {
        [only] => Ok(parse(only)?.peer_id()),
        _ => Err(rustls::Error::General("a peer shows exactly one certificate".into())),
    }
}

/// TLS 1.3 ciphers in our order.
fn ciphers(aes: bool) -> [SupportedCipherSuite; 3] {
    use cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256};
    if aes {
        [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
    } else {
        [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384]
    }
}

/// Whether AES-GCM is done in hardware.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

/// Shows our certificate, whatever was asked for.
#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Checks a peer's certificate: exactly one, self-signed, with a valid identity extension. Whether it is the peer that
/// was meant is the swarm's check.
#[derive(Debug)]
struct Verifier;

fn parse<'a>(certificate: &'a CertificateDer<'a>) -> Result<P2pCertificate<'a>, rustls::Error> {
    certificate::parse(certificate).map_err(invalid)
}

fn invalid(cause: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(cause))))
}

fn check(certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
    if !others.is_empty() {
        return Err(rustls::Error::General("a peer shows exactly one certificate".into()));
    }
    parse(certificate).map(|_| ())
}

fn check_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    parse(certificate)?.verify_signature(signed.scheme, message, signed.signature()).map_err(invalid)?;
    Ok(HandshakeSignatureValid::assertion())
}

fn never_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("only TLS 1.3 is spoken here".into()))
}

/// What peers may sign with; elliptic curves first.
fn schemes() -> Vec<SignatureScheme> {
    vec![
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ED25519,
        SignatureScheme::RSA_PSS_SHA512,
        SignatureScheme::RSA_PSS_SHA384,
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA512,
        SignatureScheme::RSA_PKCS1_SHA384,
        SignatureScheme::RSA_PKCS1_SHA256,
    ]
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        check(certificate, others).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check(certificate, others).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        never_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_its_peer_and_a_second_one_is_refused() {
        let key = Keypair::generate_ed25519();
        let (certificate, _) = certificate::generate(&key).expect("made");
        assert_eq!(peer_of(std::slice::from_ref(&certificate)).expect("valid"), key.public().to_peer_id());
        assert!(peer_of(&[certificate.clone(), certificate.clone()]).is_err());
        assert!(peer_of(&[]).is_err());
        let mut damaged = certificate.to_vec();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(check(&CertificateDer::from(damaged), &[]).is_err(), "the self-signature must be checked");
    }

    #[test]
    fn aes_comes_first_where_it_is_fast() {
        assert_eq!(ciphers(true)[0].suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(ciphers(false)[0].suite(), rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    }
}
