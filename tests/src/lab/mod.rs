//! A laboratory of NATs and firewalls made of network namespaces: real kernels, real packets, no way to the outside.
//! Linux only; needs `unshare` and `nsenter` (util-linux), `ip` (iproute2), `nft` (nftables) and, for some operations,
//! `conntrack`. Not here: tests of the lab, which stand in `tests/tests/lab.rs`, and tests of the library in it.
//!
//! ```no_run
//! use dig_nat_tests::lab::{self, Lab, Nat};
//!
//! // In a `#[test]` function:
//! lab::run(|| {
//!     let lab = Lab::builder().site("a", Nat::port_restricted()).site("b", Nat::symmetric().hairpin()).build();
//!     let seen = lab.host("a").run(|place| async move {
//!         let socket = tokio::net::UdpSocket::bind("0.0.0.0:4000").await.expect("a free port");
//!         lab::probe::external(&socket, place.stun[0]).await
//!     });
//!     assert_eq!(seen.expect("UDP works").port(), 4000);
//!     lab.reboot_nat("a");
//! });
//! ```

mod capture;
mod host;
mod namespace;
mod nat;
mod operations;
mod plan;
mod port_mapping;
pub mod probe;
mod rules;
mod run;
mod site;
pub mod stun_server;
mod wire;

use std::collections::HashSet;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use capture::Capture;
pub use host::{Host, Place, Running};
pub use nat::Nat;
pub use plan::Addresses;
pub use port_mapping::PortMapping;
pub use run::{isolate, run, run_within};
pub use site::{Ipv6, Path, Site};

use namespace::Namespace;
use plan::{INTERNET, Node, Plan};
use stun_server::StunServer;
use wire::{ENDS, Wire};

/// Namespaces that are configured at a time: programs that mostly wait for the kernel.
const BUILDERS: usize = 4;

/// Lowest index of the interfaces, above those that the kernel gives out by itself.
const FIRST_INDEX: usize = 100;

/// Kernel parameters of every namespace, below `/proc/sys/net`.
const PARAMETERS: &[(&str, &str)] = &[
    // Replies may leave by another way than requests came.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Errors are part of what is tested.
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
    // Addresses are usable at once; nobody else could have them.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// Further ones of routers.
const ROUTER_PARAMETERS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // Frames that only cross the bridge must not pass the rules of routing, else hairpinning fails.
    ("bridge/bridge-nf-call-iptables", "0"),
    ("bridge/bridge-nf-call-ip6tables", "0"),
];

/// A running lab. Dropping it ends what runs on its hosts and takes its namespaces away.
///
/// All methods panic, with the reason, when something cannot be done: a lab that is not what the test asked for proves
/// nothing.
#[derive(Debug)]
pub struct Lab {
    plan: Mutex<Plan>,
    hosts: Vec<Host>,
    /// Lines, by the node at their inner end.
    wires: Vec<(usize, Wire)>,
    stun: Option<StunServer>,
    setup: Duration,
}

/// Says what a lab consists of.
#[derive(Clone, Debug, Default)]
pub struct LabBuilder {
    addresses: Addresses,
    carriers: Vec<(String, Nat)>,
    sites: Vec<(String, Site)>,
}

impl LabBuilder {
    /// Adds a site. Its first client and the site itself go by this name.
    #[must_use]
    pub fn site(mut self, name: &str, site: impl Into<Site>) -> Self {
        self.sites.push((name.to_owned(), site.into()));
        self
    }

    /// Adds a carrier's router for sites that say [`Site::on_carrier`] to share.
    #[must_use]
    pub fn carrier(mut self, name: &str, nat: Nat) -> Self {
        assert!(nat.translates() && nat.layers().count() == 1, "a carrier is one router");
        self.carriers.push((name.to_owned(), nat));
        self
    }

    /// Chooses the public addresses of the lab; [`Addresses::GlobalLooking`] unless said otherwise.
    #[must_use]
    pub fn addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Builds the lab and starts its STUN server. Only inside [`run`].
    #[track_caller]
    pub fn build(self) -> Lab {
        assert!(run::is_isolated(), "labs are built inside `lab::run`, nowhere else");
        let names: HashSet<&String> =
            self.sites.iter().map(|(name, _)| name).chain(self.carriers.iter().map(|(name, _)| name)).collect();
        assert_eq!(names.len(), self.sites.len() + self.carriers.len(), "names of sites and carriers are unique");
        let begun = Instant::now();
        let plan = Plan::new(self.addresses, self.carriers, self.sites);
        let (namespaces, wires) = set_up(&plan).unwrap_or_else(|error| panic!("build the lab: {error}"));
        let hosts = hosts(&plan, namespaces);
        let mut lab = Lab { plan: Mutex::new(plan), hosts, wires, stun: None, setup: Duration::ZERO };
        lab.stun = Some(lab.serve_stun());
        lab.setup = begun.elapsed();
        lab
    }
}

impl Lab {
    /// A lab with nothing but the internet, the host `stun` and the host `relay`.
    pub fn builder() -> LabBuilder {
        LabBuilder::default()
    }

    /// A client of a site, a router or carrier, or one of `stun`, `relay` and `internet`.
    #[track_caller]
    pub fn host(&self, name: &str) -> &Host {
        let found = self.hosts.iter().find(|host| host.name() == name);
        found.unwrap_or_else(|| panic!("the lab has no host {name}"))
    }

    /// The router next to the clients of a site.
    #[track_caller]
    pub fn router(&self, site: &str) -> &Host {
        self.host(&format!("{site}.router"))
    }

    /// The outer router of a site with two layers.
    #[track_caller]
    pub fn outer_router(&self, site: &str) -> &Host {
        self.host(&format!("{site}.outer"))
    }

    /// All hosts and routers.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// How long it took to build.
    pub fn setup_time(&self) -> Duration {
        self.setup
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve_stun(&self) -> StunServer {
        let server = self.host("stun").run(|place| async move {
            let v4 = [place.v4[0], place.v4[1]].map(IpAddr::V4);
            let v6 = [place.v6[0], place.v6[1]].map(IpAddr::V6);
            StunServer::start(&[v4, v6]).await
        });
        server.unwrap_or_else(|error| panic!("start the STUN server: {error}"))
    }
}

/// What a plan becomes: a namespace for each node, and the lines.
type Built = (Vec<Arc<Namespace>>, Vec<(usize, Wire)>);

/// Makes namespaces, then links between them, then what is inside each.
fn set_up(plan: &Plan) -> io::Result<Built> {
    let namespaces = in_parallel(&plan.nodes, |node| Namespace::create(&node.name).map(Arc::new))?;
    let indices: Vec<usize> = (0..plan.nodes.len()).collect();
    in_parallel(&indices, |index| namespaces[*index].configure(&parameters(&plan.nodes[*index]), "", ""))?;
    let mut links = Links::default();
    let mut lines = Vec::new();
    for link in &plan.links {
        let [(upstream, port), (inner, interface)] = &link.ends;
        let (one, other) = (&namespaces[*upstream], &namespaces[*inner]);
        if let Some(path) = link.path {
            let between = Namespace::create("a line")?;
            between.configure(
                &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")],
                "",
                "",
            )?;
            links.add((one, port), (&between, ENDS[0]));
            links.add((&between, ENDS[1]), (other, interface));
            lines.push((*inner, between, path));
        } else {
            links.add((one, port), (other, interface));
        }
    }
    namespaces[INTERNET].configure(&[], &links.script, "")?;
    in_parallel(&indices, |index| namespaces[*index].configure(&[], &plan.nodes[*index].ip, &plan.nodes[*index].nft))?;
    for link in plan.links.iter().filter(|link| link.path.is_some()) {
        for (node, interface) in &link.ends {
            namespaces[*node].configure(&[], &format!("link set {interface} gso_max_segs 1\n"), "")?;
        }
    }
    let mut wires = Vec::new();
    for (seed, (inner, between, path)) in lines.into_iter().enumerate() {
        between.configure(
            &[],
            &ENDS.map(|end| format!("link set {end} promisc on\nlink set {end} up\n")).concat(),
            "",
        )?;
        wires.push((inner, Wire::start(between, path, seed as u64)?));
    }
    in_parallel(&namespaces, |namespace| namespace.wait_until_running())?;
    Ok((namespaces, wires))
}

/// A script that makes pairs of interfaces.
#[derive(Default)]
struct Links {
    count: usize,
    script: String,
}

impl Links {
    fn add(&mut self, (one, here): (&Namespace, &str), (other, there): (&Namespace, &str)) {
        // The kernel may take a second to notice that a link is up if both ends have the same index.
        let (index, peer_index) = (FIRST_INDEX + 2 * self.count, FIRST_INDEX + 2 * self.count + 1);
        self.count += 1;
        let one = format!("link add {here} index {index} netns {} type veth", one.path());
        let _ = writeln!(self.script, "{one} peer name {there} index {peer_index} netns {}", other.path());
    }
}

fn parameters(node: &Node) -> Vec<(&str, &str)> {
    let mut all = PARAMETERS.to_vec();
    if node.forwards {
        all.extend(ROUTER_PARAMETERS);
    }
    all.extend(node.parameters.iter().map(|(path, value)| (*path, value.as_str())));
    all
}

fn hosts(plan: &Plan, namespaces: Vec<Arc<Namespace>>) -> Vec<Host> {
    let addresses = |name: &str| {
        let node = plan.nodes.iter().find(|node| node.name == name).expect("every lab has it");
        (node.v4.clone(), node.v6.clone())
    };
    let (stun_v4, stun_v6) = addresses("stun");
    let mut stun = stun_server::endpoints([stun_v4[0], stun_v4[1]].map(IpAddr::V4)).to_vec();
    stun.extend(stun_server::endpoints([stun_v6[0], stun_v6[1]].map(IpAddr::V6)));
    let (relay_v4, relay_v6) = addresses("relay");
    let relay: Vec<IpAddr> = relay_v4.into_iter().map(IpAddr::V4).chain(relay_v6.into_iter().map(IpAddr::V6)).collect();
    let host = |(node, namespace): (&Node, Arc<Namespace>)| {
        let place = Place {
            name: node.name.clone(),
            v4: node.v4.clone(),
            v6: node.v6.clone(),
            stun: stun.clone(),
            relay: relay.clone(),
        };
        Host::new(namespace, place)
    };
    plan.nodes.iter().zip(namespaces).map(host).collect()
}

/// The results of a fallible call for each item, on a few threads; the first error ends it.
fn in_parallel<I: Sync, T: Send>(items: &[I], call: impl Fn(&I) -> io::Result<T> + Sync) -> io::Result<Vec<T>> {
    let share = items.len().div_ceil(BUILDERS).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> =
            items.chunks(share).map(|part| scope.spawn(|| part.iter().map(&call).collect::<Vec<_>>())).collect();
        let results = parts.into_iter().flat_map(|part| part.join().expect("building does not panic"));
        results.collect()
    })
}
