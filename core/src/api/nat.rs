//! Looking at the NAT in front of this machine without a node. Not here: what a node does about it (`reachability`).

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::options::{FromJson, NatOptions};
use crate::nat::mapping::Methods;
use crate::nat::mapping::external_address;
use crate::nat::mapping::reach::is_public;
use crate::nat::profile::NatProfile;
use crate::nat::stun::driver::{DetectConfig, detect, public_addresses};
use crate::nat::stun::server::StunServer;
use crate::net::interfaces::local_addresses;

/// Servers that are asked when none are named. Of three operators, so that no one of them has to be believed.
const DEFAULT_STUN_SERVERS: &[&str] =
    &["stun.l.google.com:19302", "stun.cloudflare.com:3478", "stun.nextcloud.com:3478"];

/// This machine's addresses as the internet sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PublicIps {
    /// IPv4, `None` when no server answered.
    pub ipv4: Option<IpAddr>,
    /// IPv6, `None` when no server answered or it was not asked for.
    pub ipv6: Option<IpAddr>,
}

/// The STUN servers to use: those named, or the well-known ones, or none on a node that keeps to itself.
pub(super) fn stun_servers(named: &[String], local_only: bool) -> Result<Vec<StunServer>> {
    let parse = |text: &str| {
        text.parse::<StunServer>().map_err(|cause| Error::with_source(ErrorKind::InvalidArgument, "stunServers", cause))
    };
    match (named.is_empty(), local_only) {
        (false, _) => named.iter().map(|text| parse(text)).collect(),
        (true, true) => Ok(Vec::new()),
        (true, false) => DEFAULT_STUN_SERVERS.iter().map(|text| parse(text)).collect(),
    }
}

/// Finds out what kind of NAT or firewall stands between this machine and the internet (RFC 5780, or by comparing what
/// several servers see). Takes at most `timeout`, usually less than a second. Dropping the task cancels it.
///
/// Errors: `InvalidArgument` for a bad server, or when there is none to ask; `PeerUnreachable` when no server answers.
/// A network that blocks UDP is a result, not an error.
pub fn detect_nat_type(options: NatOptions) -> Task<NatProfile> {
    Task::spawn(async move |cancel| {
        let config = config(&options)?;
        if config.servers.is_empty() {
            return Err(Error::invalid("stunServers", "none is named, and localOnly forbids asking the public ones"));
        }
        detect(config, cancel).await
    })
}

/// This machine's public addresses: what the router says (PCP, NAT-PMP), else STUN servers, else its interfaces. What
/// cannot be found out is `None`, not an error. Takes at most `timeout`. Dropping the task cancels it.
///
/// Errors: `InvalidArgument` for a bad server.
pub fn discover_public_ips(options: NatOptions) -> Task<PublicIps> {
    Task::spawn(async move |cancel| {
        let config = config(&options)?;
        tokio::select! {
            found = look_for_addresses(&options, config) => Ok(found),
            () = cancel.cancelled() => {
                Err(Error::new(ErrorKind::Cancelled, "the search for public addresses was cancelled"))
            }
        }
    })
}

/// The router is believed before servers, if what it says can be true; servers before our own interfaces.
async fn look_for_addresses(options: &NatOptions, config: DetectConfig) -> PublicIps {
    let methods = Methods { upnp: false, pcp: true, nat_pmp: true };
    let router = async {
        if options.use_natpmp && !options.local_only { external_address(methods, config.total).await } else { None }
    };
    let (seen, router) = tokio::join!(public_addresses(&config), router);
    let own = local_addresses();
    let own = |v4: bool| own.iter().copied().find(|address| address.is_ipv4() == v4 && is_public(*address));
    PublicIps {
        ipv4: router.filter(|address| is_public(*address)).or(seen.v4).or_else(|| own(true)),
        ipv6: if options.enable_ipv6 { seen.v6.or_else(|| own(false)) } else { None },
    }
}

fn config(options: &NatOptions) -> Result<DetectConfig> {
    options.validate()?;
    let mut config = DetectConfig::new(stun_servers(&options.stun_servers, options.local_only)?);
    config.ipv6 = options.enable_ipv6;
    config.total = Duration::from_millis(options.timeout_ms);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_only_asks_nobody_that_was_not_named() {
        assert!(stun_servers(&[], true).expect("none").is_empty());
        assert_eq!(stun_servers(&[], false).expect("well known").len(), DEFAULT_STUN_SERVERS.len());
        assert_eq!(stun_servers(&["127.0.0.1:9".into()], true).expect("named").len(), 1);
        let error = stun_servers(&["turn:nonsense:x".into()], true).expect_err("not a STUN server");
        assert!(error.to_string().contains("stunServers"), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_asked_where_nobody_may_be() {
        let options = NatOptions { local_only: true, ..NatOptions::default() };
        let error = detect_nat_type(options.clone()).wait().await.expect_err("nobody to ask");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(discover_public_ips(options).wait().await.expect("not an error"), PublicIps::default());
    }
}
