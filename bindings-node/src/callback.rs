//! Calls from the engine's threads into JavaScript. Every function is weak: it never keeps the process alive.

use dig_nat_core::api::{EventStream, FileCallback, ProgressFn};
use napi::Status;
use napi::bindgen_prelude::{Buffer, Promise, spawn};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};

use crate::json;

/// Progress records that may wait for a busy JavaScript thread. At 20 a second this is more than 3 seconds; what does
/// not fit is left out, and the JavaScript side makes up the last one from the result.
const PROGRESS_QUEUE: usize = 64;

/// Receives progress records as JSON.
pub(crate) type ProgressFunction = ThreadsafeFunction<String, (), String, Status, false, true, PROGRESS_QUEUE>;

/// Receives events as JSON, one after the other.
pub(crate) type EventFunction = ThreadsafeFunction<String, (), String, Status, false, true>;

/// Receives requests for content as JSON and answers with chunks.
pub(crate) type ContentFunction = ThreadsafeFunction<String, Promise<Option<Vec<Buffer>>>, String, Status, false, true>;

/// The progress callback of a download.
pub(crate) fn progress(function: Option<ProgressFunction>) -> Option<ProgressFn> {
    let function = function?;
    Some(std::sync::Arc::new(move |progress| {
        if let Ok(text) = json::text(progress) {
            function.call(text, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }))
}

/// Hands events over until the node is gone. The next one is taken when JavaScript has returned, so the only queue is
/// core's bounded one, which reports what it leaves out.
pub(crate) fn pump_events(mut events: EventStream, function: EventFunction) {
    spawn(async move {
        while let Some(event) = events.next().await {
            let Ok(text) = json::text(&event) else { continue };
            if function.call_async_catch(text).await.is_err() {
                // Only a closing environment fails: the JavaScript side catches what listeners throw.
                return;
            }
        }
    });
}

/// The `hostFileCallback`. Whatever goes wrong in it counts as unknown content; `lib/host.js` reports the cause.
pub(crate) fn content(function: ContentFunction) -> FileCallback {
    let function = std::sync::Arc::new(function);
    std::sync::Arc::new(move |request| {
        let function = function.clone();
        Box::pin(async move {
            let text = json::text(&request).ok()?;
            let chunks = function.call_async_catch(text).await.ok()?.await.ok()??;
            // Copied, because JavaScript may go on writing into its buffers.
            Some(chunks.iter().map(|chunk| bytes::Bytes::copy_from_slice(chunk)).collect())
        })
    })
}
