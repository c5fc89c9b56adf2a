//! Two programs that know nothing but each other's names and a Gun graph: how they come to one session of letters.
//! Not here: how letters travel (`post`), and what is said in the session.
//!
//! Each side has an Ed25519 key that follows from both names and a secret, so either knows the other's address and how to
//! seal letters to it. The side with the smaller name leads. In every session that it opens: it greets, the other side
//! answers with a number, and it repeats the number. Letters of attempts long gone may still lie in the graph, and nobody
//! repeats a number there, so both end up in the same session.
//!
//! ```text
//! 0   1  1 greeting, 2 answer, 3 repetition
//! 1  16  the number (answer, repetition)
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, select_all};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::post::{LetterSignal, Post};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::fabric::{Identity, Signer};
use crate::gun::GunBackend;
use crate::nat::signal::Signal;

/// What tells these keys from all others.
const DOMAIN: &[u8] = b"dig-meeting/1";

const GREETING: u8 = 1;
const ANSWER: u8 = 2;
const REPETITION: u8 = 3;

/// One side of a meeting.
pub struct Meeting {
    post: Post,
    peer: PeerId,
    leads: bool,
    arrivals: mpsc::Receiver<(PeerId, LetterSignal)>,
}

impl Meeting {
    /// Begins to read what the peer writes. `us` and `peer` are the names, which the peer gives the other way round; without
    /// a `key` whoever knows both names can take either place. Letters are written by tasks of `tasks`; everything ends
    /// with `stop`. Needs a tokio runtime. Errors: `InvalidArgument` for names that cannot be, or are the same.
    pub fn begin(
        backend: Arc<dyn GunBackend>,
        us: &str,
        peer: &str,
        key: Option<&str>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self> {
        let leads = leads(us, peer)?;
        let theirs = signer(peer, us, key)?.peer();
        let post = Post::new(backend, signer(us, peer, key)?, tasks, stop)?.anywhere();
        let (sender, arrivals) = mpsc::channel(limits::GUN_MEETING_GREETINGS);
        let reader = post.clone();
        tokio::spawn(async move { reader.run(sender).await });
        Ok(Self { post, peer: theirs, leads, arrivals })
    }

    /// Waits until the peer has come, as long as it takes. Errors: `InvalidState` when the graph has ended, `LimitReached`.
    pub async fn meet(mut self) -> Result<LetterSignal> {
        if !self.leads {
            return self.follow().await;
        }
        // Who leads begins all sessions.
        self.arrivals.close();
        loop {
            let again = Instant::now() + limits::GUN_MEETING_AGAIN;
            let mut signal = self.post.open(&self.peer)?;
            match timeout_at(again, greet(&mut signal)).await {
                Ok(Ok(())) => return Ok(signal),
                Ok(Err(error)) => tracing::debug!(error = %error.full_message(), "a greeting over Gun"),
                Err(_) => {}
            }
            drop(signal);
            sleep_until(again).await;
        }
    }

    async fn follow(&mut self) -> Result<LetterSignal> {
        let mut greetings: VecDeque<BoxFuture<'static, Result<LetterSignal>>> = VecDeque::new();
        loop {
            tokio::select! {
                arrival = self.arrivals.recv() => {
                    let ended = || Error::new(ErrorKind::InvalidState, "the Gun graph has ended");
                    let (peer, signal) = arrival.ok_or_else(ended)?;
                    if peer != self.peer {
                        continue;
                    }
                    if greetings.len() >= limits::GUN_MEETING_GREETINGS {
                        greetings.pop_front();
                    }
                    greetings.push_back(Box::pin(answer(signal)));
                }
                (result, index) = first(&mut greetings), if !greetings.is_empty() => {
                    greetings.remove(index);
                    match result {
                        Ok(signal) => return Ok(signal),
                        Err(error) => tracing::debug!(error = %error.full_message(), "a greeting over Gun"),
                    }
                }
            }
        }
    }
}

/// The first of them that ends, and which it is.
async fn first<T>(waiting: &mut VecDeque<BoxFuture<'static, T>>) -> (T, usize) {
    let (result, index, _) = select_all(waiting.iter_mut()).await;
    (result, index)
}

/// Whether the side with the name `us` leads. `InvalidArgument` for names that cannot be, or are the same.
pub fn leads(us: &str, peer: &str) -> Result<bool> {
    for (option, name) in [("localId", us), ("remoteId", peer)] {
        if name.is_empty() || name.len() > limits::MAX_GUN_MEETING_NAME_BYTES {
            let most = limits::MAX_GUN_MEETING_NAME_BYTES;
            return Err(Error::invalid(option, format_args!("must have 1 to {most} bytes")));
        }
    }
    if us == peer {
        return Err(Error::invalid("remoteId", "must not be localId"));
    }
    Ok(us < peer)
}

async fn greet(signal: &mut LetterSignal) -> Result<()> {
    signal.send(Bytes::from_static(&[GREETING])).await?;
    let answer = signal.receive().await?;
    let number = answer.strip_prefix(&[ANSWER]).filter(|number| number.len() == 16).ok_or_else(nonsense)?;
    signal.send([&[REPETITION][..], number].concat().into()).await
}

async fn answer(mut signal: LetterSignal) -> Result<LetterSignal> {
    if signal.receive().await?[..] != [GREETING] {
        return Err(nonsense());
    }
    let number: [u8; 16] = rand::random();
    signal.send([&[ANSWER][..], &number].concat().into()).await?;
    let repeated = signal.receive().await?;
    if repeated[..] == [&[REPETITION][..], &number].concat() { Ok(signal) } else { Err(nonsense()) }
}

fn nonsense() -> Error {
    Error::new(ErrorKind::Protocol, "a meeting over Gun: not what was expected")
}

/// The key of the side `own` in meetings with `other`.
fn signer(own: &str, other: &str, key: Option<&str>) -> Result<Signer> {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    for part in [key.unwrap_or_default(), own, other] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    Signer::load(&Identity::Secret(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_names_and_the_secret() {
        let peer = |own, other, key| signer(own, other, key).expect("a key").peer();
        assert_eq!(peer("a", "b", Some("k")), peer("a", "b", Some("k")));
        let all = [
            peer("a", "b", None),
            peer("b", "a", None),
            peer("a", "b", Some("k")),
            peer("ab", "", None),
            peer("", "ab", None),
            peer("a", "c", None),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn one_of_two_leads() {
        assert!(leads("a", "b").expect("names") && !leads("b", "a").expect("names"));
        for (us, peer, option) in [("", "b", "localId"), ("a", "", "remoteId"), ("a", "a", "remoteId")] {
            assert!(leads(us, peer).expect_err("no names").to_string().starts_with(option));
        }
        let long = "a".repeat(limits::MAX_GUN_MEETING_NAME_BYTES + 1);
        assert_eq!(leads(&long, "b").expect_err("too long").kind(), ErrorKind::InvalidArgument);
    }
}
