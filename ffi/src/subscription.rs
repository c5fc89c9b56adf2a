//! `DigNatSubscription`: the events of a host, client or manager, pulled or pushed.
//! Not here: what events there are, which is `dig_nat_core::base::events`.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dig_nat_core::api::EventStream;
use dig_nat_core::{Error, ErrorKind};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::argument::{c_string, out};
use crate::dispatcher::inside_callback;
use crate::edge::{Failure, edge, value_edge};
use crate::error::{DigNatError, DigNatStatus};
use crate::handles::{self, Handle};
use crate::library::string;
use crate::runtime::Runtime;
use crate::task::{DIG_NAT_WAIT_FOREVER, User};

/// A subscription to the events of a host, client or manager; freeing it unsubscribes.
pub struct DigNatSubscription {
    _opaque: [u8; 0],
}

/// Called with each event as a JSON object with a field `type` ("started", "peer:connected", ...). The text belongs to
/// the library and is valid during the call. `user` is what was given with the callback.
pub type DigNatEventFn = Option<unsafe extern "C" fn(user: *mut c_void, event_json: *const c_char)>;

impl Handle for DigNatSubscription {
    type Object = Subscription;
    const NAME: &'static str = "subscription";
}

/// What a `DigNatSubscription` stands for.
pub(crate) struct Subscription {
    runtime: Arc<Runtime>,
    /// Events are pulled from here; taken for the time of a call. `None` for good when events are pushed.
    stream: Arc<Mutex<Option<EventStream>>>,
    pushed: Option<Arc<Push>>,
    ended: CancellationToken,
}

/// A subscription with a callback.
struct Push {
    callback: DigNatEventFn,
    user: User,
    gate: Mutex<Gate>,
    left: Condvar,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    inside: bool,
}

pub(crate) unsafe fn subscribe(
    runtime: &Arc<Runtime>,
    stream: EventStream,
    callback: DigNatEventFn,
    user: *mut c_void,
    subscription: *mut *mut DigNatSubscription,
) -> Result<(), Failure> {
    // SAFETY: an out pointer by contract.
    let subscription = unsafe { out(subscription, "subscription") }?;
    runtime.check_open()?;
    let ended = CancellationToken::new();
    let (stream, pushed) = if callback.is_some() {
        let push = Arc::new(Push { callback, user: User(user), gate: Mutex::default(), left: Condvar::new() });
        let pump = pump(Arc::downgrade(runtime), stream, Arc::clone(&push));
        runtime.handle.spawn(ended.clone().run_until_cancelled_owned(pump));
        (None, Some(push))
    } else {
        (Some(stream), None)
    };
    let object = Subscription { runtime: Arc::clone(runtime), stream: Arc::new(Mutex::new(stream)), pushed, ended };
    // SAFETY: `out` has checked it.
    unsafe { subscription.write(handles::put(Arc::new(object))) };
    Ok(())
}

/// Takes one event at a time to the callback thread, so that a slow callback makes the stream lag and nothing else.
async fn pump(runtime: std::sync::Weak<Runtime>, mut stream: EventStream, push: Arc<Push>) {
    while let Some(event) = stream.next().await {
        let text = c_string(serde_json::to_string(&event).expect("events have a JSON form"));
        let (done, called) = oneshot::channel();
        let Some(runtime) = runtime.upgrade() else { return };
        let push = Arc::clone(&push);
        runtime.dispatcher.post(move || {
            push.call(&text);
            // The pump may have been ended meanwhile.
            let _ = done.send(());
        });
        drop(runtime);
        if called.await.is_err() {
            return;
        }
    }
}

impl Push {
    fn call(&self, text: &CString) {
        let mut gate = self.gate();
        if gate.closed {
            return;
        }
        gate.inside = true;
        drop(gate);
        if let Some(callback) = self.callback {
            // SAFETY: the user's function, called as documented.
            unsafe { callback(self.user.0, text.as_ptr()) };
        }
        self.gate().inside = false;
        self.left.notify_all();
    }

    /// No call begins after this, and none is running, except the one this is called from.
    fn close(&self) {
        let mut gate = self.gate();
        gate.closed = true;
        while gate.inside && !inside_callback() {
            gate = self.left.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next event of a subscription made without a callback, as a JSON object in `event_json`, to be freed with
/// dig_nat_string_free. DIG_NAT_STATUS_TIMEOUT when none came in `timeout_ms` (or DIG_NAT_WAIT_FOREVER), and
/// DIG_NAT_STATUS_INVALID_STATE when there will be no more, in a callback, and while another thread waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_subscription_next(
    subscription: *const DigNatSubscription,
    timeout_ms: u32,
    event_json: *mut *mut c_char,
    error: *mut *mut DigNatError,
) -> DigNatStatus {
    // SAFETY: out pointers by contract.
    unsafe {
        edge(error, || {
            let event_json = out(event_json, "event_json")?;
            let subscription = handles::get(subscription)?;
            event_json.write(string(subscription.next(timeout_ms)?));
            Ok(())
        })
    }
}

/// Unsubscribes. When it returns, the callback is not running and will not be called again, unless it is called from
/// that callback itself. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dig_nat_subscription_free(subscription: *mut DigNatSubscription) {
    value_edge((), || {
        let Some(subscription) = handles::take(subscription.cast_const()) else { return Ok(()) };
        subscription.ended.cancel();
        if let Some(push) = &subscription.pushed {
            push.close();
        }
        Ok(())
    });
}

impl Subscription {
    fn next(&self, timeout_ms: u32) -> Result<String, Error> {
        let state = |text: &str| Error::new(ErrorKind::InvalidState, text);
        if inside_callback() {
            return Err(state("a callback must not wait for an event"));
        }
        if self.pushed.is_some() {
            return Err(state("this subscription has a callback"));
        }
        self.runtime.check_open()?;
        let limit = match timeout_ms {
            // A year: longer than any program waits, and far from overflow.
            DIG_NAT_WAIT_FOREVER => Duration::from_secs(365 * 24 * 3600),
            other => Duration::from_millis(other.into()),
        };
        let mut stream = self.slot().take().ok_or_else(|| state("another thread waits for this subscription"))?;
        // The stream is brought back by the waiting future itself, so an event is never lost to a time-out.
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let (slot, ended) = (Arc::clone(&self.stream), self.ended.clone());
        self.runtime.handle.spawn(async move {
            let event = tokio::select! {
                event = tokio::time::timeout(limit, stream.next()) => event,
                () = ended.cancelled() => Ok(None),
            };
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
            // The waiting thread is there until it has received.
            let _ = send.send(event);
        });
        match receive.recv() {
            Ok(Ok(Some(event))) => Ok(serde_json::to_string(&event).expect("events have a JSON form")),
            Ok(Err(_)) => Err(Error::new(ErrorKind::Timeout, format!("no event in {timeout_ms} ms"))),
            Ok(Ok(None)) => Err(state("there will be no more events")),
            Err(_) => Err(state("the runtime was freed")),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<EventStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
