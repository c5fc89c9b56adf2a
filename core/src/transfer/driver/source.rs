//! One stream of a download: reaches the peer, says HELLO, carries frames both ways.
//! Not here: what to ask (the machine) and whom ([`downloading`](super::downloading)).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::AsyncReadExt;
use tokio::sync::mpsc;

use super::frames::{self, FromServer, read_from_server};
use super::limiter::Limiter;
use super::reaching::Reacher;
use crate::base::error::{Error, Result};
use crate::base::ids::ContentKey;
use crate::base::limits;
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
            while let Some(frame) = inbox.recv().await {
                out.clear();
                frame.encode(&mut out);
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
