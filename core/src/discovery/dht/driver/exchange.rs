//! Reaching nodes: requests and their answers, announcements, and entering the network. Not here: inbound streams
//! (`serve`).

use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::announce::Provide;
use super::super::contact::{Contact, scope_of, socket};
use super::super::key::Node;
use super::super::message::{Message, frame_length};
use super::{Shared, records, texts};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::PeerId;
use crate::base::limits;
use crate::fabric::{Fabric, Link, Stream, address_to_bytes};
use crate::nat::policy::Scope;

/// How near the other end of a link is.
pub fn scope(link: &Link) -> Scope {
    // Behind a relay, anybody may be.
    let at = (!link.relayed).then(|| address_to_bytes(&link.address)).flatten();
    at.and_then(|address| socket(&address)).map_or(Scope::Internet, |socket| scope_of(socket.ip()))
}

/// A peer that we have a link to, at the addresses that it says to have, as far as somebody so near may have them.
pub fn contact_of(fabric: &Fabric, peer: &PeerId, addresses: &[String]) -> Option<Contact> {
    let links: Vec<Link> = fabric.links().into_iter().filter(|link| link.peer == *peer).collect();
    let near = links.iter().map(scope).max()?;
    // Where we have reached it ourselves, it can be reached.
    let dialled = links.iter().filter(|link| link.outbound && !link.relayed).map(|link| &link.address);
    let mut bytes: Vec<Vec<u8>> = dialled.chain(addresses).filter_map(|text| address_to_bytes(text)).collect();
    let mut seen = std::collections::HashSet::new();
    bytes.retain(|address| seen.insert(address.clone()));
    Some(Contact::new(Node::from_peer(peer)?, bytes).within(near))
}

/// Reaches an entry of the bootstrap list.
pub async fn enter(shared: &Shared, entry: &str) -> Result<()> {
    let link = shared.fabric.dial(entry, limits::DIAL_TIMEOUT).await?;
    if let Some(contact) = contact_of(&shared.fabric, &link.peer, &[link.address]) {
        shared.change(|state, now| state.machine.heard(now, &contact));
    }
    Ok(())
}

/// Asks and hands the answer to the machine.
pub async fn ask(shared: &Shared, request: u64, to: &Contact, message: &Message) {
    let asking = async {
        let mut stream = open(shared, to).await?;
        write(&mut stream, message).await?;
        let answer = read(&mut stream).await?;
        let near = scope(stream.link());
        // The answer is whole; whether the end of the stream arrives does not matter.
        let _ = stream.close().await;
        Ok::<_, Error>((answer, near))
    };
    let outcome = timeout(limits::DHT_REQUEST, asking).await;
    match outcome {
        Ok(Ok((Some(mut answer), near))) => {
            records::verify_answer(&mut answer, &message.key, shared.placement);
            shared.change(|state, now| state.machine.response(now, request, &answer, near));
        }
        other => {
            if let Ok(Err(error)) = other {
                tracing::debug!(peer = %to.node.peer(), error = %error.full_message(), "no answer");
            }
            let is_gone = shared.fabric.is_refused(&to.node.peer());
            shared.change(
                |state, now| {
                    if is_gone { state.machine.gone(now, request) } else { state.machine.failed(now, request) }
                },
            );
        }
    }
}

/// Announces keys to a node.
pub async fn provide(shared: &Shared, provide: Provide) {
    let Ok(_place) = shared.announcing.acquire().await else { return };
    let announcing = async {
        let mut stream = open(shared, &provide.to).await?;
        let near = scope(stream.link());
        for message in records::announcements(&shared.own, &shared.node, shared.placement, &provide, near) {
            write(&mut stream, &message).await?;
        }
        // Nothing comes; but some nodes lose what arrives together with the end of its stream.
        let _ = timeout(limits::DHT_LINGER, stream.read(&mut [0])).await;
        let _ = stream.close().await;
        Ok::<_, Error>(())
    };
    if let Ok(Err(error)) = timeout(limits::DHT_REQUEST, announcing).await {
        tracing::debug!(peer = %provide.to.node.peer(), error = %error.full_message(), "not announced");
    }
}

async fn open(shared: &Shared, to: &Contact) -> Result<Stream> {
    let peer = to.node.peer();
    let fabric = &shared.fabric;
    if !fabric.links().iter().any(|link| link.peer == peer) {
        fabric.add_addresses(&peer, &texts(to));
        fabric.connect(&peer).await?;
    }
    fabric.open(&peer, shared.protocol).await
}

/// Writes a message with its length.
pub async fn write(stream: &mut Stream, message: &Message) -> Result<()> {
    let failed = |cause| Error::io("write to a node of the DHT", cause);
    stream.write_all(&message.frame()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)
}

/// Reads a message; `None` at the end of the stream. `Protocol` for what is none.
pub async fn read(stream: &mut Stream) -> Result<Option<Message>> {
    let failed = |cause| Error::io("read from a node of the DHT", cause);
    let bad = |cause| Error::with_source(ErrorKind::Protocol, "a message of the DHT", cause);
    let mut header = Vec::with_capacity(3);
    let length = loop {
        let mut byte = [0];
        if stream.read(&mut byte).await.map_err(failed)? == 0 {
            return Ok(None);
        }
        header.push(byte[0]);
        let length = frame_length(&header).map_err(bad)?;
        if let Some((_, length)) = length {
            break length;
        }
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(failed)?;
    Message::decode(&body).map(Some).map_err(bad)
}
