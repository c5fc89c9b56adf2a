//! Looking at the NAT in front of this machine without a node. Not here: what a node does about it (`reachability`).

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::task::Task;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::options::{FromJson, NatOptions};
use crate::nat::profile::NatProfile;
use crate::nat::stun::driver::{DetectConfig, detect, public_addresses};
use crate::nat::stun::server::StunServer;

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

/// Asks STUN servers for this machine's public addresses. What cannot be found out is `None`, not an error. Takes at
/// most `timeout`. Dropping the task cancels it.
///
/// Errors: `InvalidArgument` for a bad server.
pub fn discover_public_ips(options: NatOptions) -> Task<PublicIps> {
    Task::spawn(async move |cancel| {
        let config = config(&options)?;
        tokio::select! {
            found = public_addresses(&config) => Ok(PublicIps { ipv4: found.v4, ipv6: found.v6 }),
            () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the search for public addresses was cancelled")),
        }
    })
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
