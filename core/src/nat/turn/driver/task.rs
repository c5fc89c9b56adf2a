//! The task that owns one allocation: its machine and its link. Not here: what callers see ([`super::Relayed`]).

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::transport::Link;
use crate::base::random::Jitter;
use crate::nat::turn::client::{Client, Config, Output};
use crate::nat::turn::failure::TurnFailure;
use crate::net::clock::Clock;

/// What callers ask of the task. When the last sender is gone, the allocation is released.
pub(super) enum Command {
    Send(SocketAddr, Bytes),
    Permit(IpAddr, oneshot::Sender<Result<(), TurnFailure>>),
    Refresh(Duration, oneshot::Sender<Duration>),
    Close(oneshot::Sender<()>),
}

/// How allocating ended.
pub(super) enum Start {
    Ready { relayed: SocketAddr, mapped: Option<SocketAddr>, lifetime: Duration },
    Redirect(SocketAddr),
    Failed(TurnFailure, Option<std::io::Error>),
}

/// What the task and its callers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Peers that may be sent to.
    pub(super) permitted: Mutex<HashSet<IpAddr>>,
    /// Why it ended.
    pub(super) ended: OnceLock<TurnFailure>,
}

/// The ends of the channels that the task holds.
pub(super) struct Channels {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) datagrams: mpsc::Sender<(SocketAddr, Bytes)>,
    pub(super) start: oneshot::Sender<Start>,
    pub(super) shared: Arc<Shared>,
}

struct Task {
    client: Client,
    link: Link,
    clock: Clock,
    commands: mpsc::Receiver<Command>,
    datagrams: mpsc::Sender<(SocketAddr, Bytes)>,
    start: Option<oneshot::Sender<Start>>,
    shared: Arc<Shared>,
    permits: Vec<(IpAddr, oneshot::Sender<Result<(), TurnFailure>>)>,
    refreshers: Vec<oneshot::Sender<Duration>>,
    closers: Vec<oneshot::Sender<()>>,
}

/// Allocates and serves until the allocation ends, the link breaks, or the callers are gone.
pub(super) async fn run(config: Config, link: Link, channels: Channels) {
    let clock = Clock::start();
    let client = Client::new(clock.now(), config, Jitter::from_seed(rand::random()));
    let Channels { commands, datagrams, start, shared } = channels;
    let (permits, refreshers, closers, start) = (Vec::new(), Vec::new(), Vec::new(), Some(start));
    let mut task = Task { client, link, clock, commands, datagrams, start, shared, permits, refreshers, closers };
    let end = task.serve().await;
    let (failure, cause) = end.unwrap_or((TurnFailure::Closed, None));
    let _ = task.shared.ended.set(failure.clone());
    if let Some(start) = task.start.take() {
        let _ = start.send(Start::Failed(failure, cause));
    }
}

impl Task {
    /// Returns why it ended, `None` if the caller wanted it.
    async fn serve(&mut self) -> Option<(TurnFailure, Option<std::io::Error>)> {
        let mut abandoned = false;
        loop {
            while let Some(output) = self.client.poll() {
                match output {
                    Output::Send(bytes) => {
                        if let Err(cause) = self.link.send(&bytes).await
                            && (self.link.ends_with_errors() || self.start.is_some())
                        {
                            return Some((TurnFailure::Closed, Some(cause)));
                        }
                    }
                    Output::Closed(failure) => return failure.map(|failure| (failure, None)),
                    Output::Redirect(to) => {
                        self.tell_start(Start::Redirect(to));
                        return None;
                    }
                    other => self.tell(other),
                }
            }
            tokio::select! {
                received = self.link.receive() => match received {
                    Ok(bytes) => self.client.handle(self.clock.now(), &bytes),
                    // Before anything has worked, a refused datagram means that nobody is there.
                    Err(cause) if self.link.ends_with_errors() || self.start.is_some() => {
                        return Some((TurnFailure::Closed, Some(cause)));
                    }
                    // A machine that is there says that nothing listens there, or somebody wants us to think so.
                    Err(_) => self.client.ask_again(self.clock.now()),
                },
                command = self.commands.recv(), if !abandoned => {
                    abandoned = command.is_none();
                    match command {
                        Some(command) => self.command(command),
                        None => self.client.close(self.clock.now()),
                    }
                }
                () = self.clock.sleep_until(self.client.next_timeout()) => {
                    self.client.handle_timeout(self.clock.now());
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Send(peer, bytes) => {
                // As lost on the way: the permission may just have been taken back.
                if let Err(failure) = self.client.send(now, peer, &bytes) {
                    tracing::debug!(%peer, %failure, "datagram not relayed");
                }
            }
            Command::Permit(ip, reply) => match self.client.permit(now, ip) {
                Ok(()) => {
                    self.permits.retain(|(_, waiting)| !waiting.is_closed());
                    self.permits.push((ip, reply));
                }
                Err(failure) => drop(reply.send(Err(failure))),
            },
            Command::Refresh(lifetime, reply) => {
                // Who asks an allocation that has ended hears so by the dropped reply.
                if self.client.refresh(now, lifetime).is_ok() {
                    self.refreshers.retain(|waiting| !waiting.is_closed());
                    self.refreshers.push(reply);
                }
            }
            Command::Close(reply) => {
                self.closers.push(reply);
                self.client.close(now);
            }
        }
    }

    fn tell(&mut self, output: Output) {
        match output {
            Output::Ready { relayed, mapped, lifetime } => self.tell_start(Start::Ready { relayed, mapped, lifetime }),
            Output::Refreshed(lifetime) => {
                for waiting in self.refreshers.drain(..) {
                    let _ = waiting.send(lifetime);
                }
            }
            Output::Permitted(ip) => {
                self.permitted(|permitted| permitted.insert(ip));
                self.answer(ip, &Ok(()));
            }
            Output::Refused(ip, failure) => {
                self.permitted(|permitted| permitted.remove(&ip));
                self.answer(ip, &Err(failure));
            }
            Output::Data { peer, payload } => {
                if self.datagrams.try_send((peer, payload)).is_err() {
                    tracing::debug!(%peer, "relayed datagram dropped: its reader is too slow");
                }
            }
            Output::Send(_) | Output::Closed(_) | Output::Redirect(_) => {}
        }
    }

    fn tell_start(&mut self, start: Start) {
        if let Some(waiting) = self.start.take() {
            let _ = waiting.send(start);
        }
    }

    fn permitted(&self, change: impl FnOnce(&mut HashSet<IpAddr>) -> bool) {
        change(&mut self.shared.permitted.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn answer(&mut self, ip: IpAddr, result: &Result<(), TurnFailure>) {
        for (_, waiting) in self.permits.extract_if(.., |(wanted, _)| *wanted == ip) {
            let _ = waiting.send(result.clone());
        }
    }
}
