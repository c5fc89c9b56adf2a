//! Runs the search for the lifetime of mappings with real sockets. Takes minutes; nothing starts it by itself. Not
//! here: the search.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::detect;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::random::Jitter;
use crate::nat::stun::behaviour::lifetime::{Lifetime, Output};
use crate::net::clock::Clock;
use crate::net::udp::UdpPort;

/// Finds out how long an idle UDP mapping lives, up to `most`, to `precision`. `None` if the server cannot help.
/// `AddressInUse` and other socket errors, `Cancelled`. Cancel safe.
pub async fn measure_lifetime(
    server: SocketAddr,
    most: Duration,
    precision: Duration,
    cancel: CancellationToken,
) -> Result<Option<Duration>> {
    tokio::select! {
        result = search(server, most, precision) => result,
        () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the search for the lifetime was cancelled")),
    }
}

async fn search(server: SocketAddr, most: Duration, precision: Duration) -> Result<Option<Duration>> {
    let fresh = || -> Result<Arc<UdpPort>> { UdpPort::bind(detect::unspecified(server.is_ipv4())) };
    let clock = Clock::start();
    let mut machine = Lifetime::new(clock.now(), server, most, precision, Jitter::from_seed(rand::random()));
    let mut first = fresh()?;
    let second = fresh()?;
    let mut first_route = first.route(|_, _| true)?;
    let mut second_route = second.route(|_, _| true)?;
    loop {
        while let Some(output) = machine.poll(clock.now()) {
            match output {
                Output::Renew => {
                    first = fresh()?;
                    first_route = first.route(|_, _| true)?;
                }
                Output::Send { second: from_second, to, bytes } => {
                    let port = if from_second { &second } else { &first };
                    // Lost datagrams are sent again.
                    let _ = port.send(&bytes, to).await;
                }
                Output::Done(result) => return Ok(result),
            }
        }
        tokio::select! {
            datagram = first_route.receive() => machine.handle(clock.now(), false, datagram.from, &datagram.bytes),
            datagram = second_route.receive() => machine.handle(clock.now(), true, datagram.from, &datagram.bytes),
            () = clock.sleep_until(machine.next_timeout()) => machine.handle_timeout(clock.now()),
            error = first.pump() => return Err(Error::io("read a UDP port", error)),
            error = second.pump() => return Err(Error::io("read a UDP port", error)),
        }
    }
}
