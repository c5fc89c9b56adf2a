//! The loop around the port mapping machine: sockets, the UPnP worker of each family, the watch over the routes.
//! Not here: any decision about mappings.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::links::{Heard, Link};
use super::upnp::{self, Upnp};
use super::{MapperConfig, Shared};
use crate::base::limits;
use crate::base::time::Time;
use crate::nat::mapping::machine::{Output, UpnpAnswer, UpnpRequest};
use crate::nat::mapping::{Failure, Family, Route};
use crate::net::interfaces::{self, InterfaceWatch};

/// A sleep when nothing is planned; any change wakes the task earlier.
const IDLE: Duration = Duration::from_secs(3600);

/// What the main task owns.
pub(super) struct Run {
    shared: Arc<Shared>,
    config: MapperConfig,
    token: CancellationToken,
    /// Ends the UPnP workers, which outlive the token while mappings are deleted.
    workers: CancellationToken,
    links: [Option<Link>; 2],
    routes: [Option<Route>; 2],
    upnp: [mpsc::Sender<Job>; 2],
    answers: mpsc::Receiver<(u64, UpnpAnswer)>,
}

/// A request to a UPnP device, and the router it is meant for.
struct Job {
    id: u64,
    route: Route,
    request: UpnpRequest,
}

impl Run {
    /// Spawns the workers.
    pub(super) fn new(
        shared: Arc<Shared>,
        config: MapperConfig,
        token: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let workers = CancellationToken::new();
        let (answered, answers) = mpsc::channel(limits::UPNP_REQUESTS);
        let upnp = [Family::V4, Family::V6].map(|_| {
            let (sender, jobs) = mpsc::channel(limits::UPNP_REQUESTS);
            let (ended, answered) = (workers.clone(), answered.clone());
            let description = upnp::description(config.description.as_deref()).to_owned();
            tasks.spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = work(jobs, answered, description) => {}
                }
            });
            sender
        });
        Self { shared, config, token, workers, links: [None, None], routes: [None, None], upnp, answers }
    }

    /// Runs until the token is cancelled and everything is deleted.
    pub(super) async fn run(mut self) {
        let token = self.token.clone();
        tokio::select! {
            () = token.cancelled() => {}
            () = self.keep() => {}
        }
        if !self.shared.keep.load(Ordering::Relaxed) {
            self.shared.lock().stop(self.shared.now());
            let ended = tokio::time::timeout(limits::MAPPING_STOP_TIMEOUT, self.end()).await;
            if ended.is_err() {
                tracing::debug!("the router did not confirm that all mappings are deleted");
            }
        }
        self.workers.cancel();
    }

    /// Keeps the mappings for ever. Cancel safe but for the round under way, which the machine repeats.
    async fn keep(&mut self) {
        let mut watch = InterfaceWatch::new();
        let mut look = tokio::time::interval(limits::GATEWAY_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wait = self.advance().await;
            tokio::select! {
                _ = look.tick() => self.look().await,
                () = watch.changed() => self.look().await,
                () = self.one_input(wait) => {}
            }
        }
    }

    /// Goes on until the machine is idle.
    async fn end(&mut self) {
        loop {
            let wait = self.advance().await;
            if self.shared.lock().is_idle() {
                return;
            }
            self.one_input(wait).await;
        }
    }

    /// Waits for one thing to happen and gives it to the machine. Cancel safe.
    async fn one_input(&mut self, wait: Duration) {
        let (family, heard) = tokio::select! {
            () = self.shared.changed.notified() => return,
            () = tokio::time::sleep(wait) => return,
            Some((id, answer)) = self.answers.recv() => {
                return self.shared.lock().handle_upnp(self.shared.now(), id, answer);
            }
            heard = receive(self.links[0].as_ref()) => (Family::V4, heard),
            heard = receive(self.links[1].as_ref()) => (Family::V6, heard),
        };
        let now = self.shared.now();
        let mut machine = self.shared.lock();
        match heard {
            Heard::Answer(bytes) => machine.handle_datagram(now, family, &bytes),
            Heard::Announcement(from, bytes) => machine.handle_announcement(now, from, &bytes),
            Heard::Closed => machine.handle_unreachable(now, family),
        }
    }

    /// Does what the machine wants done; the time until it wants to be called.
    async fn advance(&mut self) -> Duration {
        let (outputs, next) = {
            let mut machine = self.shared.lock();
            machine.handle_timeout(self.shared.now());
            (std::iter::from_fn(|| machine.poll()).collect::<Vec<_>>(), machine.next_timeout())
        };
        for output in outputs {
            match output {
                // Nobody listens: nothing lost.
                Output::Event(event) => drop(self.shared.events.send(event)),
                Output::Send { family, bytes } => {
                    if let Some(link) = &self.links[family as usize]
                        && !link.send(&bytes).await
                    {
                        self.shared.lock().handle_unreachable(self.shared.now(), family);
                        self.shared.changed.notify_one();
                    }
                }
                Output::Upnp { id, request } => self.ask_upnp(id, request),
            }
        }
        self.shared.rounds.send_modify(|rounds| *rounds += 1);
        next.map_or(IDLE, |next: Time| next.since(self.shared.now()))
    }

    fn ask_upnp(&self, id: u64, request: UpnpRequest) {
        let (UpnpRequest::Probe { family } | UpnpRequest::Map { family, .. } | UpnpRequest::Unmap { family, .. }) =
            &request;
        let index = *family as usize;
        let sent =
            self.routes[index].is_some_and(|route| self.upnp[index].try_send(Job { id, route, request }).is_ok());
        if !sent {
            let failure = Failure::Broken { reason: "too many UPnP requests at once".into() };
            self.shared.lock().handle_upnp(self.shared.now(), id, UpnpAnswer::Failed(failure));
            self.shared.changed.notify_one();
        }
    }

    /// Looks the routes up and opens new sockets where they have changed.
    async fn look(&mut self) {
        let routes = match self.config.gateway {
            Some(gateway) => {
                let route = self.given(gateway);
                if gateway.is_ipv4() { [route, None] } else { [None, route] }
            }
            None => match tokio::task::spawn_blocking(interfaces::default_routes).await {
                Ok(found) => {
                    [found.v4, found.v6].map(|route| route.as_ref().map(|route| self.ours(upnp::from_system(route))))
                }
                Err(error) => {
                    tracing::warn!(%error, "the default gateway was not looked up");
                    return;
                }
            },
        };
        for (family, route) in [Family::V4, Family::V6].into_iter().zip(routes) {
            let index = family as usize;
            if self.routes[index] != route {
                tracing::debug!(?family, ?route, "default gateway");
                self.routes[index] = route;
                let wanted = route.filter(|_| family == Family::V4 || self.config.ipv6);
                self.links[index] = wanted.and_then(|route| {
                    let opened = Link::open(route);
                    opened.inspect_err(|error| tracing::warn!(%error, "no socket towards the router")).ok()
                });
            }
            self.shared.lock().set_route(self.shared.now(), family, route);
        }
    }

    /// The router that the user named.
    fn given(&self, gateway: IpAddr) -> Option<Route> {
        let local = self.config.local_address.or_else(|| interfaces::source_towards((gateway, 9).into()))?;
        Some(Route { gateway, local, scope: 0 })
    }

    /// A route with the user's address of ours, if he named one of that family.
    fn ours(&self, route: Route) -> Route {
        let local = self.config.local_address.filter(|local| local.is_ipv4() == route.gateway.is_ipv4());
        Route { local: local.unwrap_or(route.local), ..route }
    }
}

impl Drop for Run {
    /// The workers end with the main task, even if it never ran.
    fn drop(&mut self) {
        self.workers.cancel();
    }
}

async fn receive(link: Option<&Link>) -> Heard {
    match link {
        Some(link) => link.receive().await,
        None => std::future::pending().await,
    }
}

/// Carries UPnP requests out, one after the other: devices serve one at a time anyway.
async fn work(mut jobs: mpsc::Receiver<Job>, answers: mpsc::Sender<(u64, UpnpAnswer)>, description: String) {
    let mut upnp = Upnp::default();
    while let Some(Job { id, route, request }) = jobs.recv().await {
        let done = upnp.carry_out(route, &request, &description);
        let answer = tokio::time::timeout(limits::UPNP_REQUEST_TIMEOUT, done).await;
        let answer = answer.unwrap_or(UpnpAnswer::Failed(Failure::Silent));
        tracing::debug!(?request, ?answer, "UPnP");
        if answers.send((id, answer)).await.is_err() {
            return;
        }
    }
}
