//! `dig-nat relay`: a node that shares nothing and forwards bytes between peers that cannot reach each other.
//! Not here: forwarding and its limits, which are the engine's.

use dig_nat_core::api::FileHost;
use dig_nat_core::base::events::Event;
use dig_nat_core::base::options::HostOptions;
use serde_json::json;

use crate::arguments::RelayArguments;
use crate::interrupt::Interrupt;
use crate::output;

/// Runs the command.
pub async fn run(arguments: RelayArguments, mut interrupt: Interrupt) -> anyhow::Result<()> {
    let json = arguments.output.json;
    let mut node = arguments.network.node_options();
    node.relay_server = true;
    node.persistence_dir.clone_from(&arguments.state);
    let host = FileHost::new(node, HostOptions::default())?;
    let mut events = host.subscribe();
    interrupt.unless("interrupted before the relay was ready", host.start()).await?;

    let forwarding = async {
        ready(&host, json)?;
        while let Some(event) = events.next().await {
            show_event(&event, json)?;
        }
        anyhow::Ok(())
    };
    let result = tokio::select! {
        result = forwarding => result,
        () = interrupt.wait() => Ok(()),
    };
    host.stop().await?;
    result
}

/// Says where the relay is. Others need one of these addresses, with the peer id in it.
fn ready(host: &FileHost, json: bool) -> anyhow::Result<()> {
    if json {
        let record = json!({ "peerId": host.peer_id(), "port": host.port(), "addresses": host.addresses() });
        return Ok(output::json("ready", &record)?);
    }
    for address in host.addresses() {
        output::line(&address)?;
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
