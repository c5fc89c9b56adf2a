//! Hosts that break their word on `/dig/transfer/1`: false pieces, false descriptions, silence, hostile file names.
//! They run inside the test process, on the real fabric.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dig_nat_core::Result;
use dig_nat_core::base::ids::{FileHash, PeerId};
use dig_nat_core::content::description::{Describer, Description};
use dig_nat_core::fabric::{Fabric, FabricConfig, Stream};
use dig_nat_core::wire::transfer::{
    self, ClientFrame, GoneReason, HEADER_BYTES, Info, PROTOCOL, ServerFrame, Span, decode_header,
};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// What a host does wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing: it serves the file, under a name of the test's choice.
    Name(String),
    /// The description is right, the bytes are not.
    Pieces,
    /// The chaining states belong to another file of the same length, and so do the bytes.
    Description,
    /// Requests are accepted and never answered.
    Silence,
}

/// A running liar. It ends with the runtime or when dropped.
pub struct Liar {
    fabric: Fabric,
    task: JoinHandle<()>,
}

struct Served {
    hash: FileHash,
    content: Bytes,
    description: Description,
    lie: Lie,
}

impl Liar {
    /// Starts a host on the loopback interface that claims to have `content`, whose true hash it announces.
    pub async fn start(content: Bytes, lie: Lie) -> Result<Self> {
        let config =
            FabricConfig { interfaces: vec!["lo".to_owned()], protocols: vec![PROTOCOL], ..Default::default() };
        let (fabric, _events) = Fabric::start(config).await?;
        let mut incoming = fabric.accept(PROTOCOL)?;
        let served = Arc::new(Served::new(content, lie)?);
        let task = tokio::spawn(async move {
            while let Some((_link, stream)) = incoming.next().await {
                let served = Arc::clone(&served);
                // A stream that breaks is what a liar must expect.
                tokio::spawn(async move { drop(served.serve(stream).await) });
            }
        });
        Ok(Self { fabric, task })
    }

    /// Who it is.
    pub fn peer(&self) -> PeerId {
        self.fabric.local_peer()
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.fabric.port())
    }

    /// Closes everything.
    pub async fn stop(self) {
        self.task.abort();
        self.fabric.shutdown().await;
    }
}

impl Served {
    fn new(content: Bytes, lie: Lie) -> Result<Self> {
        let described = describe(&content)?;
        let hash = described.hash();
        let (content, description) = match lie {
            Lie::Description => {
                let other: Bytes = content.iter().map(|byte| !byte).collect();
                let claimed = describe(&other)?;
                // The states of another file under the wanted hash.
                let states = claimed.all_state_bytes().clone();
                (other, Description::from_state_bytes(hash, claimed.layout(), states)?)
            }
            _ => (content, described),
        };
        Ok(Self { hash, content, description, lie })
    }

    async fn serve(&self, mut stream: Stream) -> io::Result<()> {
        let mut out = BytesMut::new();
        while let Some(frame) = read_frame(&mut stream).await? {
            match frame {
                ClientFrame::Hello { key, .. } if key.lookup_key() == self.hash => {
                    ServerFrame::Info(self.info()).encode(&mut out);
                    ServerFrame::Unchoke.encode(&mut out);
                }
                ClientFrame::Hello { .. } => ServerFrame::Gone(GoneReason::Unknown).encode(&mut out),
                ClientFrame::GetStates { first, count } => {
                    let states = self.description.states_bytes(first, count).unwrap_or_default();
                    ServerFrame::States { first, states }.encode(&mut out);
                }
                ClientFrame::Request(span) => self.answer(span, &mut out),
                ClientFrame::Cancel(_) | ClientFrame::Peers(_) | ClientFrame::Own(_) => {}
            }
            if !out.is_empty() {
                stream.write_all(&out.split()).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    fn info(&self) -> Info {
        let layout = self.description.layout();
        let name = if let Lie::Name(name) = &self.lie { name.clone() } else { "liar.bin".to_owned() };
        Info {
            hash: self.hash,
            length: layout.length(),
            piece_length: layout.piece_length(),
            digest: self.description.digest(),
            complete: true,
            name,
        }
    }

    fn answer(&self, span: Span, out: &mut BytesMut) {
        let wanted = self.content.get(span.offset as usize..span.end() as usize);
        let Some(bytes) = wanted else { return ServerFrame::Reject(span).encode(out) };
        match self.lie {
            Lie::Silence => {}
            Lie::Pieces => {
                let mut bytes = bytes.to_vec();
                bytes[0] ^= 1;
                ServerFrame::Data { offset: span.offset, bytes: bytes.into() }.encode(out);
            }
            Lie::Name(_) | Lie::Description => {
                ServerFrame::Data { offset: span.offset, bytes: Bytes::copy_from_slice(bytes) }.encode(out);
            }
        }
    }
}

fn describe(content: &[u8]) -> Result<Description> {
    let mut describer = Describer::new(content.len() as u64)?;
    describer.update(content)?;
    describer.finish()
}

async fn read_frame(stream: &mut Stream) -> io::Result<Option<ClientFrame>> {
    loop {
        let mut header = [0; HEADER_BYTES];
        if let Err(error) = stream.read_exact(&mut header).await {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        let (kind, length) = decode_header(header).map_err(invalid)?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if let Some(frame) = transfer::ClientFrame::decode(kind, &body).map_err(invalid)? {
            return Ok(Some(frame));
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
