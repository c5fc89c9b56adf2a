//! One climb: the ladder to one peer with its rungs, links and clock. It lives as long as a link to the peer does.
//! Not here: the decisions (`nat::ladder`) and the rungs' work (`rungs`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::request::{self, Description, Request};
use super::rungs::{Reason, Rung, Way};
use super::situation::Knowledge;
use super::{Found, Progress, Shared};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::base::time::Time;
use crate::fabric::{FabricEvent, Link, Stage, address};
use crate::nat::ladder::{Ladder, Opening, Output, Plan, RungId, Signalling, Situation, Verdict, tcp_punch, udp_punch};
use crate::nat::method::{Method, Transport};
use crate::nat::registry::Success;
use crate::nat::report::Failure;
use crate::net::clock::Clock;

/// The state.
pub struct Climb {
    shared: Arc<Shared>,
    peer: PeerId,
    knowledge: Knowledge,
    ladder: Ladder,
    clock: Clock,
    /// What gave each path.
    links: HashMap<RungId, (Link, Method)>,
    rungs: JoinSet<(RungId, Method, Result<Way, Reason>)>,
    cancels: HashMap<RungId, CancellationToken>,
    /// Rungs that wait for what the peer says about itself: packets of those that cannot work would move the ports on
    /// that others predict.
    held: Vec<(RungId, Method, Plan, Time)>,
    /// Links that came up while a rung was at work: of it, or of the peer's doing.
    unclaimed: Vec<(Time, Link)>,
    asking: JoinSet<Result<Description>>,
    /// Whether the peer was asked where it is.
    asked: bool,
    /// Since when there is a relayed link, over which libp2p's DCUtR works.
    relayed_since: Instant,
    progress: watch::Sender<Progress>,
    gave_up: bool,
    /// Our public address when it was last known.
    public: Option<IpAddr>,
    /// When links that are still up are trusted again after a change of the network.
    confirm_at: Option<Time>,
    /// Wishes taken up, besides the first.
    taken: u64,
}

/// What a climb waits for.
enum Happening {
    Wish(Option<Found>),
    Rung(RungId, Method, Result<Way, Reason>),
    Described(Option<Description>),
    Fabric(Option<FabricEvent>),
    Ours,
    Timer,
    Stop,
}

impl Climb {
    /// A climb that begins with a wish.
    pub fn new(shared: Arc<Shared>, peer: PeerId, wish: Found, progress: watch::Sender<Progress>) -> Self {
        let mut knowledge = Knowledge::of(&shared, &peer);
        knowledge.add_wish(wish.0, wish.1);
        let public = shared.profile().public_v4.map(|at| at.ip());
        Self {
            shared,
            peer,
            knowledge,
            ladder: Ladder::new(Situation::default()),
            clock: Clock::start(),
            links: HashMap::new(),
            rungs: JoinSet::new(),
            cancels: HashMap::new(),
            held: Vec::new(),
            unclaimed: Vec::new(),
            asking: JoinSet::new(),
            asked: false,
            relayed_since: Instant::now(),
            progress,
            gave_up: false,
            public,
            confirm_at: None,
            taken: 0,
        }
    }

    /// Climbs until no link is left and nothing more can be tried.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<Found>) {
        let mut events = self.shared.fabric.subscribe();
        let (mut profile, mut mappings) = (self.shared.config.profile.clone(), self.shared.config.mappings.clone());
        self.begin();
        while !self.is_over() {
            let timeout = self.next_timeout();
            let happening = tokio::select! {
                wish = wishes.recv() => Happening::Wish(wish),
                Some(Ok((rung, method, outcome))) = self.rungs.join_next() => Happening::Rung(rung, method, outcome),
                Some(answer) = self.asking.join_next() => Happening::Described(answer.ok().and_then(Result::ok)),
                event = events.next() => Happening::Fabric(event),
                Ok(()) = profile.changed() => Happening::Ours,
                Ok(()) = mappings.changed() => Happening::Ours,
                () = self.clock.sleep_until(timeout) => Happening::Timer,
                () = self.shared.stop.cancelled() => Happening::Stop,
            };
            match happening {
                Happening::Wish(Some(wish)) => self.wished(wish),
                Happening::Rung(rung, method, outcome) => self.rung_ended(rung, method, outcome),
                Happening::Described(description) => {
                    self.described(description);
                }
                Happening::Fabric(Some(event)) => self.fabric_event(event),
                Happening::Ours => self.we_changed(),
                Happening::Timer => self.time_passed(),
                Happening::Wish(None) | Happening::Fabric(None) | Happening::Stop => break,
            }
            self.carry_out();
        }
        self.ladder.stop(self.clock.now());
        self.carry_out();
        // Rungs end by their cancelled tokens; the sockets they hold are closed when this returns.
        while self.rungs.join_next().await.is_some() {}
        self.tell();
    }

    /// Takes the links there are as paths, and starts.
    fn begin(&mut self) {
        let now = self.clock.now();
        self.ladder.update(now, self.situation());
        let links = self.shared.fabric.links();
        let (mine, _): (Vec<Link>, Vec<Link>) = links.into_iter().partition(|link| link.peer == self.peer);
        for link in mine {
            self.inbound(link);
        }
        self.ladder.start(now);
        self.carry_out();
        if self.links.is_empty() {
            return;
        }
        // With a link the ladder is at work already and looks for something better.
        self.ladder.update(now, self.situation());
        self.carry_out();
    }

    fn wished(&mut self, (wish, found): Found) {
        self.taken += 1;
        let new = self.knowledge.add_wish(wish, found);
        if new || self.gave_up {
            let again = std::mem::take(&mut self.gave_up);
            self.update();
            if again {
                self.ladder.start(self.clock.now());
            }
        }
    }

    fn update(&mut self) {
        let situation = self.situation();
        self.ladder.update(self.clock.now(), situation);
    }

    /// More is known of our own side, or we are in another network.
    fn we_changed(&mut self) {
        let now = self.shared.profile().public_v4.map(|at| at.ip());
        let moved = now.is_some() && self.public.is_some() && now != self.public;
        self.public = now.or(self.public);
        if !moved {
            return self.update();
        }
        self.shared.histories.forget(&self.peer);
        self.asked = false;
        self.knowledge.silent = false;
        let situation = self.situation();
        self.ladder.network_changed(self.clock.now(), situation);
        // Links that are dead are noticed by then.
        self.confirm_at = Some(self.clock.now() + limits::DOUBT);
        if self.shared.relayed_link(&self.peer).is_some() {
            self.talk();
        }
    }

    /// Links that have outlived a change of the network are good.
    fn confirm(&mut self) {
        let now = self.clock.now();
        self.confirm_at = None;
        let up = self.links.iter().filter(|(_, (link, _))| self.shared.fabric.stage(link) < Stage::Suspect);
        let good: Vec<RungId> = up.map(|(rung, _)| *rung).collect();
        for rung in good {
            self.ladder.path_confirmed(now, rung);
        }
    }

    fn situation(&self) -> Situation {
        self.knowledge.situation(&self.shared, &self.peer)
    }

    fn rung_ended(&mut self, rung: RungId, method: Method, outcome: Result<Way, Reason>) {
        let now = self.clock.now();
        self.cancels.remove(&rung);
        match outcome {
            Ok(way) => {
                self.unclaimed.retain(|(_, link)| link.id != way.link.id);
                if self.links.values().any(|(link, _)| link.id == way.link.id) {
                    self.ladder.failed(now, rung, Failure::Other, "led to the link that there was");
                } else if self.is_up(&way.link) {
                    self.links.insert(rung, (way.link.clone(), method));
                    self.ladder.succeeded(now, rung, way.relayed);
                    self.remember(method, &way.link);
                } else {
                    self.ladder.failed(now, rung, Failure::Lost, "");
                }
            }
            Err((failure, detail)) => {
                if method == Method::Circuit {
                    // Whoever waited for it to talk has to know before it is gone.
                    self.knowledge.circuit_failed = true;
                    self.update();
                }
                self.ladder.failed(now, rung, failure, &detail);
            }
        }
    }

    /// The peer has said where it is, or nothing.
    fn described(&mut self, description: Option<Description>) {
        if let Some(description) = description {
            self.knowledge.add_description(description);
            self.update();
        } else if self.shared.relayed_link(&self.peer).is_none() {
            self.knowledge.silent = true;
            self.update();
        }
        self.start_held();
    }

    fn fabric_event(&mut self, event: FabricEvent) {
        match event {
            FabricEvent::LinkUp(link) if link.peer == self.peer => {
                if self.cancels.is_empty() {
                    self.inbound(link);
                } else {
                    self.unclaimed.push((self.clock.now() + limits::LINK_CLAIM_GRACE, link));
                }
            }
            FabricEvent::LinkDown(link, _) if link.peer == self.peer => self.link_down(&link),
            FabricEvent::Lagged(_) => {
                let gone: Vec<Link> =
                    self.links.values().map(|(link, _)| link.clone()).filter(|link| !self.is_up(link)).collect();
                for link in gone {
                    self.link_down(&link);
                }
            }
            _ => {}
        }
    }

    fn link_down(&mut self, link: &Link) {
        self.unclaimed.retain(|(_, other)| other.id != link.id);
        let rung = self.links.iter().find(|(_, (other, _))| other.id == link.id).map(|(rung, _)| *rung);
        let Some(rung) = rung else { return };
        self.links.remove(&rung);
        let others = self.shared.fabric.links().into_iter().filter(|other| other.peer == self.peer);
        let others: Vec<Link> = others.collect();
        if others.is_empty() {
            // The last one: idle, or the peer is gone. Whoever wants the peer starts a new climb.
            return;
        }
        let situation = self.situation();
        self.ladder.update(self.clock.now(), situation);
        self.ladder.path_died(self.clock.now(), rung);
        if self.links.is_empty() {
            // Released before because something better stood; now it is all there is.
            for other in others {
                self.inbound(other);
            }
        }
    }

    /// A link that no rung of ours made.
    fn inbound(&mut self, link: Link) {
        if self.links.values().any(|(known, _)| known.id == link.id) || !self.is_up(&link) {
            return;
        }
        let method = self.method_of(&link);
        if !self.knowledge.may_use(method) {
            return;
        }
        if link.is_circuit() {
            self.knowledge.add_circuit(&link.address);
        }
        let rung = self.ladder.inbound(self.clock.now(), method, link.relayed);
        self.remember(method, &link);
        self.links.insert(rung, (link, method));
        self.update();
    }

    /// How a link came about that is not a rung's work: a dial, or libp2p's own way to meet behind NATs.
    fn method_of(&self, link: &Link) -> Method {
        let address = link.address.parse().unwrap_or_else(|_| libp2p::Multiaddr::empty());
        let relayed = self.shared.relayed_link(&self.peer).is_some();
        let translated = self.shared.profile().translated == Some(true);
        if link.is_gun() {
            Method::GunRelay
        } else if link.relayed {
            Method::Circuit
        } else if address::is_near(&address) {
            Method::Lan
        } else if relayed && (translated || link.outbound) {
            if transport(link) == Transport::Udp { Method::UdpPunch } else { Method::TcpPunch }
        } else if link.address.starts_with("/ip6/") {
            Method::DirectV6
        } else {
            Method::DirectV4
        }
    }

    fn is_up(&self, link: &Link) -> bool {
        self.shared.fabric.links().iter().any(|other| other.id == link.id)
    }

    fn time_passed(&mut self) {
        let now = self.clock.now();
        let own: Vec<Link> = self.unclaimed.extract_if(.., |(until, _)| *until <= now).map(|(_, link)| link).collect();
        for link in own {
            self.inbound(link);
        }
        if self.confirm_at.is_some_and(|at| at <= now) {
            self.confirm();
        }
        self.ladder.handle_timeout(now);
    }

    fn next_timeout(&self) -> Option<Time> {
        let claims = self.unclaimed.iter().map(|(until, _)| *until).min();
        claims.into_iter().chain(self.confirm_at).chain(self.ladder.next_timeout()).min()
    }

    /// Does what the ladder wants.
    fn carry_out(&mut self) {
        while let Some(output) = self.ladder.poll() {
            match output {
                Output::Start { rung, method, plan, deadline } => {
                    let asks = method.needs_signalling() || method == Method::GunRelay;
                    if asks && self.knowledge.talks_by_letter(&self.shared, &self.peer) {
                        self.talk();
                    }
                    if asks && !self.asking.is_empty() {
                        self.held.push((rung, method, plan, deadline));
                    } else {
                        self.start(rung, method, plan, deadline);
                    }
                }
                Output::Cancel { rung } => {
                    self.held.retain(|(held, ..)| *held != rung);
                    if let Some(cancel) = self.cancels.remove(&rung) {
                        cancel.cancel();
                    }
                }
                Output::Connected { rung, method } => {
                    tracing::info!(peer = %self.peer, %method, "reached a peer");
                    self.in_use(rung);
                }
                Output::Switch { to, method, why, .. } => {
                    tracing::info!(peer = %self.peer, %method, ?why, "another way to a peer");
                    self.in_use(to);
                }
                // The link is closed by the fabric when nobody uses it.
                Output::Release { rung } => {
                    self.links.remove(&rung);
                }
                Output::Lost { .. } => {
                    self.progress.send_modify(|progress| progress.path = None);
                }
                Output::GiveUp { log } => {
                    tracing::debug!(peer = %self.peer, %log, "no way to a peer");
                    self.gave_up = true;
                }
            }
        }
        self.tell();
    }

    fn start(&mut self, rung: RungId, method: Method, plan: Plan, deadline: Time) {
        let cancel = self.shared.stop.child_token();
        let timeout = deadline.since(self.clock.now());
        let (shared, peer) = (Arc::clone(&self.shared), self.peer.clone());
        let circuits = self.knowledge.circuits.clone();
        let relayed = self.shared.relayed_link(&self.peer).is_some();
        let dcutr_until = if relayed { self.relayed_since + limits::MEETING_GRACE } else { Instant::now() };
        let opening = if method == Method::UdpPunch { self.opening() } else { Opening::default() };
        let cancelled = cancel.clone();
        let work = Rung { shared, peer, method, plan, circuits, timeout, dcutr_until, opening, cancel: cancelled };
        self.cancels.insert(rung, cancel);
        self.rungs.spawn(async move { (rung, method, work.run().await) });
    }

    /// What can be done as soon as both sides know where the other one is.
    fn opening(&self) -> Opening {
        let situation = self.situation();
        let Some(theirs) = &situation.theirs else { return Opening::default() };
        Opening::of_asker(&situation.ours, theirs, situation.ipv6, &situation.full_policy())
    }

    /// The peer has described itself, or does not: what can work goes on.
    fn start_held(&mut self) {
        let situation = self.situation();
        let theirs = situation.theirs.clone().unwrap_or_default();
        for (rung, method, plan, deadline) in std::mem::take(&mut self.held) {
            let verdict = match method {
                Method::UdpPunch | Method::Ice => udp_punch(&situation.ours, &theirs),
                Method::TcpPunch | Method::TcpSimultaneousOpen => tcp_punch(&situation.ours, &theirs),
                _ => Verdict::Certain,
            };
            match verdict {
                _ if situation.signalling == Signalling::Absent => {
                    let silent = "the peer does not answer over Gun";
                    self.ladder.failed(self.clock.now(), rung, Failure::Signalling, silent);
                }
                Verdict::Never(skip) if situation.theirs.is_some() && !situation.both_ipv6() => {
                    self.ladder.failed(self.clock.now(), rung, Failure::Other, &skip.to_string());
                }
                _ => self.start(rung, method, plan, deadline),
            }
        }
    }

    /// A path is used from now on. Over a relayed one the two sides can talk.
    fn in_use(&mut self, rung: RungId) {
        let Some((link, method)) = self.links.get(&rung).cloned() else { return };
        self.progress.send_modify(|progress| progress.path = Some((link.clone(), method)));
        if link.relayed && !link.is_gun() {
            // Who was silent by letter may well answer here.
            self.asked &= !std::mem::take(&mut self.knowledge.silent);
            self.talk();
        }
    }

    /// Tells the peer where we are and asks where it is, once in each network.
    fn talk(&mut self) {
        if !std::mem::replace(&mut self.asked, true) {
            self.relayed_since = Instant::now();
            self.shared.histories.forget(&self.peer);
            let (shared, peer) = (Arc::clone(&self.shared), self.peer.clone());
            self.asking.spawn(async move { describe(&shared, &peer).await });
        }
    }

    fn tell(&self) {
        let log = self.ladder.log();
        let at_rest = self.ladder.is_at_rest() && self.asking.is_empty() && self.unclaimed.is_empty();
        let taken = self.taken;
        self.progress.send_if_modified(|progress| {
            let same = progress.at_rest == at_rest && progress.taken == taken && progress.log == *log;
            if !same {
                (progress.log, progress.at_rest, progress.taken) = (log.clone(), at_rest, taken);
            }
            !same
        });
    }

    /// Whether nothing is left to wait for. Whoever waits for the outcome has been told.
    fn is_over(&self) -> bool {
        let idle = self.links.is_empty() && self.unclaimed.is_empty() && self.rungs.is_empty();
        idle && (self.gave_up || self.progress.borrow().path.is_some())
    }

    fn remember(&self, method: Method, link: &Link) {
        if !self.knowledge.remember {
            return;
        }
        let (registry, peer) = (self.shared.config.registry.clone(), self.peer.clone());
        let at = link.place().and_then(|place| address::socket(&place.parse().ok()?));
        let (address, port) = at.map(|at| (at.ip().to_string(), at.port())).unwrap_or_default();
        let transport = transport(link);
        self.shared.tasks.spawn(async move {
            let success = Success { address, port, ..Success::default() };
            if let Err(error) = registry.save_successful_connection(peer.as_str(), method, transport, success).await {
                tracing::warn!(error = %error.full_message(), "what worked is not remembered");
            }
        });
    }
}

/// Tells the peer where we are and hears where it is.
async fn describe(shared: &Shared, peer: &PeerId) -> Result<Description> {
    let late = |cause| Error::with_source(ErrorKind::Timeout, "the peer does not say where it is", cause);
    let exchange = async {
        let mut signal = shared.meet(peer, &Request::Describe(shared.description())).await?;
        request::decode(&signal.receive().await?)
    };
    tokio::time::timeout(limits::PUNCH_SIGNAL_TIMEOUT, exchange).await.map_err(late)?
}

fn transport(link: &Link) -> Transport {
    match link.transport {
        crate::fabric::Transport::Tcp => Transport::Tcp,
        crate::fabric::Transport::Quic => Transport::Udp,
    }
}
