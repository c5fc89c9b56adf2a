//! Content behind a callback of the user, the second kind of content source: chunks are asked for by index.
//! Not here: files ([`library`](super::library)).
//!
//! To be provable, content must be described before it is served. So it is read once from the start to the end when
//! it is first asked for, keeping the chaining state at every smallest piece boundary, of which the description takes
//! those that the length then calls for. Afterwards ranges are read again as they are requested.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use serde::Serialize;

use super::library::{ByteSource, Entry};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::ids::ContentKey;
use crate::base::limits;
use crate::content::description::Description;
use crate::content::layout::PieceLayout;
use crate::content::sha256::State;
use crate::wire::transfer::Span;

/// Serves content that is not a file of the host (`hostFileCallback` of the original package): returns the chunks from
/// `start_chunk` on, as many as it likes, or `None` behind the end and for unknown content.
pub type FileCallback = Arc<dyn Fn(CallbackRequest) -> BoxFuture<'static, Option<Vec<Bytes>>> + Send + Sync>;

/// What a [`FileCallback`] is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackRequest {
    /// The content id, or the hash in hex when it was asked for by hash.
    pub content_id: String,
    /// Index of the first wanted chunk.
    pub start_chunk: u64,
    /// Bytes per chunk; only the last chunk of a file may be shorter.
    pub chunk_size: u32,
    /// The hash, when known.
    pub sha256: Option<String>,
}

/// Reads and describes what the callback has for a key; `None` when that is nothing.
///
/// Errors: `InvalidArgument` when the callback returns chunks of a wrong size or never ends, `VerificationFailed` when
/// the content does not have the hash it was asked for by.
pub async fn describe(callback: FileCallback, key: &ContentKey, chunk_size: u32) -> Result<Option<Entry>> {
    let content = CallbackContent { callback, key: key.clone(), chunk_size };
    let mut states = Vec::new();
    let mut state = State::INITIAL;
    let mut pending = BytesMut::new();
    let mut length = 0u64;
    let mut next_chunk = 0u64;
    loop {
        let chunks = content.chunks(next_chunk).await;
        let Some(chunks) = chunks.filter(|chunks| !chunks.is_empty()) else { break };
        let mut last = false;
        for chunk in chunks {
            if last || chunk.len() > chunk_size as usize {
                return Err(Error::invalid("hostFileCallback", "only the last chunk may be shorter than chunkSize"));
            }
            last = chunk.len() < chunk_size as usize;
            length += chunk.len() as u64;
            next_chunk += 1;
            if next_chunk > limits::MAX_CALLBACK_CHUNKS {
                return Err(Error::invalid("hostFileCallback", "returns chunks without end; return null behind it"));
            }
            pending.extend_from_slice(&chunk);
            while pending.len() > limits::MIN_PIECE_BYTES as usize {
                // Strictly more: the last piece, full or not, is finished below with its padding.
                state = state.compress(&pending.split_to(limits::MIN_PIECE_BYTES as usize));
                states.push(state);
            }
        }
        if last {
            break;
        }
    }
    if next_chunk == 0 {
        return Ok(None);
    }
    let whole_blocks = pending.len() / 64 * 64;
    let hash = state.compress(&pending[..whole_blocks]).finish(length, &pending[whole_blocks..]);
    if let ContentKey::Hash(wanted) = key
        && *wanted != hash
    {
        return Err(Error::new(
            ErrorKind::VerificationFailed,
            format!("hostFileCallback was asked for {wanted} and returned {hash}"),
        ));
    }
    let layout = PieceLayout::for_length(length)?;
    let step = (layout.piece_length() / limits::MIN_PIECE_BYTES) as usize;
    let chosen: Vec<State> = (1..layout.pieces() as usize).map(|boundary| states[boundary * step - 1]).collect();
    let description = Description::from_states(hash, layout, chosen)?;
    let reader = Arc::new(move |span| {
        let content = content.clone();
        Box::pin(async move { content.read(span).await }) as BoxFuture<'static, Result<Bytes>>
    });
    Ok(Some(Entry::complete(description, String::new(), ByteSource::Reader(reader))))
}

#[derive(Clone)]
struct CallbackContent {
    callback: FileCallback,
    key: ContentKey,
    chunk_size: u32,
}

impl CallbackContent {
    async fn chunks(&self, start_chunk: u64) -> Option<Vec<Bytes>> {
        let sha256 = match &self.key {
            ContentKey::Hash(hash) => Some(hash.to_string()),
            ContentKey::Id(_) => None,
        };
        let request =
            CallbackRequest { content_id: self.key.to_string(), start_chunk, chunk_size: self.chunk_size, sha256 };
        (self.callback)(request).await
    }

    async fn read(&self, span: Span) -> Result<Bytes> {
        let chunk_size = u64::from(self.chunk_size);
        let mut data = BytesMut::with_capacity(span.length as usize);
        let mut position = span.offset;
        while position < span.end() {
            let chunks = self.chunks(position / chunk_size).await.unwrap_or_default();
            let before = position;
            for (index, chunk) in chunks.iter().enumerate() {
                let start = (before / chunk_size + index as u64) * chunk_size;
                let from = position.saturating_sub(start).min(chunk.len() as u64);
                let to = span.end().saturating_sub(start).min(chunk.len() as u64);
                if from < to {
                    data.extend_from_slice(&chunk[from as usize..to as usize]);
                    position += to - from;
                }
            }
            if position == before {
                return Err(Error::new(
                    ErrorKind::FileChanged,
                    format!("hostFileCallback no longer returns byte {position} of {}", self.key),
                ));
            }
        }
        Ok(data.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::FileHash;

    fn serving(data: Vec<u8>, per_call: usize) -> FileCallback {
        Arc::new(move |request: CallbackRequest| {
            let chunks: Vec<Bytes> = data
                .chunks(request.chunk_size as usize)
                .skip(request.start_chunk as usize)
                .take(per_call)
                .map(Bytes::copy_from_slice)
                .collect();
            Box::pin(async move { (!chunks.is_empty()).then_some(chunks) })
        })
    }

    #[tokio::test]
    async fn content_is_described_and_read_like_a_file() {
        for length in [1, 64, 65_535, 65_536, 65_537, 131_072, 300_000] {
            let data: Vec<u8> = (0..length).map(|index| (index * 31 % 251) as u8).collect();
            let key = ContentKey::Hash(FileHash::of(&data));
            for (chunk_size, per_call) in [(1024, 3), (65_536, 1), (100_000, 2)] {
                let callback = serving(data.clone(), per_call);
                let entry = describe(callback.clone(), &key, chunk_size).await.expect("right").expect("known");
                assert_eq!(entry.description.hash(), FileHash::of(&data));
                let content = CallbackContent { callback, key: key.clone(), chunk_size };
                let span = Span { offset: length as u64 / 3, length: (length - length / 3).min(70_000) as u32 };
                let read = content.read(span).await.expect("inside");
                assert_eq!(read, data[span.offset as usize..span.end() as usize]);
            }
        }
    }

    #[tokio::test]
    async fn bad_callbacks_are_named() {
        let key: ContentKey = "film".parse().expect("valid");
        assert!(describe(serving(Vec::new(), 1), &key, 1024).await.expect("fine").is_none());
        let endless: FileCallback = Arc::new(|_| Box::pin(async { Some(vec![Bytes::from_static(&[0; 1024])]) }));
        let error = describe(endless, &key, 1024).await.err().expect("endless");
        assert!(error.context().contains("hostFileCallback"), "{error}");
        let short: FileCallback = Arc::new(|_| Box::pin(async { Some(vec![Bytes::from_static(b"a"); 2]) }));
        assert!(describe(short, &key, 1024).await.is_err());
        let other = ContentKey::Hash(FileHash::of(b"other"));
        let error = describe(serving(vec![1; 10], 1), &other, 1024).await.err().expect("wrong hash");
        assert_eq!(error.kind(), ErrorKind::VerificationFailed);
    }
}
