//! Event subscriptions of a node: one bounded broadcast queue, one stream per subscriber.

use tokio::sync::broadcast;

use crate::base::events::Event;
use crate::base::limits;

/// The sending side, owned by the node.
#[derive(Clone, Debug)]
pub(crate) struct EventBus(broadcast::Sender<Event>);

/// Receives the events of a node from the moment of subscription on. Dropping it unsubscribes.
#[derive(Debug)]
pub struct EventStream(broadcast::Receiver<Event>);

impl EventBus {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(limits::EVENT_QUEUE).0)
    }

    pub(crate) fn send(&self, event: Event) {
        // Without subscribers there is nobody to tell.
        let _ = self.0.send(event);
    }

    pub(crate) fn subscribe(&self) -> EventStream {
        EventStream(self.0.subscribe())
    }
}

impl EventStream {
    /// The next event, `None` once the node is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Event::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
