//! How the two sides of a single way (hole punching, ICE) exchange messages: over what the program carries, its own Gun
//! database, or Gun relays. Not here: what they say.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::signalling::Signalling;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::limits;
use crate::fabric::carrier::{Meeting, leads};
use crate::gun::{GunBackend, GunClient, GunClientConfig};
use crate::nat::signal::Signal;

/// What carries the messages of one attempt.
pub enum SignalledBy {
    /// The Gun relays that the options name.
    Relays,
    /// The program.
    Program(Signalling),
    /// A Gun graph that the program has; it is not stopped.
    Gun(Arc<dyn GunBackend>),
}

impl From<Signalling> for SignalledBy {
    fn from(signalling: Signalling) -> Self {
        Self::Program(signalling)
    }
}

/// Who meets, and where if it is at relays.
pub(super) struct Names<'a> {
    pub local: Option<&'a str>,
    pub remote: Option<&'a str>,
    pub key: Option<&'a str>,
    pub relays: &'a [String],
}

/// Two sides that can talk.
pub(super) struct Met {
    /// Dropped before the rest.
    pub signal: Box<dyn Signal>,
    _ending: Option<Ending>,
}

impl Names<'_> {
    /// Whether our side begins. `InvalidArgument` when a name is missing or wrong.
    pub(super) fn leads(&self) -> Result<bool> {
        leads(self.local.unwrap_or_default(), self.remote.unwrap_or_default())
    }

    /// Waits for the peer. Errors: `InvalidArgument`, `PeerUnreachable` when it does not come in time.
    pub(super) async fn meet(&self, by: SignalledBy, patience: Duration) -> Result<Met> {
        let (backend, own) = match by {
            SignalledBy::Program(signalling) => return Ok(Met { signal: Box::new(signalling), _ending: None }),
            SignalledBy::Gun(backend) => (backend, None),
            SignalledBy::Relays => {
                self.leads()?;
                let config = GunClientConfig { peers: self.relays.to_vec(), ..GunClientConfig::default() };
                let named = |cause| Error::with_source(ErrorKind::InvalidArgument, "gunPeers", cause);
                let client = GunClient::start(config).map_err(named)?;
                (client.clone() as Arc<dyn GunBackend>, Some(client))
            }
        };
        let ending = Ending { tasks: TaskTracker::new(), stop: CancellationToken::new(), own };
        let (local, remote) = (self.local.unwrap_or_default(), self.remote.unwrap_or_default());
        let (tasks, stop) = (ending.tasks.clone(), ending.stop.clone());
        let meeting = Meeting::begin(backend, local, remote, self.key, tasks, stop)?;
        let late = |_| {
            let text = format!("{remote:?} did not come to the meeting over Gun in {} ms", patience.as_millis());
            Error::new(ErrorKind::PeerUnreachable, text)
        };
        let signal = tokio::time::timeout(patience, meeting.meet()).await.map_err(late)??;
        Ok(Met { signal: Box::new(signal), _ending: Some(ending) })
    }
}

/// Lets the last letters arrive and takes them away, then ends what was started for the meeting.
struct Ending {
    tasks: TaskTracker,
    stop: CancellationToken,
    own: Option<Arc<GunClient>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let (tasks, stop, own) = (self.tasks.clone(), self.stop.clone(), self.own.take());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return stop.cancel() };
        tasks.close();
        runtime.spawn(async move {
            let _ = tokio::time::timeout(limits::GUN_MEETING_END, tasks.wait()).await;
            stop.cancel();
            if let Some(own) = own {
                own.stop().await;
            }
        });
    }
}
