//! Hands connection events to whoever asked for them.

use futures::StreamExt;
use futures::stream::BoxStream;
use mesos_ports::bus::BusEvent;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Events that wait for one listener at most. One that is so far behind loses the oldest, and the
/// newest still says how things stand.
const WAITING_MAX: usize = 64;

pub(crate) struct EventHub(broadcast::Sender<BusEvent>);

impl Default for EventHub {
    fn default() -> Self {
        EventHub(broadcast::channel(WAITING_MAX).0)
    }
}

impl EventHub {
    pub(crate) fn emit(&self, event: BusEvent) {
        // An error says that nobody listens.
        let _ = self.0.send(event);
    }

    pub(crate) fn listen(&self) -> BoxStream<'static, BusEvent> {
        BroadcastStream::new(self.0.subscribe()).filter_map(|event| async { event.ok() }).boxed()
    }
}
