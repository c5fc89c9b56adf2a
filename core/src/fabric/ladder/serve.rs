//! Our part in the ladders of others: says where we are, dials back, punches and runs ICE along. Not here: our own
//! ladders (`climb`).

use std::sync::Arc;

use libp2p::Multiaddr;

use super::Shared;
use super::histories::Kind;
use super::request::{self, Address, DialledBack, Request};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::fabric::{address, dial};
use crate::nat::ice::Role;
use crate::nat::ladder::Opening;
use crate::nat::method::Transport;
use crate::nat::policy::Origin;
use crate::nat::punch::Side;
use crate::nat::signal::Signal;

/// Answers one request of a peer. Gives whose it was.
pub async fn serve(shared: Arc<Shared>, peer: PeerId, mut signal: Box<dyn Signal>) -> PeerId {
    let work = answer(&shared, &peer, &mut *signal);
    let limited = tokio::time::timeout(limits::MEETING_TIMEOUT, work);
    match limited.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, error = %error.full_message(), "meeting a peer"),
        Err(_) => tracing::debug!(%peer, "meeting a peer took too long"),
    }
    peer
}

async fn answer(shared: &Arc<Shared>, peer: &PeerId, signal: &mut dyn Signal) -> Result<()> {
    let late = |_| Error::new(ErrorKind::Timeout, "nothing was asked");
    let asked = tokio::time::timeout(limits::PUNCH_SIGNAL_TIMEOUT, signal.receive()).await.map_err(late)??;
    match request::decode(&asked)? {
        Request::Describe(theirs) => {
            // A ladder of the peer begins; what failed before may work where it is now.
            shared.histories.forget(peer);
            let ours = shared.description();
            signal.send(request::encode(&ours)?).await?;
            // If it can dial us at once, it does as soon as it has read that.
            let policy = shared.policy(peer);
            let opening = Opening::of_answerer(&ours.profile, &theirs.profile, shared.config.ipv6, &policy);
            shared.open_ways(&opening.open).await;
            Ok(())
        }
        Request::DialBack { targets } => {
            let error = dial_back(shared, peer, &targets).await.err();
            signal.send(request::encode(&DialledBack { error })?).await
        }
        Request::PunchUdp => punch(shared, peer, Kind::Udp, signal).await,
        Request::PunchTcp => punch(shared, peer, Kind::Tcp, signal).await,
        Request::GunRelay(key) => shared.join_passage(peer, &key, signal).await,
        Request::Ice => {
            lead_or_follow(shared, peer)?;
            let role = Role::Controlled;
            shared.run_ice(peer, role, true, limits::RELAY_RUNG_TIMEOUT, signal).await.map(|_| ())
        }
    }
}

/// Dials what the peer names, as far as strangers' addresses may be dialled at all.
async fn dial_back(shared: &Shared, peer: &PeerId, targets: &[Address]) -> Result<(), String> {
    let policy = shared.policy(peer);
    let mut addresses: Vec<Multiaddr> = Vec::new();
    for target in targets.iter().take(limits::MAX_DIAL_ADDRESSES) {
        policy.check(target.at, Origin::Remote).map_err(|refusal| format!("{}: {refusal}", target.at))?;
        addresses.push(match target.transport {
            Transport::Tcp => address::tcp(target.at),
            Transport::Udp => address::quic(target.at),
        });
    }
    let dialled = dial::reach(&shared.fabric.inner, peer, addresses, limits::DIAL_RUNG_TIMEOUT).await;
    dialled.map(|_| ()).map_err(|(_, reason)| reason)
}

async fn punch(shared: &Arc<Shared>, peer: &PeerId, kind: Kind, signal: &mut dyn Signal) -> Result<()> {
    lead_or_follow(shared, peer)?;
    let Some(mut held) = shared.histories.take(peer, kind) else {
        return Err(Error::new(ErrorKind::InvalidState, "already punching to this peer"));
    };
    let (side, cancel) = (Side::Responder, shared.stop.child_token());
    shared.punch(peer, kind, side, &mut held.history, signal, &cancel).await.map(|_| ())
}

/// Two ladders to each other would disturb each other: the one of the smaller id leads.
fn lead_or_follow(shared: &Shared, peer: &PeerId) -> Result<()> {
    if shared.is_climbing_to(peer) && shared.fabric.local_peer().as_str() < peer.as_str() {
        return Err(Error::new(ErrorKind::InvalidState, "our own ladder to this peer leads"));
    }
    Ok(())
}
