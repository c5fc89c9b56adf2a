//! Where this node says it can be reached: put together from its listening addresses, its router's ports, its NAT and
//! its relays, and kept up to date. Not here: telling others (`discovery`), and finding these out.

use std::net::{IpAddr, SocketAddr};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::base::limits;
use crate::base::options::NodeOptions;
use crate::discovery::candidate::host_and_port;
use crate::fabric::{Fabric, FabricEvent};
use crate::nat::ladder::OwnMapping;
use crate::nat::method::Transport;
use crate::nat::policy::{self, Refusal};
use crate::nat::profile::{Filtering, Mapping, NatProfile};

/// Everything it is put together from.
pub(super) struct Sources {
    pub fabric: Fabric,
    pub profile: watch::Receiver<Option<NatProfile>>,
    pub mappings: watch::Receiver<Vec<OwnMapping>>,
    /// Whether everybody who hears of us is in our own network.
    pub local_only: bool,
    /// Where the user says that this node is reached.
    pub external: Vec<String>,
}

/// The addresses that the options name.
pub(super) fn external(options: &NodeOptions, port: u16) -> Vec<String> {
    let Some(ip) = options.external_ip.as_deref().and_then(|ip| ip.parse().ok()) else { return Vec::new() };
    let at = SocketAddr::new(ip, if options.external_port == 0 { port } else { options.external_port });
    let transports = [(options.enable_tcp, Transport::Tcp), (options.enable_udp, Transport::Udp)];
    transports.into_iter().filter(|(enabled, _)| *enabled).map(|(_, transport)| multiaddr(at, transport)).collect()
}

/// What others are told.
pub(super) struct Announced {
    /// Multiaddrs without our id, best first.
    pub addresses: watch::Sender<Vec<String>>,
    /// Whether strangers can connect to us without help.
    pub reachable: watch::Sender<bool>,
}

impl Announced {
    /// Keeps both up to date until the node stops.
    pub(super) async fn keep(self, mut sources: Sources, stop: CancellationToken) {
        let mut events = sources.fabric.subscribe();
        loop {
            let (addresses, reachable) = sources.compose();
            self.addresses.send_if_modified(|old| std::mem::replace(old, addresses.clone()) != addresses);
            self.reachable.send_if_modified(|old| std::mem::replace(old, reachable) != reachable);
            let changed = async {
                loop {
                    tokio::select! {
                        event = events.next() => match event {
                            Some(
                                FabricEvent::ListenAddress(_)
                                | FabricEvent::ListenAddressLost(_)
                                | FabricEvent::Lagged(_),
                            ) => return true,
                            Some(_) => {}
                            None => return false,
                        },
                        Ok(()) = sources.profile.changed() => return true,
                        Ok(()) = sources.mappings.changed() => return true,
                    }
                }
            };
            if stop.run_until_cancelled(changed).await != Some(true) {
                return;
            }
        }
    }
}

impl Sources {
    /// The addresses, and whether strangers can use one of them without help.
    pub(super) fn compose(&mut self) -> (Vec<String>, bool) {
        let profile = self.profile.borrow_and_update().clone().unwrap_or_default();
        let mappings = self.mappings.borrow_and_update().clone();
        let own = format!("/p2p/{}", self.fabric.local_peer());
        let listening: Vec<String> = self.fabric.addresses();
        let listening = listening.iter().map(|text| text.strip_suffix(&own).unwrap_or(text).to_owned());
        let (circuits, direct): (Vec<String>, Vec<String>) = listening.partition(|text| text.contains("/p2p-circuit"));
        let mut addresses = self.external.clone();
        let mapped = mappings.iter().map(|mapping| mapping.external);
        addresses.extend(mapped.map(|external| multiaddr(external.address, external.transport)));
        addresses.extend(direct.into_iter().filter(|text| self.may_tell(text)));
        let mut reachable = self.local_only || !addresses.is_empty();
        // Without a forwarded port, a NAT that keeps our port for everybody is the next best.
        if let Some(seen) = profile.public_v4
            && profile.mapping == Some(Mapping::EndpointIndependent)
            && !self.local_only
        {
            reachable |= profile.filtering == Some(Filtering::EndpointIndependent);
            addresses.push(multiaddr(seen, Transport::Udp));
        }
        addresses.extend(circuits);
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        addresses.truncate(limits::MAX_ADDRESSES_PER_PEER);
        (addresses, reachable)
    }

    /// Private addresses mean nothing elsewhere, and nobody else needs to know them.
    fn may_tell(&self, text: &str) -> bool {
        let ip: Option<IpAddr> = host_and_port(text).and_then(|(host, _)| host.parse().ok());
        match ip.map(policy::judge) {
            Some(Ok(())) => true,
            Some(Err(Refusal::Loopback | Refusal::Private | Refusal::SharedNat)) => self.local_only,
            Some(Err(_)) | None => false,
        }
    }
}

fn multiaddr(at: SocketAddr, transport: Transport) -> String {
    let family = if at.is_ipv4() { "ip4" } else { "ip6" };
    match transport {
        Transport::Tcp => format!("/{family}/{}/tcp/{}", at.ip(), at.port()),
        Transport::Udp => format!("/{family}/{}/udp/{}/quic-v1", at.ip(), at.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::FabricConfig;
    use crate::nat::ladder::Target;
    use crate::nat::method::MappingProtocol;

    fn sources(fabric: &Fabric, profile: NatProfile, mappings: Vec<OwnMapping>, local_only: bool) -> Sources {
        let (profile, mappings) = (watch::channel(Some(profile)).1, watch::channel(mappings).1);
        Sources { fabric: fabric.clone(), profile, mappings, local_only, external: Vec::new() }
    }

    #[tokio::test]
    async fn only_what_helps_is_told() {
        let config = FabricConfig { interfaces: vec!["lo".to_owned()], ..FabricConfig::default() };
        let (fabric, _events) = Fabric::start(config).await.expect("started");
        let port = fabric.port();
        let at_home = sources(&fabric, NatProfile::default(), Vec::new(), true).compose();
        assert!(at_home.1 && at_home.0.contains(&format!("/ip4/127.0.0.1/tcp/{port}")), "{at_home:?}");
        assert_eq!(sources(&fabric, NatProfile::default(), Vec::new(), false).compose(), (Vec::new(), false));

        let seen: SocketAddr = "192.0.2.1:4000".parse().expect("an address");
        let mut nat = NatProfile { public_v4: Some(seen), ..NatProfile::default() };
        assert_eq!(sources(&fabric, nat.clone(), Vec::new(), false).compose(), (Vec::new(), false), "not known enough");
        nat.mapping = Some(Mapping::EndpointIndependent);
        let hint = "/ip4/192.0.2.1/udp/4000/quic-v1".to_owned();
        assert_eq!(sources(&fabric, nat.clone(), Vec::new(), false).compose(), (vec![hint.clone()], false));
        nat.filtering = Some(Filtering::EndpointIndependent);
        assert_eq!(sources(&fabric, nat.clone(), Vec::new(), false).compose(), (vec![hint.clone()], true));

        let external = Target { address: "192.0.2.1:5000".parse().expect("an address"), transport: Transport::Tcp };
        let mapping = OwnMapping { protocol: MappingProtocol::Pcp, external };
        let both = sources(&fabric, nat, vec![mapping], false).compose();
        assert_eq!(both, (vec!["/ip4/192.0.2.1/tcp/5000".to_owned(), hint], true));

        let options = |enable_tcp, external_port| NodeOptions {
            external_ip: Some("2001:db8::1".to_owned()),
            external_port,
            enable_tcp,
            ..NodeOptions::default()
        };
        let mut told = sources(&fabric, NatProfile::default(), Vec::new(), false);
        told.external = super::external(&options(false, 6000), fabric.port());
        assert_eq!(told.compose(), (vec!["/ip6/2001:db8::1/udp/6000/quic-v1".to_owned()], true));
        assert_eq!(super::external(&options(true, 0), 7)[0], "/ip6/2001:db8::1/tcp/7");
        assert!(super::external(&NodeOptions { external_ip: None, ..options(true, 5) }, 7).is_empty());
        fabric.shutdown().await;
    }
}
