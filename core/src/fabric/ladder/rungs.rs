//! What each rung of a ladder does, for both sides: dialling, dialling back, punching, ICE, and relays. Not here: when
//! a rung starts and what follows from its end (`climb`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::bridge::Bridge;
use super::histories::Kind;
use super::request::{self, Address, DialledBack, Request};
use crate::base::error::{Error, ErrorKind};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::fabric::quic::open_way;
use crate::fabric::{Link, Path, address, dial};
use crate::nat::ice::Kind as CandidateKind;
use crate::nat::ice::Role;
use crate::nat::ice::driver::{Carrier, IceOptions, IcePort, connect};
use crate::nat::ladder::{Opening, Plan, Target};
use crate::nat::method::{Method, Transport};
use crate::nat::punch::driver::{self as punch, Local, LocalPort, StunServers};
use crate::nat::punch::message::NatSummary;
use crate::nat::punch::{self as punching, Side};
use crate::nat::report::Failure;
use crate::nat::signal::Signal;
use crate::nat::stun::driver::lookup;
use crate::net::interfaces::local_addresses;
use crate::net::udp::UdpPort;

/// A link, and whether a third carries its bytes.
#[derive(Clone, Debug)]
pub struct Way {
    /// The link.
    pub link: Link,
    /// Over a relay.
    pub relayed: bool,
}

/// Why a rung gave none, for the log.
pub type Reason = (Failure, String);

/// One rung.
pub struct Rung {
    pub shared: Arc<Shared>,
    pub peer: PeerId,
    pub method: Method,
    pub plan: Plan,
    /// Addresses through relays, for the circuit rung.
    pub circuits: Vec<Multiaddr>,
    /// How long the ladder waits for it.
    pub timeout: Duration,
    /// Until then libp2p's own way to meet has its head start.
    pub dcutr_until: Instant,
    /// What can be done meanwhile.
    pub opening: Opening,
    /// Cancelled when the ladder no longer wants it.
    pub cancel: CancellationToken,
}

impl Rung {
    /// Does it. Ends soon after it was cancelled.
    pub async fn run(self) -> Result<Way, Reason> {
        let direct = |link| Way { link, relayed: false };
        match &self.plan {
            Plan::Dial(targets) => {
                let addresses: Vec<Multiaddr> = targets.iter().map(multiaddr).collect();
                self.or_cancelled(self.dial(addresses)).await.map(direct)
            }
            Plan::AskDialBack(targets) => self.or_cancelled(self.ask_to_dial_back(targets)).await.map(direct),
            Plan::Punch(_) | Plan::Guess { .. } => match self.method {
                Method::TcpPunch => self.punch(Kind::Tcp, true).await.map(direct),
                Method::TcpSimultaneousOpen => self.punch(Kind::Tcp, false).await.map(direct),
                Method::UdpPunch => self.punch(Kind::Udp, true).await.map(direct),
                _ => self.punch(Kind::Udp, false).await.map(direct),
            },
            Plan::Ice => self.or_cancelled(self.run_ice(false)).await,
            Plan::Turn => self.or_cancelled(self.run_ice(true)).await,
            Plan::Circuit => {
                let dialled = self.or_cancelled(self.through_a_relay()).await;
                dialled.map(|link| Way { link, relayed: true })
            }
            Plan::GunRelay => {
                let passing = async {
                    let passed = self.shared.pass_through_gun(&self.peer).await;
                    passed.map_err(|error| (failure_of(&error), error.full_message()))
                };
                self.or_cancelled(passing).await.map(|link| Way { link, relayed: true })
            }
        }
    }

    async fn or_cancelled<T>(&self, work: impl Future<Output = Result<T, Reason>>) -> Result<T, Reason> {
        tokio::select! {
            ended = work => ended,
            () = self.cancel.cancelled() => Err((Failure::Other, "not needed any more".into())),
        }
    }

    async fn dial(&self, addresses: Vec<Multiaddr>) -> Result<Link, Reason> {
        dial::reach(&self.shared.fabric.inner, &self.peer, addresses, self.timeout).await
    }

    async fn through_a_relay(&self) -> Result<Link, Reason> {
        if let Some(link) = self.shared.relayed_link(&self.peer) {
            return Ok(link);
        }
        let (first, others) = one_of_each_relay(&self.circuits);
        let failed = CancellationToken::new();
        let first = async { self.dial(first).await.inspect_err(|_| failed.cancel()) };
        let others = async {
            // Time enough for a relay that is there; a second circuit through it is of no use.
            let _ = tokio::time::timeout(limits::RELAY_ADDRESS_HEAD_START, failed.cancelled()).await;
            self.dial(others).await
        };
        match futures::future::select(Box::pin(first), Box::pin(others)).await {
            Either::Left((Ok(link), _)) | Either::Right((Ok(link), _)) => Ok(link),
            Either::Left((Err(reason), rest)) => rest.await.map_err(|_| reason),
            Either::Right((Err(_), rest)) => rest.await,
        }
    }

    /// Says to the peer what we want.
    async fn ask(&self, request: &Request) -> Result<Box<dyn Signal>, Reason> {
        let asking = self.shared.meet(&self.peer, request).await;
        asking.map_err(|error| (Failure::Signalling, error.full_message()))
    }

    async fn ask_to_dial_back(&self, targets: &[Target]) -> Result<Link, Reason> {
        let address = |target: &Target| Address { at: target.address, transport: target.transport, mapped: None };
        let targets = targets.iter().map(address).collect();
        let mut signal = self.ask(&Request::DialBack { targets }).await?;
        let answer = signal.receive().await.and_then(|answer| request::decode::<DialledBack>(&answer));
        let answer = answer.map_err(|error| (Failure::Signalling, error.full_message()))?;
        if let Some(error) = answer.error {
            return Err((Failure::Timeout, format!("the peer's dial: {error}")));
        }
        // Its dial stands on both sides at about the same time.
        let came = |link: &Link| link.peer == self.peer && !link.relayed && !link.outbound;
        dial::wait_for(&self.shared.fabric.inner, came, limits::DIAL_BACK_GRACE)
            .await
            .ok_or_else(|| (Failure::Lost, "the peer's dial did not last".into()))
    }

    /// `once`: only the plain technique; the rung after this one guesses ports.
    async fn punch(&self, kind: Kind, once: bool) -> Result<Link, Reason> {
        let Some(mut held) = self.shared.histories.take(&self.peer, kind) else {
            return Err((Failure::Other, "already punching to this peer".into()));
        };
        let early = self.or_cancelled(async {
            tokio::select! {
                link = self.meet_at_once() => Ok(Some(link)),
                () = self.leave_room_for_dcutr() => Ok(None),
            }
        });
        if let Some(link) = early.await? {
            return Ok(link);
        }
        let request = if kind == Kind::Udp { Request::PunchUdp } else { Request::PunchTcp };
        let mut signal = self.or_cancelled(self.ask(&request)).await?;
        let left = held.history.rounds;
        if once {
            held.history.rounds = left.min(1);
        }
        let punched =
            self.shared.punch(&self.peer, kind, Side::Initiator, &mut held.history, &mut *signal, &self.cancel);
        let outcome = punched.await;
        if once {
            held.history.rounds = left - (left.min(1) - held.history.rounds);
        }
        outcome.map_err(|error| (failure_of(&error), error.full_message()))
    }

    /// What both profiles promise to work without a round of punching. Waits for ever when it does not.
    async fn meet_at_once(&self) -> Link {
        let Opening { dial, open, ask } = &self.opening;
        let quic = |at: &SocketAddr| Target { address: *at, transport: Transport::Udp };
        let dialled = async {
            let addresses: Vec<Multiaddr> = dial.iter().map(quic).map(|target| multiaddr(&target)).collect();
            if addresses.is_empty() { None } else { self.dial(addresses).await.ok() }
        };
        let asked = async {
            if ask.is_empty() {
                return None;
            }
            let targets: Vec<Target> = ask.iter().map(quic).collect();
            let (link, ()) = tokio::join!(self.ask_to_dial_back(&targets), self.shared.open_ways(open));
            link.ok()
        };
        tokio::select! {
            Some(link) = dialled => link,
            Some(link) = asked => link,
            else => std::future::pending().await,
        }
    }

    /// libp2p's own way to meet begins with the relayed link and is cheaper where it works.
    async fn leave_room_for_dcutr(&self) {
        // A link that comes meanwhile ends the rung, by the ladder.
        tokio::time::sleep_until(self.dcutr_until).await;
    }

    async fn run_ice(&self, with_relay: bool) -> Result<Way, Reason> {
        let mut signal = self.ask(&Request::Ice).await?;
        let way = self.shared.run_ice(&self.peer, Role::Controlling, with_relay, self.timeout, &mut *signal).await;
        way.map_err(|error| (failure_of(&error), error.full_message()))
    }
}

impl Shared {
    /// Punches, and makes a link of the path.
    pub async fn punch(
        &self,
        peer: &PeerId,
        kind: Kind,
        side: Side,
        history: &mut punching::plan::History,
        signal: &mut dyn Signal,
        cancel: &CancellationToken,
    ) -> Result<Link, Error> {
        let profile = self.profile();
        let mut observer = StunServers::new(self.stun_servers(peer).await);
        let known = self.config.mappings.borrow().iter().map(|mapping| endpoint(mapping.external)).collect();
        let local = Local {
            side,
            nat: NatSummary::new(&profile),
            known,
            observer: &mut observer,
            history,
            scope: self.scope(peer),
            signal_timeout: limits::PUNCH_SIGNAL_TIMEOUT,
        };
        let (path, controlling) = match kind {
            Kind::Udp => {
                let ports = self.fabric.udp_ports().into_iter().map(|port| LocalPort { port, driven: true }).collect();
                let punched = punch::punch_udp(ports, local, signal, cancel).await?;
                (Path::Udp { port: punched.port, remote: punched.remote }, punched.controlling)
            }
            Kind::Tcp => {
                let any = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
                let at = any.into_iter().filter(|ip| ip.is_ipv4() || self.config.ipv6);
                let at = at.map(|ip| SocketAddr::new(ip, 0)).collect();
                let punched = punch::punch_tcp(at, local, signal, cancel).await?;
                (Path::Tcp(punched.stream), punched.controlling)
            }
        };
        tokio::select! {
            adopted = self.fabric.adopt(path, peer, controlling) => adopted,
            () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "hole punching was cancelled")),
        }
    }

    /// Runs ICE, and makes a link of the pair.
    pub async fn run_ice(
        &self,
        peer: &PeerId,
        role: Role,
        with_relay: bool,
        timeout: Duration,
        signal: &mut dyn Signal,
    ) -> Result<Way, Error> {
        let ports = self.fabric.udp_ports();
        let options = IceOptions {
            role,
            policy: self.policy(peer),
            ports: ports.into_iter().filter_map(|port| ice_port(port, self.config.ipv6)).collect(),
            stun_servers: self.stun_servers(peer).await,
            turn: if with_relay { self.config.turn.clone() } else { Vec::new() },
            timeout,
        };
        let mut path = connect(options, signal).await?;
        let relayed = path.local_kind == CandidateKind::Relayed || path.remote_kind == CandidateKind::Relayed;
        let controlling = role == Role::Controlling;
        let (carrier, to) = (path.carrier.clone(), path.to);
        let adopted = match carrier {
            Carrier::Relay(relay) => {
                let failed = |cause| Error::io("a path over a relay", cause);
                let bridge = Bridge::over(relay, path).await.map_err(failed)?;
                let path = Path::Relayed { port: Arc::clone(&bridge.port), remote: bridge.remote };
                let stop = self.stop.clone();
                self.tasks.spawn(async move { stop.run_until_cancelled_owned(bridge.run()).await });
                self.fabric.adopt(path, peer, controlling).await
            }
            Carrier::Port(port) => {
                let adopting = self.fabric.adopt(
                    if relayed { Path::Relayed { port, remote: to } } else { Path::Udp { port, remote: to } },
                    peer,
                    controlling,
                );
                // The peer may still need answers to conclude. Once there is a link, QUIC keeps the pair alive.
                let answering = async {
                    let ended = path.receive().await;
                    tracing::debug!(?ended, "ICE ended before its path became a link");
                    std::future::pending().await
                };
                tokio::select! {
                    adopted = adopting => adopted,
                    never = answering => never,
                }
            }
        };
        let link = adopted?;
        Ok(Way { link, relayed })
    }

    /// Lets packets from these endpoints in to the ports that QUIC uses.
    pub async fn open_ways(&self, endpoints: &[SocketAddr]) {
        let ports = self.fabric.udp_ports();
        let port_for = |at: &SocketAddr| {
            ports.iter().find(|port| port.local_address().is_ok_and(|local| local.is_ipv4() == at.is_ipv4()))
        };
        let ways = endpoints.iter().filter_map(|at| Some(open_way(port_for(at)?, *at)));
        futures::future::join_all(ways).await;
    }

    /// The named servers, then the relay to the peer: nodes of ours answer STUN where they listen, with the same number
    /// of port as TCP.
    async fn stun_servers(&self, peer: &PeerId) -> Vec<SocketAddr> {
        let found = lookup::servers(&self.config.stun_servers, limits::STUN_LOOKUP_TIMEOUT).await.unwrap_or_default();
        let first_of_each_family = found.iter().flat_map(|addresses| {
            let v4 = addresses.iter().find(|address| address.is_ipv4());
            let v6 = addresses.iter().find(|address| address.is_ipv6());
            v4.into_iter().chain(v6).copied()
        });
        first_of_each_family.chain(relay_at(&self.fabric.links(), peer)).collect()
    }
}

/// Where the relay is through which a peer is reached. A path over a TURN server has an address that is no relay's.
fn relay_at(links: &[Link], peer: &PeerId) -> Option<SocketAddr> {
    let circuit = links.iter().find(|link| link.peer == *peer && link.is_circuit())?;
    address::socket(&circuit.address.parse().ok()?)
}

/// The first address through each relay, and the others.
fn one_of_each_relay(circuits: &[Multiaddr]) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let relay =
        |circuit: &Multiaddr| circuit.iter().find(|part| matches!(part, Protocol::P2p(_))).map(Protocol::acquire);
    let (mut first, mut others): (Vec<Multiaddr>, Vec<Multiaddr>) = (Vec::new(), Vec::new());
    for circuit in circuits {
        let new = !first.iter().any(|known| relay(known) == relay(circuit));
        if new { first.push(circuit.clone()) } else { others.push(circuit.clone()) }
    }
    (first, others)
}

fn multiaddr(target: &Target) -> Multiaddr {
    match target.transport {
        Transport::Tcp => address::tcp(target.address),
        Transport::Udp => address::quic(target.address),
    }
}

fn endpoint(target: Target) -> punching::message::Endpoint {
    let transport = match target.transport {
        Transport::Udp => punching::message::Transport::Udp,
        Transport::Tcp => punching::message::Transport::Tcp,
    };
    punching::message::Endpoint { transport, address: target.address }
}

/// A port with the addresses of this machine at which packets reach it.
fn ice_port(port: Arc<UdpPort>, ipv6: bool) -> Option<IcePort> {
    let bound = port.local_address().ok()?;
    let hosts: Vec<SocketAddr> = if bound.ip().is_unspecified() {
        let fits = |ip: &IpAddr| ip.is_ipv4() == bound.is_ipv4() && !ip.is_loopback() && (ip.is_ipv4() || ipv6);
        local_addresses().into_iter().filter(fits).map(|ip| SocketAddr::new(ip, bound.port())).collect()
    } else {
        vec![bound]
    };
    (!hosts.is_empty()).then_some(IcePort { port, hosts })
}

fn failure_of(error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Timeout | ErrorKind::PeerUnreachable => Failure::Timeout,
        ErrorKind::ConnectionClosed => Failure::Signalling,
        ErrorKind::Protocol => Failure::Protocol,
        ErrorKind::LimitReached => Failure::LimitReached,
        _ => Failure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_relay_of_a_circuit_is_asked_where_we_are() {
        let (peer, relay) = (PeerId::from_text("them"), libp2p::PeerId::random());
        let link = |id: u64, address: &str, relayed| Link {
            id,
            peer: peer.clone(),
            address: address.to_owned(),
            transport: crate::fabric::Transport::Quic,
            relayed,
            outbound: true,
        };
        // Our end of a path over a TURN server, the same seen from the other side, a Gun graph, a direct link.
        let mut links = vec![
            link(1, "/ip4/127.0.0.1/udp/4000/quic-v1", true),
            link(2, "/ip4/192.0.2.7/udp/50000/quic-v1", true),
            link(3, "/unix/gun", true),
            link(4, "/ip4/192.0.2.9/udp/4001/quic-v1", false),
        ];
        assert_eq!(relay_at(&links, &peer), None);
        assert_eq!(links.iter().map(Link::place).collect::<Vec<_>>(), [None, None, None, Some(&*links[3].address)]);
        links.push(link(5, &format!("/ip4/192.0.2.1/tcp/443/p2p/{relay}/p2p-circuit"), true));
        assert_eq!(relay_at(&links, &peer), "192.0.2.1:443".parse().ok());
        assert_eq!(relay_at(&links, &PeerId::from_text("others")), None);
        assert_eq!(links[4].place(), Some(&*links[4].address));
    }

    #[test]
    fn a_second_address_of_a_relay_comes_after_all_relays() {
        let at = |ip: &str, relay: &libp2p::PeerId| -> Multiaddr {
            format!("{ip}/tcp/443/p2p/{relay}/p2p-circuit").parse().expect("valid")
        };
        let (one, other) = (libp2p::PeerId::random(), libp2p::PeerId::random());
        let all = [at("/ip4/192.0.2.1", &one), at("/ip6/2001:db8::1", &one), at("/ip4/192.0.2.2", &other)];
        let (first, others) = one_of_each_relay(&all);
        assert_eq!((first, others), (vec![all[0].clone(), all[2].clone()], vec![all[1].clone()]));
    }
}
