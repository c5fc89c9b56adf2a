//! The rounds of one attempt over a signalling channel, the same for UDP and TCP. Not here: what a round sends.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::record::{self, Attempt};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::policy::Scope;
use crate::nat::punch::message::{self, Body, Message, NatSummary, Proposal, Reason};
use crate::nat::punch::plan::{History, NoHope};
use crate::nat::punch::round::{self, Half};
use crate::nat::punch::{Method, SessionId, SessionKey, Side};
use crate::nat::signal::Signal;

/// What a transport brings to the rounds.
pub(super) trait Rounds: Send {
    /// What a won round yields.
    type Won: Send;

    /// The method of the next round.
    fn choose(
        &self,
        initiator: &NatSummary,
        responder: &NatSummary,
        history: &History,
        propose: Option<Method>,
    ) -> Result<Method, NoHope>;

    /// Our endpoints and next ports, measured now; `fresh` from sockets that sent nothing before.
    fn prepare(&mut self, fresh: bool) -> impl Future<Output = Result<Half>> + Send;

    /// Runs the round. Also says how many addresses it aimed at and how much it sent.
    fn run(&mut self, start: Start) -> impl Future<Output = (Result<(Self::Won, SocketAddr), String>, Cost)> + Send;
}

/// What a round costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) targets: u32,
    pub(super) spent: u32,
}

/// What a round needs to know.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) method: Method,
    pub(super) side: Side,
    pub(super) mine: Half,
    pub(super) theirs: Half,
    pub(super) session: SessionId,
    pub(super) key: SessionKey,
    pub(super) duration: Duration,
    pub(super) packets: u32,
    /// Ends the round early.
    pub(super) stop: CancellationToken,
}

/// What does not depend on the transport.
pub(super) struct Setup<'a> {
    pub(super) side: Side,
    pub(super) scope: Scope,
    pub(super) signal_timeout: Duration,
    pub(super) history: &'a mut History,
}

/// Messages that make no sense where they come, before the peer counts as broken.
const MAX_STRAY: usize = 64;
/// Telling the peer about the end is a courtesy that must not hold up a success.
const FAREWELL: Duration = Duration::from_millis(200);

/// Runs rounds until one wins or none is left.
pub(super) async fn run<R: Rounds>(
    rounds: &mut R,
    setup: Setup<'_>,
    signal: &mut dyn Signal,
    cancel: &CancellationToken,
) -> Result<(R::Won, Vec<Attempt>)> {
    let mut log = Vec::new();
    let session = SessionId(rand::random());
    let Setup { side, scope, signal_timeout, history } = setup;
    let mut exchange =
        Exchange { signal, session, fixed: side == Side::Initiator, round: 1, timeout: signal_timeout, strays: 0 };
    let ended = tokio::select! {
        ended = play(rounds, side, scope, history, &mut exchange, &mut log) => ended,
        () = cancel.cancelled() => Err(End::Cancelled),
    };
    let end = match ended {
        Ok(won) => return Ok((won, log)),
        Err(end) => end,
    };
    let farewell = match &end {
        End::NoHope(NoHope::BudgetSpent) => Some((Reason::Budget, NoHope::BudgetSpent.to_string())),
        End::NoHope(why) => Some((Reason::NoHope, why.to_string())),
        End::Cancelled => Some((Reason::Cancelled, String::new())),
        End::Broken(_) => Some((Reason::Broken, String::new())),
        End::Aborted(..) => None,
    };
    if let Some((reason, text)) = farewell {
        let _ = tokio::time::timeout(FAREWELL, exchange.send(Body::Abort(reason, text))).await;
    }
    Err(match end {
        End::NoHope(why) => record::error(ErrorKind::PeerUnreachable, &why.to_string(), log),
        End::Aborted(reason, text) => {
            let text = format!("the peer ended the attempt ({reason:?}): {text}");
            record::error(ErrorKind::PeerUnreachable, &text, log)
        }
        End::Cancelled => record::cancelled(log),
        End::Broken(error) if log.is_empty() => error,
        End::Broken(error) => record::error(error.kind(), &error.full_message(), log),
    })
}

/// Why no path was made.
enum End {
    NoHope(NoHope),
    Aborted(Reason, String),
    Cancelled,
    Broken(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<NoHope> for End {
    fn from(reason: NoHope) -> Self {
        Self::NoHope(reason)
    }
}

async fn play<R: Rounds>(
    rounds: &mut R,
    side: Side,
    scope: Scope,
    history: &mut History,
    exchange: &mut Exchange<'_>,
    log: &mut Vec<Attempt>,
) -> Result<R::Won, End> {
    let mut known = None;
    loop {
        if history.is_spent() {
            return Err(NoHope::BudgetSpent.into());
        }
        let fresh = exchange.round > 1;
        let start = match side {
            Side::Initiator => lead(rounds, history, exchange, fresh, &mut known, scope).await?,
            Side::Responder => follow(rounds, history, exchange, fresh, scope).await?,
        };
        let (method, begun) = (start.method, Instant::now());
        let mut attempt = Attempt::new(exchange.round, method, 0);
        let stop = start.stop.clone();
        let (result, cost, aborted) = {
            let mut running = std::pin::pin!(rounds.run(start));
            tokio::select! {
                (result, cost) = &mut running => (result, cost, None),
                end = exchange.interruption() => {
                    stop.cancel();
                    let (_, cost) = running.await;
                    (Err("the peer ended the round".to_owned()), cost, end)
                }
            }
        };
        attempt.targets = cost.targets;
        let remote = result.as_ref().map(|(_, remote)| *remote).map_err(Clone::clone);
        attempt.end(cost.spent, begun.elapsed(), remote);
        log.push(attempt);
        history.record(method, cost.spent, begun.elapsed(), result.is_ok());
        if let Some(end) = aborted {
            return Err(end);
        }
        match result {
            Ok((won, _)) => {
                let _ = tokio::time::timeout(FAREWELL, exchange.send(Body::Result(true))).await;
                return Ok(won);
            }
            Err(_) => exchange.send(Body::Result(false)).await?,
        }
        exchange.round = exchange.round.saturating_add(1);
    }
}

/// The initiator's half of the preparations; returns when it is time to start.
async fn lead<R: Rounds>(
    rounds: &mut R,
    history: &History,
    exchange: &mut Exchange<'_>,
    fresh: bool,
    known: &mut Option<NatSummary>,
    scope: Scope,
) -> Result<Start, End> {
    let mine = rounds.prepare(fresh).await?;
    let method = known.map(|theirs| rounds.choose(&mine.nat, &theirs, history, None)).transpose()?;
    let key = SessionKey(rand::random());
    let asked = Instant::now();
    exchange.send(Body::Offer(proposal(&mine, method, &key, Duration::ZERO))).await?;
    let answer = loop {
        match exchange.receive().await? {
            Body::Answer(answer) => break answer,
            _ => exchange.stray()?,
        }
    };
    let round_trip = asked.elapsed().saturating_sub(answer.held);
    *known = Some(answer.nat);
    // The responder decides, but only among what makes sense to us as well.
    let method = rounds.choose(&mine.nat, &answer.nat, history, answer.method)?;
    if answer.method != Some(method) {
        let text = "the peer chose a method that cannot work or failed before";
        return Err(Error::new(ErrorKind::Protocol, format!("hole punching: {text}")).into());
    }
    exchange.send(Body::Go(Duration::ZERO)).await?;
    tokio::time::sleep((round_trip / 2).min(limits::PUNCH_ROUND)).await;
    let theirs = Half::of(&answer, scope);
    let key = SessionKey::combine(&key, &answer.key);
    Ok(start(Side::Initiator, method, mine, theirs, exchange.session, key, round_trip, history))
}

/// The responder's half.
async fn follow<R: Rounds>(
    rounds: &mut R,
    history: &History,
    exchange: &mut Exchange<'_>,
    fresh: bool,
    scope: Scope,
) -> Result<Start, End> {
    let offer = loop {
        match exchange.receive().await? {
            Body::Offer(offer) => break offer,
            _ => exchange.stray()?,
        }
    };
    let held = Instant::now();
    let mine = rounds.prepare(fresh).await?;
    let method = rounds.choose(&offer.nat, &mine.nat, history, offer.method)?;
    let key = SessionKey(rand::random());
    let answered = Instant::now();
    exchange.send(Body::Answer(proposal(&mine, Some(method), &key, held.elapsed()))).await?;
    let delay = loop {
        match exchange.receive().await? {
            Body::Go(delay) => break delay,
            _ => exchange.stray()?,
        }
    };
    let round_trip = answered.elapsed();
    tokio::time::sleep(delay.min(limits::PUNCH_ROUND)).await;
    let theirs = Half::of(&offer, scope);
    let key = SessionKey::combine(&offer.key, &key);
    Ok(start(Side::Responder, method, mine, theirs, exchange.session, key, round_trip, history))
}

fn proposal(mine: &Half, method: Option<Method>, key: &SessionKey, held: Duration) -> Proposal {
    Proposal {
        highest: message::VERSION,
        method,
        held,
        key: key.clone(),
        nat: mine.nat,
        endpoints: mine.endpoints.clone(),
        forecast: mine.forecast.clone(),
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one record")]
fn start(
    side: Side,
    method: Method,
    mine: Half,
    theirs: Half,
    session: SessionId,
    key: SessionKey,
    round_trip: Duration,
    history: &History,
) -> Start {
    let (initiator, responder) = match side {
        Side::Initiator => (&mine.nat, &theirs.nat),
        Side::Responder => (&theirs.nat, &mine.nat),
    };
    let duration = round::duration(method, initiator, responder, round_trip).min(history.time);
    let packets = history.packets.min(limits::PUNCH_ROUND_PACKETS);
    Start { method, side, mine, theirs, session, key, duration, packets, stop: CancellationToken::new() }
}

/// The messages of one attempt.
struct Exchange<'a> {
    signal: &'a mut dyn Signal,
    session: SessionId,
    /// Whether the session id stands; the responder takes it from the first OFFER, or from an ABORT in its place.
    fixed: bool,
    round: u8,
    timeout: Duration,
    strays: usize,
}

impl Exchange<'_> {
    async fn send(&mut self, body: Body) -> Result<()> {
        let message = Message { session: self.session, round: self.round, body };
        match tokio::time::timeout(self.timeout, self.signal.send(message.encode())).await {
            Ok(sent) => sent,
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, "hole punching: the signalling channel does not take messages"))
            }
        }
    }

    /// The next message of this round. Those of earlier rounds and other sessions are skipped.
    async fn receive(&mut self) -> Result<Body, End> {
        let patience = self.timeout;
        let waiting = async {
            loop {
                match self.next().await? {
                    Some(Body::Abort(reason, text)) => return Err(End::Aborted(reason, text)),
                    Some(body) => return Ok(body),
                    None => self.stray()?,
                }
            }
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(received) => received,
            Err(_) => Err(Error::new(ErrorKind::Timeout, "hole punching: the peer does not answer").into()),
        }
    }

    /// One message, `None` if it is not for this round. Cancel safe.
    async fn next(&mut self) -> Result<Option<Body>> {
        let bytes = self.signal.receive().await?;
        let decoded = Message::decode(&bytes)
            .map_err(|cause| Error::with_source(ErrorKind::Protocol, "hole punching: a malformed message", cause))?;
        let Some(message) = decoded else { return Ok(None) };
        if !self.fixed && matches!(message.body, Body::Offer(_) | Body::Abort(..)) {
            self.session = message.session;
            self.fixed = true;
        }
        let ours = message.session == self.session && self.fixed;
        let timely = message.round == self.round || matches!(message.body, Body::Abort(..));
        Ok((ours && timely).then_some(message.body))
    }

    /// Waits, while a round runs, for what ends it: `None` if the peer's round failed. A channel that ends meanwhile
    /// does not matter.
    async fn interruption(&mut self) -> Option<End> {
        loop {
            match self.next().await {
                Ok(Some(Body::Abort(reason, text))) => return Some(End::Aborted(reason, text)),
                Ok(Some(Body::Result(false))) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Protocol => return Some(error.into()),
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// A message that makes no sense now, e.g. a RESULT that crossed ours.
    fn stray(&mut self) -> Result<()> {
        self.strays += 1;
        if self.strays <= MAX_STRAY {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Protocol, format!("hole punching: {MAX_STRAY} messages out of order")))
    }
}
