//! `dig-nat relay`: a node that shares nothing and forwards bytes between peers that cannot reach each other, and a Gun
//! relay by which peers find each other. Not here: forwarding and its limits, which are the engine's.

use std::sync::Arc;

use dig_nat_core::api::FileHost;
use dig_nat_core::base::events::Event;
use dig_nat_core::base::options::HostOptions;
use dig_nat_core::gun::{GunRelay, GunRelayConfig};
use serde_json::json;

use crate::arguments::RelayArguments;
use crate::interrupt::Interrupt;
use crate::output;

/// Runs the command.
pub async fn run(arguments: RelayArguments, mut interrupt: Interrupt) -> anyhow::Result<()> {
    let json = arguments.output.json;
    let mut node = arguments.network.node_options();
    node.relay_server = true;
    node.bootstrap_nodes.clone_from(&arguments.bootstrap);
    node.persistence_dir.clone_from(&arguments.state);
    let host = FileHost::new(node, HostOptions::default())?;
    let mut events = host.subscribe();
    interrupt.unless("interrupted before the relay was ready", host.start()).await?;

    let gun = start_gun(&arguments).await;
    let gun = match gun {
        Ok(gun) => gun,
        Err(error) => {
            host.stop().await?;
            return Err(error.into());
        }
    };
    let forwarding = async {
        ready(&host, gun.as_deref(), json)?;
        while let Some(event) = events.next().await {
            show_event(&event, json)?;
        }
        anyhow::Ok(())
    };
    let result = tokio::select! {
        result = forwarding => result,
        () = interrupt.wait() => Ok(()),
    };
    if let Some(gun) = gun {
        gun.stop().await;
    }
    host.stop().await?;
    result
}

async fn start_gun(arguments: &RelayArguments) -> dig_nat_core::Result<Option<Arc<GunRelay>>> {
    let Some(listen) = arguments.gun else { return Ok(None) };
    let file = arguments.state.as_ref().map(|dir| dir.join("gun.json"));
    GunRelay::start(GunRelayConfig { listen, file, ..GunRelayConfig::default() }).await.map(Some)
}

/// Says where the relay is. Others need one of these addresses, with the peer id in it.
fn ready(host: &FileHost, gun: Option<&GunRelay>, json: bool) -> anyhow::Result<()> {
    let gun = gun.map(GunRelay::url);
    if json {
        let (id, port, addresses) = (host.peer_id(), host.port(), host.addresses());
        let record = json!({ "peerId": id, "port": port, "addresses": addresses, "gun": gun });
        return Ok(output::json("ready", &record)?);
    }
    for address in host.addresses() {
        output::line(&address)?;
    }
    if let Some(gun) = gun {
        output::line(&gun)?;
    }
    eprintln!("relaying on port {}; others use it with --relay ADDRESS; Ctrl-C stops", host.port());
    Ok(())
}

fn show_event(event: &Event, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(output::json_event(event)?);
    }
    match event {
        Event::PeerConnected { peer, address, .. } => eprintln!("connected: {peer} at {address}"),
        Event::PeerDisconnected { peer } => eprintln!("gone: {peer}"),
        Event::PortMapped { protocol, external, method, reachable, .. } => {
            let doubt = if *reachable { "" } else { ", but others may not reach it" };
            eprintln!("the router forwards {external} ({protocol}, by {method}) to this node{doubt}");
        }
        Event::PortLost { protocol, reason, .. } => eprintln!("the router forwards {protocol} no more: {reason}"),
        Event::Warning { error } => eprintln!("warning: {}\n  advice: {}", error.message, error.advice),
        _ => {}
    }
    Ok(())
}
