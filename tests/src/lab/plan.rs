//! The lab on paper: from sites to nodes, links, addresses and routes, as text for `ip -batch` and `nft -f`. Nothing
//! here touches the system.
//!
//! ```text
//!  a eth0 -- l0 [bridge lan] a.router wan -- (lan a.outer wan) -- p3 \
//!  b eth0 -------------------------------------------------------- p4 - internet
//!                                             stun eth0 ---------- p1 /
//!                                             relay eth0 --------- p2
//! ```
//! Public hosts and outermost routers hang on the internet router by point-to-point links. Site number k has the
//! public addresses 8k to 8k+7, the local network 192.168.k.0/24, and 100.64.k.0/24 between two layers. A shared carrier
//! gives its customers addresses of 100.64.0.0/16. For IPv6, a site has the /64 with its number.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::nat::{Nat, Translation};
use super::rules;
use super::site::{Ipv6, Path, Site};

/// Most sites and carriers together: the last octet of the public addresses has room for no more.
pub(super) const MAX_PLOTS: usize = 31;

/// The next hop of everyone who hangs on the internet router.
const GATEWAY: &str = "198.18.0.1";

/// Which addresses the lab's internet uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// Such as programs take for public. They exist only inside the lab.
    #[default]
    GlobalLooking,
    /// Those reserved for documentation, which careful programs refuse to call public.
    Documentation,
}

impl Addresses {
    fn service(self, last: u8) -> Ipv4Addr {
        match self {
            Self::GlobalLooking => Ipv4Addr::new(44, 128, 1, last),
            Self::Documentation => Ipv4Addr::new(198, 51, 100, last),
        }
    }

    fn site(self, plot: usize, index: usize) -> Ipv4Addr {
        let last = (8 * plot + index) as u8;
        match self {
            Self::GlobalLooking => Ipv4Addr::new(44, 128, 2, last),
            Self::Documentation => Ipv4Addr::new(203, 0, 113, last),
        }
    }

    fn v6(self, plot: usize, host: u16) -> Ipv6Addr {
        let first = match self {
            Self::GlobalLooking => 0x2000,
            Self::Documentation => 0x2001,
        };
        Ipv6Addr::new(first, 0x0db8, plot as u16, 0, 0, 0, 0, host)
    }
}

/// All of a lab.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) addresses: Addresses,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    pub(super) plots: Vec<Plot>,
}

/// A namespace to be.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) forwards: bool,
    pub(super) parameters: Vec<(&'static str, String)>,
    pub(super) ip: String,
    pub(super) nft: String,
    pub(super) v4: Vec<Ipv4Addr>,
    pub(super) v6: Vec<Ipv6Addr>,
}

/// A pair of interfaces, each named by its node and its name there.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [(usize, String); 2],
    pub(super) path: Option<Path>,
}

/// A site or a carrier, with what its changes while running need to know.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) site: Site,
    /// From the clients outwards, without a shared carrier's.
    pub(super) routers: Vec<Router>,
    /// Nodes, and their indices here, which their addresses come from.
    pub(super) clients: Vec<(usize, usize)>,
    /// How many clients were ever connected.
    pub(super) attached: usize,
}

/// A router of a plot.
#[derive(Clone, Debug)]
pub(super) struct Router {
    pub(super) node: usize,
    pub(super) nat: Nat,
    pub(super) external: Ipv4Addr,
    pub(super) exposed: Option<Ipv4Addr>,
    /// The other end of `wan`: node and interface.
    pub(super) upstream: (usize, String),
}

/// How one host is connected: its addresses, and scripts for both ends of its link.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    pub(super) host_ip: String,
    pub(super) host_nft: String,
    pub(super) upstream_ip: String,
}

pub(super) const INTERNET: usize = 0;

impl Plan {
    /// Draws up a lab of these carriers and sites.
    pub(super) fn new(addresses: Addresses, carriers: Vec<(String, Nat)>, sites: Vec<(String, Site)>) -> Self {
        assert!(carriers.len() + sites.len() <= MAX_PLOTS, "a lab has at most {MAX_PLOTS} sites and carriers");
        let mut plan = Self { addresses, nodes: Vec::new(), links: Vec::new(), plots: Vec::new() };
        let internet = plan.node("internet", true);
        debug_assert_eq!(internet, INTERNET);
        let mut ip = format!("link set lo up\naddr add {GATEWAY}/32 dev lo\nroute add blackhole default\n");
        ip.push_str("route add blackhole ::/0\n");
        plan.nodes[INTERNET].ip = ip;
        plan.service("stun", &[1, 2]);
        plan.service("relay", &[10]);
        for (name, nat) in carriers {
            let site = Site::new(nat);
            let number = plan.plots.len() + 1;
            let routers = plan.routers(&name, number, &site, true);
            plan.plots.push(Plot { name, number, site, routers, clients: Vec::new(), attached: 0 });
        }
        for (name, site) in sites {
            plan.site(name, site);
        }
        plan
    }

    /// The plot of this name. Panics when there is none.
    #[track_caller]
    pub(super) fn plot(&self, name: &str) -> usize {
        let found = self.plots.iter().position(|plot| plot.name == name);
        found.unwrap_or_else(|| panic!("the lab has no site or carrier {name}"))
    }

    /// Where a client belongs to: plot and index there. Panics for other nodes.
    #[track_caller]
    pub(super) fn client(&self, node: usize) -> (usize, usize) {
        let mut places = self.plots.iter().enumerate();
        let found = places.find_map(|(plot, at)| {
            at.clients.iter().find(|(client, _)| *client == node).map(|(_, index)| (plot, *index))
        });
        found.unwrap_or_else(|| panic!("{} is no client of a site", self.nodes[node].name))
    }

    /// Moves a client to another plot; gives its index there: one that no client ever had, as long as there is one.
    pub(super) fn join(&mut self, node: usize, from: usize, to: usize) -> usize {
        self.plots[from].clients.retain(|(client, _)| *client != node);
        let plot = &mut self.plots[to];
        let free = |index: &usize| plot.clients.iter().all(|(_, used)| used != index);
        let index = (plot.attached..Site::MAX_CLIENTS).chain(0..Site::MAX_CLIENTS).find(free);
        let index = index.unwrap_or_else(|| panic!("{} has {} clients already", plot.name, Site::MAX_CLIENTS));
        plot.attached = plot.attached.max(index + 1);
        plot.clients.push((node, index));
        index
    }

    /// How client `index` of a plot is connected by `interface`; `port` is the interface at the other end.
    pub(super) fn attachment(&self, plot: usize, index: usize, interface: &str, port: &str) -> Attachment {
        let Plot { number, site, routers, .. } = &self.plots[plot];
        let v6 = site.v6.map(|_| self.addresses.v6(*number, 0x100 + index as u16));
        if routers.is_empty() {
            let v4 = site.v4.then(|| self.addresses.site(*number, index));
            let mut attachment = uplink(interface, port, v4, v6.map(|v6| (v6, 128)));
            if let Some(v6) = v6 {
                let _ = writeln!(attachment.host_ip, "addr replace {v6}/128 dev {interface} nodad");
                attachment.v6 = Some(v6);
            }
            if site.nat.filtering != Nat::public().filtering {
                attachment.host_nft.push_str(&rules::firewall("ip", interface));
            }
            if site.v6 == Some(Ipv6::Firewalled) {
                attachment.host_nft.push_str(&rules::firewall("ip6", interface));
            }
            return attachment;
        }
        let v4 = site.v4.then(|| Ipv4Addr::new(192, 168, *number as u8, 100 + index as u8));
        let mut host_ip = format!("link set lo up\nlink set {interface} up\n");
        if let Some(v4) = v4 {
            let _ = writeln!(host_ip, "addr replace {v4}/24 dev {interface}");
            let _ = writeln!(host_ip, "route replace default via 192.168.{number}.1 dev {interface}");
        }
        if let Some(v6) = v6 {
            let _ = writeln!(host_ip, "addr replace {v6}/64 dev {interface} nodad");
            let _ = writeln!(host_ip, "route replace ::/0 via fe80::1 dev {interface}");
        }
        let upstream_ip = format!("link set {port} master lan\nlink set {port} up\n");
        Attachment { v4, v6, host_ip, host_nft: String::new(), upstream_ip }
    }

    /// Scripts that give the outermost router of a plot another external address: for the router and its upstream.
    #[track_caller]
    pub(super) fn readdress(&self, plot: usize) -> (Ipv4Addr, String, String) {
        let Plot { number, routers, .. } = &self.plots[plot];
        let router = routers.last().expect("only sites with a router change their address");
        assert_eq!(router.upstream.0, INTERNET, "the address that the internet sees belongs to the carrier");
        let [one, other] = [7, 6].map(|index| self.addresses.site(*number, index));
        let old = router.external;
        let new = if old == one { other } else { one };
        let (_, port) = &router.upstream;
        let mut attachment = uplink("wan", port, Some(new), None);
        let _ = writeln!(attachment.host_ip, "addr del {old}/32 dev wan");
        let _ = writeln!(attachment.upstream_ip, "route del {old}/32");
        (new, attachment.host_ip, attachment.upstream_ip)
    }

    fn node(&mut self, name: &str, forwards: bool) -> usize {
        self.nodes.push(Node {
            name: name.to_owned(),
            forwards,
            parameters: Vec::new(),
            ip: String::new(),
            nft: String::new(),
            v4: Vec::new(),
            v6: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// A host on the internet that belongs to no site.
    fn service(&mut self, name: &str, last: &[u8]) {
        let node = self.node(name, false);
        let port = self.link_to(INTERNET, "p", (node, "eth0"), None);
        // Backwards, so that the first address becomes the preferred one.
        for last in last.iter().rev() {
            let (v4, v6) = (self.addresses.service(*last), self.addresses.v6(0, u16::from(*last)));
            let attachment = uplink("eth0", &port, Some(v4), Some((v6, 128)));
            self.nodes[node].ip.push_str(&attachment.host_ip);
            let _ = writeln!(self.nodes[node].ip, "addr replace {v6}/128 dev eth0 nodad");
            self.nodes[INTERNET].ip.push_str(&attachment.upstream_ip);
            self.nodes[node].v4.insert(0, v4);
            self.nodes[node].v6.insert(0, v6);
        }
    }

    fn site(&mut self, name: String, site: Site) {
        let number = self.plots.len() + 1;
        assert!(site.carrier.is_none() || site.v6.is_none(), "{name}: shared carriers of the lab have no IPv6");
        let routers = if site.nat.is_router() { self.routers(&name, number, &site, false) } else { Vec::new() };
        let restricted = site.nat.needs_router() || site.nat.blocked != Nat::public().blocked;
        assert!(!routers.is_empty() || !restricted, "{name}: without a router nothing can do what {} asks", site.nat);
        let (clients, inner) = (site.clients, routers.first().map(|router| router.node));
        let path = site.path;
        self.plots.push(Plot { name, number, site, routers, clients: Vec::new(), attached: clients });
        let plot = self.plots.len() - 1;
        for index in 0..clients {
            let first = self.plots[plot].name.clone();
            let node = self.node(&if index == 0 { first } else { format!("{first}-{}", index + 1) }, false);
            let port = match inner {
                Some(router) => self.link_to(router, "l", (node, "eth0"), None),
                None => self.link_to(INTERNET, "p", (node, "eth0"), path),
            };
            let attachment = self.attachment(plot, index, "eth0", &port);
            let upstream = inner.unwrap_or(INTERNET);
            self.nodes[upstream].ip.push_str(&attachment.upstream_ip);
            let node_draft = &mut self.nodes[node];
            node_draft.ip = attachment.host_ip;
            node_draft.nft = attachment.host_nft;
            node_draft.v4.extend(attachment.v4);
            node_draft.v6.extend(attachment.v6);
            self.plots[plot].clients.push((node, index));
        }
    }

    /// The routers of a site or carrier, the innermost first.
    fn routers(&mut self, name: &str, number: usize, site: &Site, shared: bool) -> Vec<Router> {
        let layers: Vec<Nat> = site.nat.layers().cloned().collect();
        let mut routers: Vec<Router> = Vec::new();
        // From the outside inwards, so that the upstream of each exists.
        for (depth, nat) in layers.iter().enumerate().rev() {
            let node = self.node(&router_name(name, depth, shared), true);
            let last = depth + 1 == layers.len();
            let carrier = site.carrier.as_deref().filter(|_| last);
            let carrier = carrier.map(|carrier| self.plots[self.plot(carrier)].routers[0].node);
            let prefix = site.v6.map(|_| (self.addresses.v6(number, 0), 64));
            let (upstream, external, port, mut attachment) = match (carrier, routers.last()) {
                (None, None) => {
                    let external = self.addresses.site(number, 0);
                    let port = self.link_to(INTERNET, "p", (node, "wan"), site.path);
                    let attachment = uplink("wan", &port, Some(external), prefix);
                    (INTERNET, external, port, attachment)
                }
                (carrier, outer) => {
                    let upstream = carrier.or(outer.map(|outer| outer.node)).expect("one of the two");
                    let external = Ipv4Addr::new(100, 64, number as u8, 2);
                    let (bits, gateway) = match carrier {
                        Some(_) => (16, Ipv4Addr::new(100, 64, 0, 1)),
                        None => (24, Ipv4Addr::new(100, 64, number as u8, 1)),
                    };
                    let port = self.link_to(upstream, "l", (node, "wan"), site.path.filter(|_| carrier.is_some()));
                    (upstream, external, port.clone(), customer(external, bits, gateway, &port, number, prefix))
                }
            };
            attachment.host_ip.push_str(&self.lan(number, depth, shared && depth == 0, site.v6.is_some()));
            let exposed = match (nat.translation, depth) {
                (Translation::ExposedHost, 0) => Some(Ipv4Addr::new(192, 168, number as u8, 100)),
                (Translation::ExposedHost, _) => Some(Ipv4Addr::new(100, 64, number as u8, 2)),
                _ => None,
            };
            if let Some(bytes) = nat.mtu {
                let _ = writeln!(attachment.host_ip, "link set wan mtu {bytes}");
                let _ = writeln!(attachment.upstream_ip, "link set {port} mtu {bytes}");
                if nat.black_hole {
                    let prefix = prefix.map(|(prefix, _)| prefix);
                    self.nodes[upstream].nft.push_str(&rules::silence(number, external, prefix));
                }
            }
            self.nodes[upstream].ip.push_str(&attachment.upstream_ip);
            let draft = &mut self.nodes[node];
            draft.ip.push_str(&attachment.host_ip);
            draft.nft = rules::router(nat, external, exposed);
            if site.v6 == Some(Ipv6::Firewalled) && depth == 0 {
                draft.nft.push_str(&rules::firewall("ip6", "wan"));
            }
            draft.parameters = rules::parameters(nat);
            draft.v4.push(external);
            let upstream = (upstream, port);
            routers.push(Router { node, nat: nat.clone(), external, exposed, upstream });
        }
        routers.reverse();
        routers
    }

    /// The inner side of a router.
    fn lan(&self, number: usize, depth: usize, shared: bool, v6: bool) -> String {
        let address = match (shared, depth) {
            (true, _) => "100.64.0.1/16".to_owned(),
            (false, 0) => format!("192.168.{number}.1/24"),
            (false, _) => format!("100.64.{number}.1/24"),
        };
        // A bridge without a working port takes up to a second to notice the first one, and drops packets until then;
        // so it has one from the start that leads to nowhere.
        let mut ip = "link add lan type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n".to_owned();
        ip.push_str("link add hold type veth peer name held\nlink set held addrgenmode none\nlink set held up\n");
        ip.push_str("link set hold master lan\nlink set hold up\nlink set lan up\n");
        let _ = writeln!(ip, "addr add {address} dev lan");
        if v6 {
            ip.push_str("addr add fe80::1/64 dev lan nodad\n");
        }
        if v6 && depth == 0 {
            let _ = writeln!(ip, "addr add {}/64 dev lan nodad", self.addresses.v6(number, 1));
        }
        ip
    }

    /// Connects an interface to a new port of a node.
    fn link_to(&mut self, upstream: usize, letter: &str, end: (usize, &str), path: Option<Path>) -> String {
        let used = self.links.iter().filter(|link| link.ends[0].0 == upstream).count();
        let port = format!("{letter}{used}");
        self.links.push(Link { ends: [(upstream, port.clone()), (end.0, end.1.to_owned())], path });
        port
    }
}

fn router_name(site: &str, depth: usize, shared: bool) -> String {
    match (shared, depth) {
        (true, 0) => site.to_owned(),
        (false, 0) => format!("{site}.router"),
        (false, 1) => format!("{site}.outer"),
        (_, depth) => format!("{site}.outer{depth}"),
    }
}

/// A link to the internet router. `routed` goes to the other end, by IPv6.
fn uplink(interface: &str, port: &str, v4: Option<Ipv4Addr>, routed: Option<(Ipv6Addr, u8)>) -> Attachment {
    let mut host_ip = format!("link set lo up\nlink set {interface} up\n");
    let mut upstream_ip = format!("link set {port} up\n");
    if let Some(v4) = v4 {
        let _ = writeln!(host_ip, "addr replace {v4}/32 dev {interface}");
        let _ = writeln!(host_ip, "route replace {GATEWAY}/32 dev {interface} src {v4}");
        let _ = writeln!(host_ip, "route replace default via {GATEWAY} dev {interface} src {v4}");
        let _ = writeln!(upstream_ip, "route replace {v4}/32 dev {port}");
    }
    if let Some((prefix, bits)) = routed {
        let _ = writeln!(host_ip, "addr replace fe80::2/64 dev {interface} nodad");
        let _ = writeln!(host_ip, "route replace ::/0 via fe80::1 dev {interface}");
        let _ = writeln!(upstream_ip, "addr replace fe80::1/64 dev {port} nodad");
        let _ = writeln!(upstream_ip, "route replace {prefix}/{bits} via fe80::2 dev {port}");
    }
    Attachment { v4, v6: None, host_ip, host_nft: String::new(), upstream_ip }
}

/// A router's link to the router of its carrier.
fn customer(
    v4: Ipv4Addr,
    bits: u8,
    gateway: Ipv4Addr,
    port: &str,
    number: usize,
    routed: Option<(Ipv6Addr, u8)>,
) -> Attachment {
    let mut host_ip = format!("link set lo up\nlink set wan up\naddr add {v4}/{bits} dev wan\n");
    let _ = writeln!(host_ip, "route add default via {gateway} dev wan");
    let mut upstream_ip = format!("link set {port} master lan\nlink set {port} up\n");
    if let Some((prefix, bits)) = routed {
        let link_local = format!("fe80::{number}:2");
        let _ = writeln!(host_ip, "addr add {link_local}/64 dev wan nodad\nroute add ::/0 via fe80::1 dev wan");
        let _ = writeln!(upstream_ip, "route add {prefix}/{bits} via {link_local} dev lan");
    }
    Attachment { v4: Some(v4), v6: None, host_ip, host_nft: String::new(), upstream_ip }
}
