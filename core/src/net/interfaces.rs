//! The machine's own addresses, its default gateways, and news when either changes.
//! Not here: multicast (`discovery`), and what is asked of a gateway (`nat`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use futures::StreamExt;
use if_watch::tokio::IfWatcher;
use netdev::Interface;

use crate::base::limits;

/// The way out of this machine in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Name of the interface.
    pub interface: String,
    /// Its index, which link-local addresses need.
    pub index: u32,
    /// The router's address on that link.
    pub gateway: IpAddr,
    /// Our address that others see, or that the router translates: in IPv6 a global one.
    pub local: IpAddr,
}

/// The default routes of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultRoutes {
    /// IPv4.
    pub v4: Option<DefaultRoute>,
    /// IPv6; `None` also when there is a router but no global address.
    pub v6: Option<DefaultRoute>,
}

/// Looks the default routes up. Takes a few system calls per interface: not for a task that others wait for.
pub fn default_routes() -> DefaultRoutes {
    let mut interfaces = netdev::get_interfaces();
    // The interface that the system itself would choose comes first.
    interfaces.sort_by_key(|interface| !interface.default);
    DefaultRoutes { v4: interfaces.iter().find_map(route_v4), v6: interfaces.iter().find_map(route_v6) }
}

/// Our addresses on all interfaces that are up, loopback and link-local ones included.
pub fn local_addresses() -> Vec<IpAddr> {
    let up = netdev::get_interfaces().into_iter().filter(Interface::is_up);
    up.flat_map(|interface| interface.ip_addrs()).collect()
}

/// The address that the system would send from to reach another one; nothing is sent. `None` without a route.
pub fn source_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr =
        if target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

fn route_v4(interface: &Interface) -> Option<DefaultRoute> {
    let gateway = *interface.gateway.as_ref()?.ipv4.first()?;
    let local = match source_towards((gateway, 9).into()) {
        Some(local) => local,
        None => interface.ipv4.first()?.addr().into(),
    };
    Some(DefaultRoute { interface: interface.name.clone(), index: interface.index, gateway: gateway.into(), local })
}

fn route_v6(interface: &Interface) -> Option<DefaultRoute> {
    let gateway = *interface.gateway.as_ref()?.ipv6.first()?;
    let flags = |at: usize| interface.ipv6_addr_flags.get(at).copied().unwrap_or_default();
    let global = interface.ipv6.iter().enumerate().filter(|(at, net)| {
        let flags = flags(*at);
        is_global_unicast(net.addr()) && !(flags.deprecated || flags.tentative || flags.duplicated)
    });
    // An address that lasts is worth more to somebody who wants to be reached than one that hides him.
    let (_, local) = global.min_by_key(|(at, _)| flags(*at).temporary)?;
    let local = local.addr().into();
    Some(DefaultRoute { interface: interface.name.clone(), index: interface.index, gateway: gateway.into(), local })
}

fn is_global_unicast(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000
}

/// An address with the interface that a link-local one needs.
pub fn scoped(address: IpAddr, port: u16, index: u32) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, index).into(),
        other => SocketAddr::new(other, port),
    }
}

/// Tells when addresses of this machine come or go. Routes may follow a moment later, and a route can change while
/// the addresses stay: look again from time to time as well.
pub struct InterfaceWatch {
    watcher: Option<IfWatcher>,
    /// Something has changed that was not reported yet.
    dirty: bool,
}

impl InterfaceWatch {
    /// Starts to watch. Where the system tells nothing, [`changed`](Self::changed) never returns. Needs a tokio runtime.
    pub fn new() -> Self {
        let watcher = IfWatcher::new();
        if let Err(error) = &watcher {
            tracing::debug!(%error, "changes of network interfaces are not reported by the system");
        }
        Self { watcher: watcher.ok(), dirty: false }
    }

    /// Waits for the next change and then until changes pause. The first call returns soon: the addresses there are.
    /// Cancel safe: a change that was being waited out is reported by the next call.
    pub async fn changed(&mut self) {
        if !self.dirty {
            self.one_change().await;
            self.dirty = true;
        }
        while tokio::time::timeout(limits::INTERFACE_SETTLE, self.one_change()).await.is_ok() {}
        self.dirty = false;
    }

    async fn one_change(&mut self) {
        match &mut self.watcher {
            Some(watcher) => match watcher.next().await {
                Some(Ok(event)) => tracing::debug!(?event, "an interface has changed"),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the system no longer reports changes of interfaces");
                    self.watcher = None;
                }
                None => self.watcher = None,
            },
            None => std::future::pending().await,
        }
    }
}

impl Default for InterfaceWatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_reaches_itself() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(local_addresses().contains(&loopback));
        assert_eq!(source_towards("127.0.0.1:9".parse().expect("valid")), Some(loopback));
    }

    #[test]
    fn routes_have_both_ends_in_one_family() {
        let routes = default_routes();
        for (route, v4) in [(routes.v4, true), (routes.v6, false)] {
            let Some(route) = route else { continue };
            assert_eq!((route.gateway.is_ipv4(), route.local.is_ipv4()), (v4, v4), "{route:?}");
            assert!(!route.local.is_unspecified() && !route.local.is_loopback(), "{route:?}");
        }
    }

    #[test]
    fn only_link_local_addresses_carry_the_interface() {
        assert_eq!(scoped("fe80::1".parse().expect("valid"), 5351, 3).to_string(), "[fe80::1%3]:5351");
        assert_eq!(scoped("2a00::1".parse().expect("valid"), 5351, 3).to_string(), "[2a00::1]:5351");
        assert_eq!(scoped("10.0.0.1".parse().expect("valid"), 5351, 3).to_string(), "10.0.0.1:5351");
    }

    #[tokio::test]
    async fn a_watch_reports_the_addresses_there_are() {
        let mut watch = InterfaceWatch::new();
        if watch.watcher.is_some() {
            let first = tokio::time::timeout(std::time::Duration::from_secs(10), watch.changed()).await;
            first.expect("the loopback address is reported");
        }
    }
}
