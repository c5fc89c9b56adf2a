//! Sealing for one receiver: X25519 with a fresh key towards the receiver's Ed25519 key in its X25519 form, HKDF with
//! SHA-256, ChaCha20-Poly1305. Who sealed it is proven by a signature around it, not here.
//!
//! The fresh key makes each cipher key unique, so the nonce is always zero. Both public keys go into the derivation; the
//! envelope is authenticated along with the text.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::montgomery::MontgomeryPoint;
use sha2::{Digest, Sha512};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::fabric::Signer;
use crate::fabric::identity::ed25519_of;

/// Bytes of a public key.
const KEY: usize = 32;
/// What tells these keys from any derived for something else.
const INFO: &[u8] = b"dig-signal/1 seal";

/// Seals a text for a receiver, bound to its envelope. `fresh` is 32 secret random bytes, never used twice.
/// `InvalidArgument` when the receiver's id is not an Ed25519 key.
pub fn seal(to: &PeerId, fresh: [u8; 32], envelope: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let receiver = public(to)?;
    let sender = MontgomeryPoint::mul_base_clamped(fresh);
    let shared = receiver.mul_clamped(fresh);
    let key = key(&shared, &sender, &receiver)?;
    let mut sealed = text.to_vec();
    key.seal_in_place_append_tag(nonce(), Aad::from(envelope), &mut sealed).map_err(broken)?;
    Ok([&sender.0[..], &sealed].concat())
}

/// Opens what was sealed for us. `None` when it was not, or was changed, or has another envelope.
pub fn open(own: &Secret, envelope: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (sender, sealed) = sealed.split_first_chunk::<KEY>()?;
    let sender = MontgomeryPoint(*sender);
    let key = key(&sender.mul_clamped(own.secret), &sender, &own.public).ok()?;
    let mut text = sealed.to_vec();
    let length = key.open_in_place(nonce(), Aad::from(envelope), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

/// The cipher of one direction of a passage. Every number is sealed with one text only.
pub struct Stream(LessSafeKey);

impl Stream {
    /// Derived from what both sides know, for one purpose.
    pub fn new(secret: &[u8; 32], purpose: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        let derived = Salt::new(HKDF_SHA256, b"dig-xfer/1").extract(secret);
        let filled = derived.expand(&[purpose.as_bytes()], HKDF_SHA256).and_then(|key| key.fill(&mut bytes));
        filled
            .and_then(|()| UnboundKey::new(&CHACHA20_POLY1305, &bytes))
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(broken)
    }

    /// Seals the text with this number.
    pub fn seal(&self, number: u64, text: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = text.to_vec();
        self.0.seal_in_place_append_tag(numbered(number), Aad::empty(), &mut sealed).map_err(broken)?;
        Ok(sealed)
    }

    /// Opens it. `None` when it is not what was sealed with this number.
    pub fn open(&self, number: u64, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let length = self.0.open_in_place(numbered(number), Aad::empty(), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

fn numbered(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The X25519 form of a node's key.
pub struct Secret {
    secret: [u8; 32],
    public: MontgomeryPoint,
}

impl Secret {
    /// Of a node. `InvalidState` when its key is not Ed25519.
    pub fn of(signer: &Signer) -> Result<Self> {
        let Some(seed) = signer.ed25519_seed() else {
            let other = "this node's key is not Ed25519, so nobody can write letters to it over Gun";
            return Err(Error::new(ErrorKind::InvalidState, other));
        };
        // RFC 8032 section 5.1.5: the scalar is the first half of the hash; it is clamped when it is used.
        let hash = Sha512::digest(seed);
        let secret: [u8; 32] = *hash.first_chunk().expect("SHA-512 has 64 bytes");
        Ok(Self { secret, public: MontgomeryPoint::mul_base_clamped(secret) })
    }
}

/// A peer's key in its X25519 form.
fn public(peer: &PeerId) -> Result<MontgomeryPoint> {
    let point = ed25519_of(peer).and_then(|key| CompressedEdwardsY(key).decompress());
    let point = point.filter(|point| !point.is_small_order());
    point.map(|point| point.to_montgomery()).ok_or_else(|| {
        Error::invalid("peer", format_args!("{peer} is no Ed25519 key, so no letter over Gun can be sealed for it"))
    })
}

fn key(shared: &MontgomeryPoint, sender: &MontgomeryPoint, receiver: &MontgomeryPoint) -> Result<LessSafeKey> {
    // RFC 7748 section 6.1: a point of small order gives everybody the same secret.
    if shared.0 == [0; 32] {
        return Err(Error::new(ErrorKind::Protocol, "a key of small order"));
    }
    let salt = [sender.0, receiver.0].concat();
    let mut bytes = [0; 32];
    let derived = Salt::new(HKDF_SHA256, &salt).extract(&shared.0);
    derived.expand(&[INFO], HKDF_SHA256).and_then(|key| key.fill(&mut bytes)).map_err(broken)?;
    UnboundKey::new(&CHACHA20_POLY1305, &bytes).map(LessSafeKey::new).map_err(broken)
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn broken(cause: aws_lc_rs::error::Unspecified) -> Error {
    Error::with_source(ErrorKind::Internal, "seal a letter", cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Identity;

    fn node(secret: u8) -> (Signer, Secret) {
        let signer = Signer::load(&Identity::Secret([secret; 32])).expect("a key");
        let own = Secret::of(&signer).expect("Ed25519");
        (signer, own)
    }

    #[test]
    fn both_forms_of_a_key_are_one() {
        for secret in 0..20 {
            let (signer, own) = node(secret);
            assert_eq!(public(&signer.peer()).expect("Ed25519"), own.public);
        }
    }

    #[test]
    fn only_the_receiver_opens_it_and_only_unchanged() {
        let ((receiver, own), (_, other)) = (node(1), node(2));
        let sealed = seal(&receiver.peer(), [9; 32], b"envelope", b"text").expect("sealed");
        assert_eq!(open(&own, b"envelope", &sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!(open(&other, b"envelope", &sealed), None);
        assert_eq!(open(&own, b"another", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 4;
            assert_eq!(open(&own, b"envelope", &changed), None, "{at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(&own, b"envelope", &sealed[..length]), None);
        }
        assert_eq!(open(&own, b"envelope", &[0; 64]), None, "a key of small order");
    }

    #[test]
    fn other_keys_than_ed25519_are_refused() {
        let rsa = PeerId::from_text("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N");
        let error = seal(&rsa, [9; 32], b"", b"").expect_err("no key in it");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.full_message().contains("Ed25519"), "{error}");
    }
}
