//! One stream of a download: reaches the peer, says HELLO, carries frames both ways.
//! Not here: what to ask (the machine) and whom ([`downloading`](super::downloading)).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::AsyncReadExt;
use tokio::sync::{Notify, mpsc};

use super::frames::{self, FromServer, read_from_server};
use super::limiter::Limiter;
use super::reaching::Reacher;
use crate::base::error::{Error, Result};
use crate::base::ids::ContentKey;
use crate::base::limits;
use crate::discovery::pex::driver::{Conversation, PeerExchange, Said};
use crate::discovery::source::Candidate;
use crate::fabric::{Expectation, Link, Stream};
use crate::transfer::download::SourceId;
use crate::wire::transfer::{ClientFrame, PROTOCOL, ServerFrame};

/// What a stream reports to its download.
#[derive(Debug)]
pub(super) enum SourceEvent {
    /// Connected, HELLO is sent.
    Opened { link: Link, frames: mpsc::Sender<ClientFrame>, owed: Expectation },
    /// A control frame came.
    Frame(ServerFrame),
    /// File bytes came.
    Block { offset: u64, bytes: Bytes },
    /// The peer floods peer exchange.
    Misbehaved(Error),
    /// The stream or the attempt is over. The last event.
    Closed(Option<Error>),
}

/// Everything one stream needs.
pub(super) struct SourceTask {
    pub(super) source: SourceId,
    pub(super) candidate: Candidate,
    /// A link to use instead of reaching the peer.
    pub(super) link: Option<Link>,
    pub(super) key: ContentKey,
    pub(super) serves: bool,
    pub(super) reacher: Reacher,
    pub(super) exchange: PeerExchange,
    pub(super) node_limiter: Arc<Limiter>,
    pub(super) download_limiter: Arc<Limiter>,
    pub(super) events: mpsc::Sender<(SourceId, SourceEvent)>,
    pub(super) timeout: Duration,
}

impl SourceTask {
    /// Runs until the stream ends; dropping the future resets the stream.
    pub(super) async fn run(self) {
        let end = match self.open().await {
            Ok(stream) => self.carry(stream).await.err(),
            Err(error) => Some(error),
        };
        // A download that has ended does not listen any more.
        let _ = self.events.send((self.source, SourceEvent::Closed(end))).await;
    }

    async fn open(&self) -> Result<Stream> {
        let link = match &self.link {
            Some(link) => link.clone(),
            None => self.reacher.reach(&self.candidate, self.timeout).await?,
        };
        self.reacher.fabric.open(&link, PROTOCOL).await
    }

    async fn carry(&self, stream: Stream) -> Result<()> {
        let link = stream.link().clone();
        let peer = link.peer.clone();
        let owed = stream.expectation();
        let (talk, begun) = (OnceLock::new(), Notify::new());
        let at = link.clone();
        let (mut reader, mut writer) = stream.split();
        let mut out = BytesMut::new();
        ClientFrame::Hello { key: self.key.clone(), serves: self.serves }.encode(&mut out);
        frames::write(&mut writer, &out).await?;
        frames::flush(&mut writer).await?;
        let (requests, mut inbox) = mpsc::channel(limits::CONTROL_FRAMES);
        if self.events.send((self.source, SourceEvent::Opened { link, frames: requests, owed })).await.is_err() {
            return Ok(());
        }
        let reading = async {
            let hold_back = |bytes| {
                let peer = peer.clone();
                async move {
                    self.node_limiter.pass(&peer, bytes).await;
                    self.download_limiter.pass(&peer, bytes).await;
                }
            };
            while let Some(received) = read_from_server(&mut reader, hold_back).await? {
                if let FromServer::Control(frame) = &received {
                    match self.talk_about(frame, &at, &talk) {
                        Ok(false) => {}
                        Ok(true) => {
                            begun.notify_one();
                            if !matches!(frame, ServerFrame::Info(_)) {
                                continue;
                            }
                        }
                        Err(error) => {
                            // A download that has ended does not listen any more.
                            let _ = self.events.send((self.source, SourceEvent::Misbehaved(error))).await;
                            break;
                        }
                    }
                }
                let event = match received {
                    FromServer::Control(frame) => SourceEvent::Frame(frame),
                    FromServer::Block { offset, bytes } => SourceEvent::Block { offset, bytes },
                };
                if self.events.send((self.source, event)).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let writing = async {
            loop {
                out.clear();
                tokio::select! {
                    frame = inbox.recv() => match frame {
                        Some(frame) => frame.encode(&mut out),
                        None => break,
                    },
                    said = next_said(&talk, &begun) => match said {
                        Said::Own(bytes) => ClientFrame::Own(bytes).encode(&mut out),
                        Said::Peers(peers) => ClientFrame::Peers(peers).encode(&mut out),
                    },
                }
                // Requests come in bursts: one write for all that wait.
                while let Ok(frame) = inbox.try_recv() {
                    frame.encode(&mut out);
                }
                frames::write(&mut writer, &out).await?;
                frames::flush(&mut writer).await?;
            }
            // The download let go of this source.
            frames::close(&mut writer).await
        };
        tokio::select! {
            result = reading => result,
            result = writing => result,
        }
    }
}

impl SourceTask {
    /// Looks for what concerns peer exchange; whether there was something. Fails when the peer floods.
    fn talk_about(&self, frame: &ServerFrame, link: &Link, talk: &OnceLock<Conversation>) -> Result<bool> {
        match (frame, talk.get()) {
            (ServerFrame::Info(info), None) => {
                if matches!(self.key, ContentKey::Hash(hash) if hash != info.hash) {
                    return Ok(false);
                }
                let Some(conversation) = self.exchange.begin(link, info.hash, &self.key) else { return Ok(false) };
                conversation.joined(info.complete, link);
                // The only one that sets it.
                let _ = talk.set(conversation);
                Ok(true)
            }
            (ServerFrame::Peers(peers), Some(talk)) => talk.take(peers.clone()).map(|()| true),
            (ServerFrame::Own(bytes), Some(talk)) => {
                talk.take_own(bytes.clone());
                Ok(true)
            }
            (ServerFrame::Peers(_) | ServerFrame::Own(_), None) => Ok(true),
            _ => Ok(false),
        }
    }
}

/// What peer exchange wants to say, once it has begun. Cancel safe.
async fn next_said(talk: &OnceLock<Conversation>, begun: &Notify) -> Said {
    loop {
        match talk.get() {
            Some(talk) => return talk.next().await,
            None => begun.notified().await,
        }
    }
}
