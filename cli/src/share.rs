//! `dig-nat share`: hashes files, prints their hashes and this node's addresses, and serves until it is told to stop.

use dig_nat_core::api::{EventStream, FileHost, FileInfo};
use dig_nat_core::base::error::Error;
use dig_nat_core::base::events::Event;
use dig_nat_core::base::options::{AddFileOptions, HostOptions, WatchOptions};
use serde_json::json;

use crate::arguments::ShareArguments;
use crate::doctor;
use crate::interrupt::Interrupt;
use crate::output;
use crate::units;
use crate::view::HashingView;

const STOPPED_EARLY: &str = "interrupted before everything was shared";

/// Runs the command.
pub async fn run(arguments: ShareArguments, mut interrupt: Interrupt) -> anyhow::Result<()> {
    check_id(&arguments)?;
    let json = arguments.output.json;
    let mut node = arguments.network.node_options();
    arguments.discovery.add_to(&mut node);
    arguments.reach.add_to(&mut node);
    node.upload_limit = arguments.upload_limit.unwrap_or(node.upload_limit);
    node.persistence_dir.clone_from(&arguments.state);
    let host = FileHost::new(node, HostOptions::default())?;
    let mut events = host.subscribe();
    interrupt.unless(STOPPED_EARLY, host.start()).await?;

    let result = share(&host, &arguments, &mut events, &mut interrupt).await;
    if result.is_ok() && !json {
        eprintln!("stopping");
    }
    host.stop().await?;
    result
}

async fn share(
    host: &FileHost,
    arguments: &ShareArguments,
    events: &mut EventStream,
    interrupt: &mut Interrupt,
) -> anyhow::Result<()> {
    let json = arguments.output.json;
    let mut view = HashingView::new(json);
    let files = {
        let mut adding = std::pin::pin!(interrupt.unless(STOPPED_EARLY, add_all(host, arguments)));
        loop {
            tokio::select! {
                biased;
                Some(event) = events.next() => view.show(&event)?,
                result = &mut adding => break result,
            }
        }
    };
    view.finish();
    for file in files? {
        print_file(&file, json)?;
    }
    ready(host, json)?;
    loop {
        tokio::select! {
            Some(event) = events.next() => show_event(&event, json, arguments.watch)?,
            () = interrupt.wait() => return Ok(()),
        }
    }
}

fn check_id(arguments: &ShareArguments) -> Result<(), Error> {
    let one_file = arguments.paths.len() == 1 && !arguments.paths[0].is_dir();
    if arguments.id.is_some() && !one_file {
        return Err(Error::invalid("--id", "a content id belongs to exactly one file"));
    }
    if arguments.watch && !arguments.paths.iter().any(|path| path.is_dir()) {
        return Err(Error::invalid("--watch", "there is no directory to follow"));
    }
    Ok(())
}

async fn add_all(host: &FileHost, arguments: &ShareArguments) -> dig_nat_core::Result<Vec<FileInfo>> {
    let mut files = Vec::new();
    for path in &arguments.paths {
        if path.is_dir() && arguments.watch {
            files.extend(host.watch_directory(path, WatchOptions::default()).wait().await?);
        } else if path.is_dir() {
            files.extend(host.add_directory(path).wait().await?);
        } else {
            let options = AddFileOptions { content_id: arguments.id.clone(), ..AddFileOptions::default() };
            files.push(host.add_file(path, options).wait().await?);
        }
    }
    Ok(files)
}

fn print_file(file: &FileInfo, json: bool) -> std::io::Result<()> {
    if json {
        output::json("shared", file)
    } else {
        output::line(&format!("{} {} {}", file.hash, file.size, file.path.display()))
    }
}

/// Says that everything is shared, and where.
fn ready(host: &FileHost, json: bool) -> anyhow::Result<()> {
    if json {
        let record = json!({
            "peerId": host.peer_id(),
            "hostId": host.host_id(),
            "port": host.port(),
            "addresses": host.addresses(),
        });
        return Ok(output::json("ready", &record)?);
    }
    for address in host.addresses() {
        output::line(&address)?;
    }
    let files = host.files();
    let bytes = files.iter().map(|file| file.size).sum();
    let noun = if files.len() == 1 { "file" } else { "files" };
    eprintln!("sharing {} {noun} ({}) on port {}; Ctrl-C stops", files.len(), units::size(bytes), host.port());
    Ok(())
}

fn show_event(event: &Event, json: bool, watch: bool) -> anyhow::Result<()> {
    if json {
        return Ok(output::json_event(event)?);
    }
    match event {
        Event::PeerConnected { peer, address, .. } => eprintln!("connected: {peer} at {address}"),
        Event::PeerDisconnected { peer } => eprintln!("gone: {peer}"),
        // Like the addresses of `ready`: something to hand on.
        Event::RelayReserved { address } => output::line(address)?,
        Event::RelayLost { address } => eprintln!("not reachable any more by {address}"),
        Event::NatDetected { nat_type, .. } => eprintln!("NAT: {}", doctor::meaning(nat_type)),
        // In the form of those shared at the start.
        Event::FileAdded { hash, path, size, .. } if watch => output::line(&format!("{hash} {size} {path}"))?,
        Event::FileRemoved { path, .. } if watch => eprintln!("removed and not shared any more: {path}"),
        Event::FileChanged { path, .. } if !watch => eprintln!("changed on disk and not shared any more: {path}"),
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
