//! The first bytes on a punched TCP connection: they prove that the other end is the peer of the signalling channel, and
//! agree on one connection where several came up. Not here: deciding which one (`tcp`), and the encrypted link, whose
//! bytes follow directly.
//!
//! ```text
//! 0   4  "DIGP"
//! 4   1  version of this layout: 1
//! 5   1  kind: 1 HELLO, 2 SELECT, 3 ACCEPT
//! 6  16  session id
//! 22 16  nonce of the sender, the same in all its frames on this connection
//! 38 32  proof: HMAC-SHA-256 with the session key over a label, the kind, the sender's role (1 controlling, 0
//!        controlled), the session id, the sender's nonce, and in SELECT and ACCEPT the receiver's nonce
//! ```
//!
//! Both sides send HELLO at once. The controlling side chooses one connection and sends SELECT on it; the controlled
//! side answers with ACCEPT. A recorded HELLO passes for a fresh one, but nobody without the key can go on from there,
//! because the proofs that follow hold both nonces. The role in the proof keeps a frame from being sent back.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{SessionId, SessionKey};

/// Length of every frame.
pub const FRAME_BYTES: usize = 70;

const MAGIC: &[u8; 4] = b"DIGP";
const VERSION: u8 = 1;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Here I am.
    Hello,
    /// Use this connection.
    Select,
    /// Agreed.
    Accept,
}

/// 16 random bytes, new for each connection.
pub type Nonce = [u8; 16];

/// What writes and checks the frames of one session.
#[derive(Clone, Debug)]
pub struct Prover {
    session: SessionId,
    key: SessionKey,
    controlling: bool,
}

impl Prover {
    /// For one side of a session.
    pub fn new(session: SessionId, key: SessionKey, controlling: bool) -> Self {
        Self { session, key, controlling }
    }

    /// A frame of ours. `theirs` is the receiver's nonce, which HELLO does not know yet and ignores.
    pub fn write(&self, kind: Kind, mine: &Nonce, theirs: &Nonce) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        frame[..4].copy_from_slice(MAGIC);
        frame[4] = VERSION;
        frame[5] = number(kind);
        frame[6..22].copy_from_slice(&self.session.0);
        frame[22..38].copy_from_slice(mine);
        let proof = self.proof(kind, self.controlling, mine, theirs).finalize().into_bytes();
        frame[38..].copy_from_slice(&proof);
        frame
    }

    /// A frame of the peer: its kind and nonce. `mine` is our nonce on this connection. `None` if it is anything but an
    /// authentic frame of the other side.
    pub fn read(&self, frame: &[u8; FRAME_BYTES], mine: &Nonce) -> Option<(Kind, Nonce)> {
        if &frame[..4] != MAGIC || frame[4] != VERSION || frame[6..22] != self.session.0 {
            return None;
        }
        let kind = match frame[5] {
            1 => Kind::Hello,
            2 => Kind::Select,
            3 => Kind::Accept,
            _ => return None,
        };
        let mut theirs = [0; 16];
        theirs.copy_from_slice(&frame[22..38]);
        // Compared in constant time.
        self.proof(kind, !self.controlling, &theirs, mine).verify_slice(&frame[38..]).ok()?;
        Some((kind, theirs))
    }

    fn proof(&self, kind: Kind, controlling: bool, sender: &Nonce, receiver: &Nonce) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("HMAC takes keys of any length");
        mac.update(b"/dig/punch/1 tcp\0");
        mac.update(&[number(kind), u8::from(controlling)]);
        mac.update(&self.session.0);
        mac.update(sender);
        if kind != Kind::Hello {
            mac.update(receiver);
        }
        mac
    }
}

fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Hello => 1,
        Kind::Select => 2,
        Kind::Accept => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provers() -> (Prover, Prover) {
        let (session, key) = (SessionId([5; 16]), SessionKey([6; 32]));
        (Prover::new(session, key.clone(), true), Prover::new(session, key, false))
    }

    #[test]
    fn frames_have_the_documented_bytes() {
        let (leader, follower) = provers();
        let frame = leader.write(Kind::Select, &[1; 16], &[2; 16]);
        assert_eq!(&frame[..6], b"DIGP\x01\x02");
        assert_eq!((&frame[6..22], &frame[22..38]), (&[5; 16][..], &[1; 16][..]));
        let proof: String = frame[38..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(proof, "be42661299d67f17046250262d6d06056aa29b952facafbc7adf3e46e91a6c7c");
        assert_eq!(follower.read(&frame, &[2; 16]), Some((Kind::Select, [1; 16])));
    }

    #[test]
    fn only_the_peer_can_make_a_frame() {
        let (leader, follower) = provers();
        let (mine, theirs) = ([1; 16], [2; 16]);
        for kind in [Kind::Hello, Kind::Select, Kind::Accept] {
            let frame = leader.write(kind, &mine, &theirs);
            assert_eq!(follower.read(&frame, &theirs), Some((kind, mine)));
            assert_eq!(leader.read(&frame, &theirs), None, "sent back to its maker");
            let stranger = Prover::new(SessionId([5; 16]), SessionKey([7; 32]), false);
            assert_eq!(stranger.read(&frame, &theirs), None, "another key");
            for index in 0..FRAME_BYTES {
                let mut changed = frame;
                changed[index] ^= 1;
                assert_eq!(follower.read(&changed, &theirs), None, "byte {index}");
            }
        }
        let replayed = leader.write(Kind::Select, &mine, &theirs);
        assert_eq!(follower.read(&replayed, &[3; 16]), None, "of another connection");
    }
}
