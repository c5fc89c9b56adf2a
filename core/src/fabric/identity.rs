//! The node's key: made, given, or kept in a file; signatures with it. Not here: what is signed.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use libp2p::identity::{Keypair, PublicKey};

use super::{Identity, address};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;

/// Signs with the node's key. Clones share it.
#[derive(Clone)]
pub struct Signer(Keypair);

impl Signer {
    /// For this key.
    pub(super) fn new(key: Keypair) -> Self {
        Self(key)
    }

    /// For the key of an identity. Blocks on the disk.
    pub fn load(identity: &Identity) -> Result<Self> {
        load(identity).map(|(key, _)| Self(key))
    }

    /// Whose signatures they are.
    pub fn peer(&self) -> PeerId {
        address::peer_text(&self.0.public().to_peer_id())
    }

    /// The Ed25519 signature (RFC 8032), 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(message).map_err(|cause| Error::with_source(ErrorKind::Internal, "sign with the node's key", cause))
    }

    /// The 32 secret bytes of an Ed25519 key.
    pub(super) fn ed25519_seed(&self) -> Option<[u8; 32]> {
        let key = self.0.clone().try_into_ed25519().ok()?;
        key.secret().as_ref().try_into().ok()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.peer())
    }
}

/// Whether the peer has signed the message. Its id has to contain its public key, as the ids of Ed25519 keys do.
pub fn verify(peer: &PeerId, message: &[u8], signature: &[u8]) -> bool {
    public_key(peer).is_some_and(|key| key.verify(message, signature))
}

/// The public key of an id that contains an Ed25519 key.
pub fn ed25519_of(peer: &PeerId) -> Option<[u8; 32]> {
    public_key(peer)?.try_into_ed25519().ok().map(|key| key.to_bytes())
}

/// Whether an id contains an Ed25519 key.
pub fn is_ed25519(peer: &PeerId) -> bool {
    ed25519_of(peer).is_some()
}

fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let peer = address::peer_id(peer).ok()?;
    let multihash: &libp2p::multihash::Multihash<64> = peer.as_ref();
    // Code 0: the "hash" is the encoded key itself.
    (multihash.code() == 0).then(|| PublicKey::try_decode_protobuf(multihash.digest()).ok()).flatten()
}

/// The key, and a warning when a damaged key file had to be set aside. Blocks on the disk.
pub fn load(identity: &Identity) -> Result<(Keypair, Option<String>)> {
    match identity {
        Identity::Generated => Ok((Keypair::generate_ed25519(), None)),
        Identity::Secret(secret) => Keypair::ed25519_from_bytes(*secret).map(|key| (key, None)).map_err(|cause| {
            Error::with_source(ErrorKind::InvalidArgument, "identity: not an ed25519 secret key", cause)
        }),
        Identity::File(path) => from_file(path),
    }
}

fn from_file(path: &Path) -> Result<(Keypair, Option<String>)> {
    let warning = match fs::read(path) {
        Ok(bytes) => match Keypair::from_protobuf_encoding(&bytes) {
            Ok(key) => return Ok((key, None)),
            Err(cause) => {
                let aside = path.with_extension("damaged");
                fs::rename(path, &aside)
                    .map_err(|cause| Error::io(format!("set aside the damaged key file {}", path.display()), cause))?;
                Some(format!(
                    "the key file {} is damaged ({cause}); it was moved to {} and this node has a new identity",
                    path.display(),
                    aside.display()
                ))
            }
        },
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
        Err(cause) => return Err(Error::io(format!("read the key file {}", path.display()), cause)),
    };
    let key = Keypair::generate_ed25519();
    let bytes = key
        .to_protobuf_encoding()
        .map_err(|cause| Error::with_source(ErrorKind::Internal, "encode the node's key", cause))?;
    match create(path, &bytes) {
        Ok(()) => Ok((key, warning)),
        // Another process was faster: its key is the one to use.
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {
            let bytes =
                fs::read(path).map_err(|cause| Error::io(format!("read the key file {}", path.display()), cause))?;
            let key = Keypair::from_protobuf_encoding(&bytes).map_err(|cause| {
                Error::with_source(ErrorKind::Io, format!("the key file {} is damaged", path.display()), cause)
            })?;
            Ok((key, warning))
        }
        Err(cause) => Err(Error::io(format!("create the key file {}", path.display()), cause)),
    }
}

/// Writes a complete file or none: under a name of its own first, then linked to the final name, which fails if that
/// exists. On file systems without links it is renamed.
fn create(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = path.with_file_name(name);
    let written = write_private(&draft, bytes).and_then(|()| match fs::hard_link(&draft, path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::Unsupported || cause.raw_os_error() == Some(1) => {
            fs::rename(&draft, path)
        }
        other => other,
    });
    let _ = fs::remove_file(&draft);
    written?;
    // Makes the new name durable. Some systems cannot open directories; the file itself is safe already.
    if let Some(Ok(directory)) = path.parent().map(File::open) {
        let _ = directory.sync_all();
    }
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_keeps_the_identity_and_only_the_owner_reads_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("node.key");
        let (first, warning) = load(&Identity::File(path.clone())).expect("created");
        assert!(warning.is_none());
        let (second, _) = load(&Identity::File(path.clone())).expect("loaded");
        assert_eq!(first.public(), second.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1, "the draft is gone");
    }

    #[test]
    fn a_signature_is_of_its_key_and_message() {
        let sign = |secret: [u8; 32]| {
            let (key, _) = load(&Identity::Secret(secret)).expect("a key");
            let signer = Signer::new(key);
            (signer.peer(), signer.sign(b"message").expect("signed"))
        };
        let ((one, signature), (other, _)) = (sign([1; 32]), sign([2; 32]));
        assert_eq!(signature.len(), 64);
        assert!(verify(&one, b"message", &signature));
        assert!(!verify(&other, b"message", &signature), "somebody else's");
        assert!(!verify(&one, b"massage", &signature));
        assert!(!verify(&one, b"message", &signature[..63]));
        assert!(!verify(&PeerId::from_text("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"), b"message", &signature));
        assert!(!verify(&PeerId::from_text("nobody"), b"message", &signature));
    }

    #[test]
    fn a_damaged_file_is_set_aside_with_a_warning() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("node.key");
        fs::write(&path, b"not a key").expect("written");
        let (_, warning) = load(&Identity::File(path.clone())).expect("replaced");
        assert!(warning.expect("told").contains("damaged"));
        assert_eq!(fs::read(directory.path().join("node.damaged")).expect("kept"), b"not a key");
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_it() {
        let error = load(&Identity::File("/nowhere-at-all/node.key".into())).expect_err("no directory");
        assert_eq!(error.kind(), ErrorKind::FileNotFound);
        assert!(error.context().contains("/nowhere-at-all/node.key"));
    }

    #[test]
    fn a_given_secret_gives_the_same_identity() {
        let key = || load(&Identity::Secret([7; 32])).expect("valid").0.public();
        assert_eq!(key(), key());
    }
}
