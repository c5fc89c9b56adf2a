//! Names of servers to addresses, with a deadline. Not here: which servers to ask.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::nat::stun::server::StunServer;

/// The addresses of one host, in the system's order of preference, at most [`limits::MAX_STUN_ADDRESSES_PER_NAME`] of
/// each family. `PeerUnreachable` if the name is unknown, `Timeout`. Cancel safe.
pub(crate) async fn addresses(host: &str, port: u16, deadline: Duration) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = tokio::time::timeout(deadline, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| Error::new(ErrorKind::Timeout, format!("look up {host}: no answer within {deadline:?}")))?
        .map_err(|cause| Error::with_source(ErrorKind::PeerUnreachable, format!("look up {host}"), cause))?;
    let (mut v4, mut v6) = (0, 0);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        let count = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        if *count < limits::MAX_STUN_ADDRESSES_PER_NAME && !addresses.contains(&address) {
            *count += 1;
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// The addresses of all servers, looked up at the same time; names that cannot be found are left out with a log line.
/// `Err` with the first problem if none is left.
pub(crate) async fn servers(servers: &[StunServer], deadline: Duration) -> Result<Vec<Vec<SocketAddr>>> {
    if servers.is_empty() {
        return Err(Error::invalid("stunServers", "at least one is needed"));
    }
    let named = servers.iter().take(limits::MAX_STUN_SERVERS);
    let looked_up = join_all(named.map(|server| addresses(&server.host, server.port, deadline))).await;
    let mut problem = None;
    let mut found = Vec::new();
    for result in looked_up {
        match result {
            Ok(addresses) => found.push(addresses),
            Err(error) => {
                tracing::debug!(error = %error.full_message(), "STUN server left out");
                problem.get_or_insert(error);
            }
        }
    }
    match problem {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}
