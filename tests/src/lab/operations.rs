//! What can happen to a lab while it runs: routers restart, addresses change, paths break, clients move. Each call
//! returns when it has taken effect. Not here: building a lab.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

#[cfg(doc)]
use super::Site;
use super::plan::{INTERNET, Router};
use super::{Host, Lab, Path, rules};

impl Lab {
    /// All routers of a site, or a carrier, forget their mappings and flows.
    #[track_caller]
    pub fn reboot_nat(&self, site: &str) {
        let routers = {
            let plan = self.plan();
            plan.plots[plan.plot(site)].routers.clone()
        };
        assert!(!routers.is_empty(), "{site} has no router");
        for router in &routers {
            self.reload(router);
        }
    }

    /// The outermost router of a site, or a carrier, gets another public address and forgets its mappings, as after a
    /// new dial-in. Gives the new address. The old one leads nowhere.
    #[track_caller]
    pub fn change_public_address(&self, site: &str) -> Ipv4Addr {
        let mut plan = self.plan();
        let plot = plan.plot(site);
        let (new, router_ip, upstream_ip) = plan.readdress(plot);
        let router = plan.plots[plot].routers.last_mut().expect("readdressing has checked it");
        router.external = new;
        self.apply(router.upstream.0, &upstream_ip, "");
        self.apply(router.node, &router_ip, "");
        self.reload(router);
        self.hosts[router.node].moved(|place| place.v4 = vec![new]);
        new
    }

    /// Cuts the way of a site to the internet: everything on it vanishes without an answer.
    #[track_caller]
    pub fn cut(&self, site: &str) {
        self.cut_edge(site, None);
    }

    /// Cuts only what goes between two sites on their direct way; both still reach all others.
    #[track_caller]
    pub fn cut_between(&self, site: &str, other: &str) {
        let addresses = {
            let plan = self.plan();
            let other = &plan.plots[plan.plot(other)];
            let mut addresses: Vec<IpAddr> = match other.routers.last() {
                Some(router) => vec![router.external.into()],
                None => other
                    .clients
                    .iter()
                    .flat_map(|(client, _)| self.hosts[*client].place().v4)
                    .map(IpAddr::V4)
                    .collect(),
            };
            addresses
                .extend(other.clients.iter().flat_map(|(client, _)| self.hosts[*client].place().v6).map(IpAddr::V6));
            addresses
        };
        self.cut_edge(site, Some(&addresses));
    }

    /// Undoes [`Lab::cut`] and [`Lab::cut_between`] of a site.
    #[track_caller]
    pub fn restore(&self, site: &str) {
        for (node, _) in self.edges(site) {
            self.apply(node, "", &rules::restore());
        }
    }

    /// Changes the line of a site that was given one by [`Site::path`], in both directions. Frames under way arrive as
    /// before.
    #[track_caller]
    pub fn set_path(&self, site: &str, path: Path) {
        let ends = self.edges(site);
        let mut wires = self.wires.iter().filter(|(inner, _)| ends.iter().any(|(node, _)| node == inner)).peekable();
        assert!(wires.peek().is_some(), "{site} was built without a path");
        wires.for_each(|(_, wire)| wire.set_path(path));
    }

    /// Takes a client's network interface down. Its addresses and routes are gone until [`Lab::link_up`].
    #[track_caller]
    pub fn link_down(&self, client: &str) {
        let host = self.host(client);
        let interface = interface_of(host);
        self.on(host, &format!("link set {interface} down\n"), "");
    }

    /// Takes it up again, with the addresses and routes it had.
    #[track_caller]
    pub fn link_up(&self, client: &str) {
        let host = self.host(client);
        let interface = interface_of(host);
        let script = {
            let plan = self.plan();
            let (plot, index) = plan.client(self.index(host));
            plan.attachment(plot, index, &interface, "unused").host_ip
        };
        self.on(host, &script, "");
        wait_for_links(host);
    }

    /// Lays a cable between two clients: interface `cable` at both, with the addresses 10.9.0.1 and 10.9.0.2.
    #[track_caller]
    pub fn cable(&self, one: &str, other: &str) {
        let (one, other) = (self.host(one), self.host(other));
        let there = other.namespace().path();
        // Different indices at the ends, as at building.
        self.on(one, &format!("link add cable index 3000 type veth peer name cable netns {there} index 3001\n"), "");
        for (host, last) in [(one, 1), (other, 2)] {
            self.on(host, &format!("addr add 10.9.0.{last}/24 dev cable\nlink set cable up\n"), "");
        }
        wait_for_links(one);
        wait_for_links(other);
    }

    /// A client leaves its site and joins another by a new interface, as a phone from Wi-Fi to mobile network. Its old
    /// interface and addresses are gone.
    #[track_caller]
    pub fn roam(&self, client: &str, to_site: &str) {
        let host = self.host(client);
        let node = self.index(host);
        let old = interface_of(host);
        let mut plan = self.plan();
        let (from, _) = plan.client(node);
        let to = plan.plot(to_site);
        assert_ne!(from, to, "{client} is at {to_site} already");
        let index = plan.join(node, from, to);
        let plot = &plan.plots[to];
        let upstream = plot.routers.first().map_or(INTERNET, |router| router.node);
        // Names that no other interface of the two nodes has or had.
        let port = format!("r{}x{index}", plot.number);
        let interface = format!("eth{}", old.trim_start_matches("eth").parse::<u32>().unwrap_or(0) + 1);
        let attachment = plan.attachment(to, index, &interface, &port);
        let there = self.hosts[upstream].namespace().path();
        let rules = attachment.host_nft;
        // Different indices at the ends, as at building.
        let [here_index, there_index] = [1000, 2000].map(|first| first + 100 * to + index);
        let ends = format!("{interface} index {here_index} type veth peer name {port} index {there_index}");
        self.on(host, &format!("link del {old}\nlink add {ends} netns {there}\n"), "");
        self.apply(upstream, &attachment.upstream_ip, "");
        self.on(host, &attachment.host_ip, &rules);
        wait_for_links(host);
        host.moved(|place| {
            place.v4 = attachment.v4.into_iter().collect();
            place.v6 = attachment.v6.into_iter().collect();
        });
    }

    /// Empties a router and gives it its rules anew.
    fn reload(&self, router: &Router) {
        // Packets of busy flows would otherwise teach the new rules the old mappings before the flows are forgotten.
        self.apply(router.node, "", &rules::stop());
        self.apply(router.node, "", &rules::router(&router.nat, router.external, router.exposed));
        let flushed = self.hosts[router.node].inside(|_| Command::new("conntrack").arg("-F").output());
        let flushed = flushed.unwrap_or_else(|error| panic!("start conntrack (Debian package conntrack): {error}"));
        assert!(flushed.status.success(), "conntrack -F: {}", String::from_utf8_lossy(&flushed.stderr));
        self.apply(router.node, "", &rules::start());
    }

    fn cut_edge(&self, site: &str, peers: Option<&[IpAddr]>) {
        for (node, interface) in self.edges(site) {
            self.apply(node, "", &rules::cut(&interface, peers));
        }
    }

    /// The nodes of a site, with their interfaces, through which everything goes to the outside.
    fn edges(&self, site: &str) -> Vec<(usize, String)> {
        let plan = self.plan();
        let plot = &plan.plots[plan.plot(site)];
        match plot.routers.last() {
            Some(router) => vec![(router.node, "wan".to_owned())],
            None => plot.clients.iter().map(|(client, _)| (*client, interface_of(&self.hosts[*client]))).collect(),
        }
    }

    fn index(&self, host: &Host) -> usize {
        self.hosts.iter().position(|known| std::ptr::eq(known, host)).expect("a host of this lab")
    }

    fn on(&self, host: &Host, ip: &str, nft: &str) {
        self.apply(self.index(host), ip, nft);
    }

    fn apply(&self, node: usize, ip: &str, nft: &str) {
        let done = self.hosts[node].namespace().configure(&[], ip, nft);
        done.unwrap_or_else(|error| panic!("change the lab: {error}"));
    }
}

fn wait_for_links(host: &Host) {
    host.namespace().wait_until_running().unwrap_or_else(|error| panic!("change the lab: {error}"));
}

/// The network interface of a client.
fn interface_of(host: &Host) -> String {
    let names = host.inside(|_| {
        let listed = std::fs::read_to_string("/proc/thread-self/net/dev").expect("every namespace has it");
        let names = listed.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
        names.filter(|name| name.starts_with("eth")).collect::<Vec<_>>()
    });
    names.into_iter().next().unwrap_or_else(|| panic!("{} has no interface; is it a client?", host.name()))
}
