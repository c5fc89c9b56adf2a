//! The first bytes on a punched TCP connection: they prove that the other end is the peer of the signalling channel, and
//! agree on one connection where several came up. Not here: deciding which one (`tcp`), and the encrypted link, whose
//! bytes follow directly.
//!
//! ```text
//! 0   4  "DIGP"
//! 4   1  version of this layout: 1
//! 5   1  kind: 1 HELLO, 2 SELECT, 3 ACCEPT
//! 6  16  session id
//! 22 16  nonce of the sender, the same in all its frames of this attempt
//! 38 32  proof: HMAC-SHA-256 with the session key over a label, the kind, the sender's role (1 controlling, 0
//!        controlled, 2 undecided), the session id, the sender's nonce, and in SELECT and ACCEPT the receiver's nonce
//! ```
//!
//! Both sides send HELLO at once. The controlling side chooses one connection and sends SELECT on it; the controlled
//! side answers with ACCEPT. A recorded HELLO passes for a fresh one, but nobody without the key can go on from there,
//! because the proofs that follow hold both nonces. Without signalling nobody has a role: HELLO says 2, and the larger
//! nonce controls. Role and nonce keep a frame from being sent back to its maker.

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

/// 16 random bytes, new for each attempt.
pub type Nonce = [u8; 16];

/// What writes and checks the frames of one attempt.
#[derive(Clone, Debug)]
pub struct Prover {
    session: SessionId,
    key: SessionKey,
    nonce: Nonce,
    controlling: Option<bool>,
}

impl Prover {
    /// For one side of a session; `controlling` is `None` where the nonces decide.
    pub fn new(session: SessionId, key: SessionKey, controlling: Option<bool>, nonce: Nonce) -> Self {
        Self { session, key, nonce, controlling }
    }

    /// Whether this side controls, the peer's nonce being this one.
    pub fn controls(&self, theirs: &Nonce) -> bool {
        self.controlling.unwrap_or(self.nonce > *theirs)
    }

    /// A frame of ours. `theirs` is the peer's nonce, which HELLO does not know yet and ignores.
    pub fn write(&self, kind: Kind, theirs: &Nonce) -> [u8; FRAME_BYTES] {
        let mut frame = [0; FRAME_BYTES];
        frame[..4].copy_from_slice(MAGIC);
        frame[4] = VERSION;
        frame[5] = number(kind);
        frame[6..22].copy_from_slice(&self.session.0);
        frame[22..38].copy_from_slice(&self.nonce);
        let role = self.role(kind, self.controls(theirs));
        let proof = self.proof(kind, role, &self.nonce, theirs).finalize().into_bytes();
        frame[38..].copy_from_slice(&proof);
        frame
    }

    /// A frame of the peer: its kind and nonce. `None` if it is anything but an authentic frame of the other side.
    pub fn read(&self, frame: &[u8; FRAME_BYTES]) -> Option<(Kind, Nonce)> {
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
        if theirs == self.nonce {
            return None;
        }
        let role = self.role(kind, !self.controls(&theirs));
        // Compared in constant time.
        self.proof(kind, role, &theirs, &self.nonce).verify_slice(&frame[38..]).ok()?;
        Some((kind, theirs))
    }

    fn role(&self, kind: Kind, controlling: bool) -> u8 {
        if kind == Kind::Hello && self.controlling.is_none() { 2 } else { u8::from(controlling) }
    }

    fn proof(&self, kind: Kind, role: u8, sender: &Nonce, receiver: &Nonce) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("HMAC takes keys of any length");
        mac.update(b"/dig/punch/1 tcp\0");
        mac.update(&[number(kind), role]);
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
    use super::super::Hex;
    use super::*;

    fn prover(controlling: Option<bool>, nonce: u8, key: u8) -> Prover {
        Prover::new(SessionId([5; 16]), SessionKey([key; 32]), controlling, [nonce; 16])
    }

    #[test]
    fn frames_have_the_documented_bytes() {
        let (leader, follower) = (prover(Some(true), 1, 6), prover(Some(false), 2, 6));
        let frame = leader.write(Kind::Select, &[2; 16]);
        assert_eq!(&frame[..6], b"DIGP\x01\x02");
        assert_eq!((&frame[6..22], &frame[22..38]), (&[5; 16][..], &[1; 16][..]));
        let proof = Hex(&frame[38..]).to_string();
        assert_eq!(proof, "be42661299d67f17046250262d6d06056aa29b952facafbc7adf3e46e91a6c7c");
        assert_eq!(follower.read(&frame), Some((Kind::Select, [1; 16])));
    }

    #[test]
    fn only_the_peer_can_make_a_frame() {
        for (mine, theirs) in [(Some(true), Some(false)), (None, None)] {
            let (leader, follower) = (prover(mine, 2, 6), prover(theirs, 1, 6));
            assert!(leader.controls(&[1; 16]) && !follower.controls(&[2; 16]));
            for kind in [Kind::Hello, Kind::Select, Kind::Accept] {
                let frame = leader.write(kind, &[1; 16]);
                assert_eq!(follower.read(&frame), Some((kind, [2; 16])));
                assert_eq!(leader.read(&frame), None, "sent back to its maker");
                assert_eq!(prover(theirs, 1, 7).read(&frame), None, "another key");
                for index in 0..FRAME_BYTES {
                    let mut changed = frame;
                    changed[index] ^= 1;
                    assert_eq!(follower.read(&changed), None, "byte {index}");
                }
            }
            let select = leader.write(Kind::Select, &[1; 16]);
            assert_eq!(prover(theirs, 0, 6).read(&select), None, "of another attempt");
        }
    }

    #[test]
    fn a_side_with_a_role_does_not_talk_to_one_without() {
        let hello = prover(None, 2, 6).write(Kind::Hello, &[0; 16]);
        assert_eq!(prover(Some(false), 1, 6).read(&hello), None);
    }
}
