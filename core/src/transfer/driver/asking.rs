//! Asks peers what they say of a file, without downloading it.

use bytes::BytesMut;
use tokio::task::JoinSet;

use super::candidates::{Candidates, next_candidate};
use super::frames::{self, FromServer, read_from_server};
use super::order::{Engine, Order};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::ContentKey;
use crate::base::limits;
use crate::discovery::source::{Candidate, SourceKind};
use crate::wire::transfer::{ClientFrame, Info, PROTOCOL, ServerFrame};

/// The first answer of any peer, within the order's timeout. What is said is not proven.
pub async fn ask(engine: &Engine, order: &Order) -> Result<Info> {
    let asking = async {
        let mut candidates = Candidates::default();
        for peer in &order.peers {
            candidates.add(Candidate::new(None, vec![peer.clone()], SourceKind::Manual));
        }
        let mut search = order.discover.then(|| engine.discovery.search(&order.key));
        let mut asked = JoinSet::new();
        let mut last_error = None;
        loop {
            while asked.len() < order.max_peers
                && let Some((candidate, _)) = candidates.next_ready()
            {
                asked.spawn(ask_one(engine.clone(), candidate, order.key.clone(), order.dial_timeout));
            }
            if asked.is_empty() && search.is_none() {
                return Err(nobody(last_error));
            }
            tokio::select! {
                Some(answer) = asked.join_next() => match answer {
                    Ok(Ok(info)) => return Ok(info),
                    Ok(Err(error)) => last_error = Some(error),
                    Err(error) => return Err(Error::with_source(ErrorKind::Internal, "a question failed to run", error)),
                },
                candidate = next_candidate(&mut search) => match candidate {
                    Some(candidate) => candidates.add(candidate),
                    None => search = None,
                },
            }
        }
    };
    tokio::time::timeout(order.timeout, asking).await.unwrap_or_else(|_| Err(nobody(None)))
}

async fn ask_one(engine: Engine, candidate: Candidate, key: ContentKey, timeout: std::time::Duration) -> Result<Info> {
    let link = engine.reacher().reach(&candidate, timeout).await?;
    let mut stream = engine.fabric.open(&link, PROTOCOL).await?;
    let mut hello = BytesMut::new();
    ClientFrame::Hello { key: key.clone(), serves: false }.encode(&mut hello);
    frames::write(&mut stream, &hello).await?;
    frames::flush(&mut stream).await?;
    let answer =
        tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, read_from_server(&mut stream, |_| std::future::ready(())));
    let answer =
        answer.await.map_err(|_| Error::new(ErrorKind::Timeout, format!("{} did not answer", link.peer)))??;
    match answer {
        Some(FromServer::Control(ServerFrame::Info(info))) => match key {
            ContentKey::Hash(hash) if hash != info.hash => {
                Err(Error::new(ErrorKind::Protocol, format!("{} answered for another file", link.peer)))
            }
            _ => Ok(info),
        },
        Some(FromServer::Control(ServerFrame::Gone(_))) => {
            Err(Error::new(ErrorKind::ContentNotFound, format!("{} does not have it", link.peer)))
        }
        _ => Err(Error::new(ErrorKind::Protocol, format!("{} gave no answer to HELLO", link.peer))),
    }
}

fn nobody(cause: Option<Error>) -> Error {
    match cause {
        Some(cause) if cause.kind() == ErrorKind::ContentNotFound => {
            Error::with_source(ErrorKind::ContentNotFound, "the peers that were asked do not have the content", cause)
        }
        Some(cause) => Error::with_source(ErrorKind::NoPeers, "no peer that has the content could be asked", cause),
        None => Error::new(ErrorKind::NoPeers, "no peer that has the content was found in time"),
    }
}
