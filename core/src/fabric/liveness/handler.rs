//! Asks the other end of one connection whether it is there, and answers its questions: libp2p's ping protocol
//! (`/ipfs/ping/1.0.0`: 32 bytes, sent back as they came, any number of times on one stream). Not here: when to ask
//! (`machine`). Why not libp2p's own behaviour: it asks at fixed intervals, whether anybody waits or not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use libp2p::{Stream, StreamProtocol};
use tokio::time::{Instant, Sleep};

use super::super::stream::is_negotiation;
use super::machine::{Output, Stage, Vigil};
use super::pulse::Pulse;
use crate::base::limits;
use crate::base::time::Time;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
/// Bytes of a question.
const QUESTION: usize = 32;

/// What the behaviour tells one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// Something makes it doubtful whether this connection still works.
    Press,
    /// Most likely it is lost.
    Doom,
}

/// The stream for our questions.
enum Outbound {
    None,
    Opening,
    Idle(Stream),
    Asking(BoxFuture<'static, io::Result<Stream>>),
    /// The peer does not speak the protocol.
    Refused,
}

/// One connection's.
pub struct Handler {
    pulse: Arc<Pulse>,
    vigil: Vigil,
    /// Streams on which we answer, newest last.
    inbound: VecDeque<BoxFuture<'static, ()>>,
    outbound: Outbound,
    timer: Pin<Box<Sleep>>,
}

impl Handler {
    /// Watches the connection of this pulse.
    pub fn new(pulse: Arc<Pulse>) -> Self {
        let vigil = Vigil::new(pulse.now());
        let timer = Box::pin(tokio::time::sleep_until(Instant::now()));
        Self { pulse, vigil, inbound: VecDeque::new(), outbound: Outbound::None, timer }
    }

    fn ask(&mut self, stream: Stream) {
        self.outbound = Outbound::Asking(ask(stream).boxed());
    }

    fn failed(&mut self, refused: bool) {
        self.outbound = if refused { Outbound::Refused } else { Outbound::None };
        self.vigil.broken(self.pulse.now());
    }

    fn take_answer(&mut self, context: &mut Context<'_>) {
        let Outbound::Asking(asking) = &mut self.outbound else { return };
        match asking.poll_unpin(context) {
            Poll::Pending => {}
            Poll::Ready(Ok(stream)) => {
                self.outbound = Outbound::Idle(stream);
                self.pulse.answered();
                self.vigil.answered(self.pulse.now());
            }
            Poll::Ready(Err(cause)) => self.failed(is_negotiation(&cause)),
        }
    }

    /// Whether the moment has come; if not, the handler is woken then.
    fn poll_timer(&mut self, at: Time, context: &mut Context<'_>) -> bool {
        let Some(deadline) = self.pulse.clock().deadline(Some(at)) else { return false };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).is_ready()
    }
}

/// Asks and waits for the answer.
async fn ask(mut stream: Stream) -> io::Result<Stream> {
    let question: [u8; QUESTION] = rand::random();
    stream.write_all(&question).await?;
    stream.flush().await?;
    let mut answer = [0; QUESTION];
    stream.read_exact(&mut answer).await?;
    if answer == question { Ok(stream) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "a wrong answer")) }
}

/// Answers until the other side has no more questions.
async fn answer(mut stream: Stream) {
    let mut question = [0; QUESTION];
    while stream.read_exact(&mut question).await.is_ok() {
        if stream.write_all(&question).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Nudge;
    type ToBehaviour = Stage;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ()).with_timeout(limits::STREAM_TIMEOUT)
    }

    fn on_behaviour_event(&mut self, nudge: Nudge) {
        match nudge {
            Nudge::Press => self.vigil.press(),
            Nudge::Doom => self.vigil.doom(),
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        self.inbound.retain_mut(|answering| answering.poll_unpin(context).is_pending());
        // Registered before looking, so that no change in between is lost.
        self.pulse.watch(context.waker());
        loop {
            self.take_answer(context);
            if matches!(self.outbound, Outbound::Refused) {
                return Poll::Pending;
            }
            self.vigil.heard(self.pulse.heard_at());
            let (now, wanted) = (self.pulse.now(), self.pulse.is_wanted());
            match self.vigil.step(now, wanted) {
                Some(Output::Stage(stage)) => return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stage)),
                Some(Output::Probe) => match std::mem::replace(&mut self.outbound, Outbound::Opening) {
                    Outbound::Idle(stream) => self.ask(stream),
                    Outbound::None => {
                        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
                        let protocol = protocol.with_timeout(limits::STREAM_TIMEOUT);
                        return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
                    }
                    // Not with one question at a time.
                    other => self.outbound = other,
                },
                None => {
                    let at = self.vigil.next_timeout(now, wanted);
                    if !self.poll_timer(at, context) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), ()>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: mut stream, .. }) => {
                // Questions do not keep a connection open that nobody uses.
                stream.ignore_for_keep_alive();
                if self.inbound.len() >= limits::PING_STREAMS {
                    self.inbound.pop_front();
                }
                self.inbound.push_back(answer(stream).boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: mut stream, .. }) => {
                stream.ignore_for_keep_alive();
                self.ask(stream);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.failed(matches!(error, StreamUpgradeError::<Infallible>::NegotiationFailed));
            }
            _ => {}
        }
    }
}
