//! Frames on a stream: reading with the length checked before anything is allocated, writing in batches.
//! Not here: what frames mean.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::wire::reader::Malformed;
use crate::wire::transfer::{self, ClientFrame, ServerFrame};

/// A frame from a server.
#[derive(Debug)]
pub enum FromServer {
    /// Anything but file bytes.
    Control(ServerFrame),
    /// File bytes.
    Block {
        /// Position in the file.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
}

/// Reads the next frame of a server; `None` at the orderly end. Frames of later versions are skipped.
/// Not cancel safe. `before_block` is awaited between the header of a block and its bytes, which is where a download
/// limit holds the peer back.
pub async fn read_from_server<R, F>(stream: &mut R, before_block: impl Fn(u64) -> F) -> Result<Option<FromServer>>
where
    R: AsyncRead + Unpin,
    F: Future<Output = ()>,
{
    loop {
        let Some((kind, length)) = read_header(stream).await? else { return Ok(None) };
        if kind == transfer::DATA {
            let payload = length.checked_sub(8).ok_or_else(|| malformed(Malformed::Truncated))?;
            let mut offset = [0; 8];
            stream.read_exact(&mut offset).await.map_err(broken)?;
            before_block(payload as u64).await;
            let bytes = read_body(stream, payload).await?;
            return Ok(Some(FromServer::Block { offset: u64::from_be_bytes(offset), bytes }));
        }
        let body = read_body(stream, length).await?;
        if let Some(frame) = ServerFrame::decode(kind, body).map_err(malformed)? {
            return Ok(Some(FromServer::Control(frame)));
        }
    }
}

/// Reads the next frame of a requester; `None` at the orderly end. Frames of later versions are skipped.
/// Not cancel safe.
pub async fn read_from_client(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<ClientFrame>> {
    loop {
        let Some((kind, length)) = read_header(stream).await? else { return Ok(None) };
        let body = read_body(stream, length).await?;
        if let Some(frame) = ClientFrame::decode(kind, &body).map_err(malformed)? {
            return Ok(Some(frame));
        }
    }
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<(u8, usize)>> {
    let mut header = [0; transfer::HEADER_BYTES];
    let first = stream.read(&mut header).await.map_err(broken)?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[first..]).await.map_err(broken)?;
    transfer::decode_header(header).map(Some).map_err(malformed)
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Result<Bytes> {
    let mut body = BytesMut::zeroed(length);
    stream.read_exact(&mut body).await.map_err(broken)?;
    Ok(body.freeze())
}

fn malformed(error: Malformed) -> Error {
    Error::with_source(ErrorKind::Protocol, "a peer sent a frame that is not of the transfer protocol", error)
}

/// Writes everything, or fails when the peer takes nothing for [`limits::WRITE_TIMEOUT`]: one that asks and does not
/// read must not hold a stream, its memory and its file open.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<()> {
    write_within(limits::WRITE_TIMEOUT, stream, bytes).await
}

async fn write_within(limit: Duration, stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let written = within(limit, stream.write(bytes)).await?;
        if written == 0 {
            return Err(broken(io::ErrorKind::WriteZero.into()));
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Hands what was written to the transport, with the deadline of [`write`].
pub async fn flush(stream: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    within(limits::WRITE_TIMEOUT, stream.flush()).await
}

/// Ends the writing side, with the deadline of [`write`].
pub async fn close(stream: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
    within(limits::WRITE_TIMEOUT, stream.close()).await
}

async fn within<T>(limit: Duration, writing: impl Future<Output = io::Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, writing).await {
        Ok(result) => result.map_err(broken),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "the peer reads nothing")),
    }
}

fn broken(error: io::Error) -> Error {
    Error::with_source(ErrorKind::ConnectionClosed, "the transfer stream broke", error)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::io::Cursor;

    use super::*;
    use crate::wire::transfer::Span;

    #[tokio::test]
    async fn unknown_frames_are_skipped_and_the_end_is_seen() {
        let mut bytes = BytesMut::from(&[0, 0, 0, 3, 0x70, 1, 2][..]);
        let request = ClientFrame::Request(Span { offset: 1, length: 2 });
        request.encode(&mut bytes);
        let mut stream = Cursor::new(bytes.to_vec());
        assert_eq!(read_from_client(&mut stream).await.expect("valid"), Some(request));
        assert_eq!(read_from_client(&mut stream).await.expect("valid"), None);
    }

    /// Takes so many bytes, then nothing more.
    struct Stuck(usize);

    impl AsyncWrite for Stuck {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_peer_that_stops_reading_is_given_up() {
        let mut stuck = Stuck(10);
        let limit = Duration::from_millis(20);
        write_within(limit, &mut stuck, &[0; 10]).await.expect("there is room");
        let started = std::time::Instant::now();
        let error = write_within(limit, &mut stuck, &[0]).await.expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(started.elapsed() >= limit);
    }

    #[tokio::test]
    async fn huge_and_cut_frames_are_errors() {
        let mut huge = Cursor::new(vec![0xff, 0xff, 0xff, 0xff, 0x11]);
        assert_eq!(read_from_client(&mut huge).await.expect_err("too long").kind(), ErrorKind::Protocol);
        let mut cut = Cursor::new(vec![0, 0, 0, 13, 3, 0]);
        assert_eq!(read_from_client(&mut cut).await.expect_err("cut").kind(), ErrorKind::ConnectionClosed);
        let mut short_data = Cursor::new(vec![0, 0, 0, 2, 0x17, 0]);
        let result = read_from_server(&mut short_data, |_| std::future::ready(())).await;
        assert_eq!(result.expect_err("no offset").kind(), ErrorKind::Protocol);
    }
}
