//! The running port mapper: the handle, and its waiting. Not here: the loop ([`run`]), HTTP ([`upnp`]), decisions
//! (`machine`).

mod links;
mod one_shot;
mod run;
mod upnp;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use one_shot::{
    DeleteRequest, MappingRequest, ProbeReport, create_mapping, delete_mapping, external_address, probe, upnp_available,
};

use super::machine::Machine;
use super::{Event, Family, MappingInfo, MappingState, Methods, ProbeResult, Protocol, Route, Wish};
use crate::base::error::Result;
use crate::base::limits;
use crate::base::time::Time;

/// How a port mapper works.
#[derive(Clone, Debug)]
pub struct MapperConfig {
    /// Which protocols it uses.
    pub methods: Methods,
    /// Also open pinholes for our global IPv6 address.
    pub ipv6: bool,
    /// The router, instead of the system's default gateway.
    pub gateway: Option<IpAddr>,
    /// Our address towards the router, instead of the one the system would choose.
    pub local_address: Option<IpAddr>,
    /// What routers show beside UPnP mappings; the default is `dig-nat`.
    pub description: Option<String>,
}

impl MapperConfig {
    /// The switches that users have: one for UPnP, one for NAT-PMP and PCP. IPv4 only.
    pub fn new(upnp: bool, natpmp: bool) -> Self {
        Self {
            methods: Methods::by_switches(upnp, natpmp),
            ipv6: false,
            gateway: None,
            local_address: None,
            description: None,
        }
    }
}

/// Keeps the mappings of one node alive. Dropping it deletes them in the background; [`stop`](Self::stop) waits.
pub struct PortMapper {
    shared: Arc<Shared>,
    token: CancellationToken,
    tasks: TaskTracker,
}

/// What the handle and the tasks share.
struct Shared {
    machine: Mutex<Machine>,
    /// The handle has changed something.
    changed: Notify,
    /// Counts the rounds of the loop, for whoever waits for something to happen.
    rounds: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
    started: Instant,
    /// The mappings outlive the mapper.
    keep: AtomicBool,
}

impl PortMapper {
    /// Starts looking for the router. Nothing can fail yet: a network without a router shows in the events and in
    /// [`mappings`](Self::mappings). Must be called inside a tokio runtime.
    pub fn start(config: MapperConfig) -> Self {
        let (events, _) = broadcast::channel(limits::MAPPING_EVENTS);
        let shared = Arc::new(Shared {
            machine: Mutex::new(Machine::new(config.methods, config.ipv6, rand::random())),
            changed: Notify::new(),
            rounds: watch::Sender::new(0),
            events,
            started: Instant::now(),
            keep: AtomicBool::new(false),
        });
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(run::Run::new(shared.clone(), config, token.clone(), &tasks).run());
        tasks.close();
        Self { shared, token, tasks }
    }

    /// What happens from now on. A reader that lags loses the oldest events and is told so.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Wishes a mapping, or changes the wish for the same protocol and internal port. `suggested_external` 0 is the
    /// internal port. The mapping comes later: see [`settled`](Self::settled) and the events.
    ///
    /// # Errors
    /// `InvalidArgument` for port 0, `LimitReached` beyond [`limits::MAX_MAPPINGS`], `InvalidState` after `stop`.
    pub fn map(
        &self,
        protocol: Protocol,
        internal_port: u16,
        suggested_external: u16,
        lifetime: Duration,
    ) -> Result<()> {
        self.change(|machine, _| machine.map(Wish { protocol, internal_port, suggested_external, lifetime }))
    }

    /// Takes a wish back; the router is told in the background. False if it was not wished.
    pub fn unmap(&self, protocol: Protocol, internal_port: u16) -> bool {
        self.change(|machine, now| machine.unmap(now, protocol, internal_port))
    }

    /// The address that a server saw us with; mappings are judged by it.
    pub fn set_public_address(&self, address: IpAddr) {
        self.change(|machine, _| machine.set_public_address(address));
    }

    /// All mappings as they are now.
    pub fn mappings(&self) -> Vec<MappingInfo> {
        self.shared.lock().mappings()
    }

    /// The router's outside IPv4 address, as far as it has told it.
    pub fn external_address(&self) -> Option<IpAddr> {
        self.shared.lock().external_address()
    }

    /// The router of a family and our address towards it.
    pub fn route(&self, family: Family) -> Option<Route> {
        self.shared.lock().route(family)
    }

    /// What each protocol has answered so far.
    pub fn probe_results(&self) -> Vec<ProbeResult> {
        self.shared.lock().probe_results()
    }

    /// Waits until an IPv4 mapping is made or refused; `None` if the deadline passes before, or if it is not wished.
    /// Cancel safe.
    pub async fn settled(&self, protocol: Protocol, internal_port: u16, deadline: Duration) -> Option<MappingInfo> {
        let key = (protocol, internal_port, Family::V4);
        self.wait(deadline, |machine| {
            let mappings = machine.mappings();
            let mapping = mappings.into_iter().find(|info| (info.protocol, info.internal_port, info.family) == key);
            mapping.filter(|info| info.state != MappingState::Asking)
        })
        .await
    }

    /// Deletes all mappings and ends all tasks, within [`limits::MAPPING_STOP_TIMEOUT`] even if the router is silent.
    pub async fn stop(&self) {
        self.token.cancel();
        self.tasks.wait().await;
    }

    /// Ends all tasks; the mappings stay until their time is over.
    async fn leave(&self) {
        self.shared.keep.store(true, Ordering::Relaxed);
        self.stop().await;
    }

    /// Waits until the machine has what is looked for.
    async fn wait<T>(&self, deadline: Duration, look: impl Fn(&Machine) -> Option<T>) -> Option<T> {
        let mut rounds = self.shared.rounds.subscribe();
        let found = async {
            loop {
                if let Some(found) = look(&self.shared.lock()) {
                    return Some(found);
                }
                // The sender lives as long as this handle, so only the end of the deadline ends this.
                rounds.changed().await.ok()?;
            }
        };
        tokio::time::timeout(deadline, found).await.ok().flatten()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Machine, Time) -> T) -> T {
        let now = self.shared.now();
        let result = change(&mut self.shared.lock(), now);
        self.shared.changed.notify_one();
        result
    }
}

impl Drop for PortMapper {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl std::fmt::Debug for PortMapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortMapper").field("mappings", &self.mappings()).finish_non_exhaustive()
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // The machine has no broken intermediate states that matter more than going on.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
