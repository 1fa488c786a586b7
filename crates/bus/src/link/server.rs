//! The gateway's end: a service to mount, and a handle to end its links.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use mesos_ports::bus::Bus;
use mesos_proto::dial::PeerCertificate;
use mesos_proto::services::v1 as wire;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use wire::agent_link_server::{AgentLink, AgentLinkServer};

use super::FRAME_BYTES_MAX;
use super::session;

/// Frames that wait for one agent's stream. What does not fit waits in the bounded queues of its
/// subscriptions.
const FRAMES_WAITING_MAX: usize = 64;

/// Who is at the other end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPeer {
    /// Empty as long as the agent has none.
    pub agent_id: String,
    /// The agent's process; what an agent without an id is known by.
    pub instance: String,
    /// The cluster it wants to be in; may be empty.
    pub cluster: String,
    /// What it showed when it connected, if the gateway speaks TLS and it has one.
    pub certificate: Option<PeerCertificate>,
}

/// What a peer wants to do with a subject or pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOp {
    /// Send to a subject. Answers to requests that were delivered to the peer are always let through.
    Publish,
    /// Send to a subject and get an answer.
    Request,
    /// Get what is sent to a pattern.
    Subscribe,
}

/// Whether a peer may do something: `allow(peer, op, subject or pattern)`.
pub type Allow = Arc<dyn Fn(&LinkPeer, LinkOp, &str) -> bool + Send + Sync>;

/// Whether a peer may have a link at all, by the call's metadata; the error is told to the peer.
pub type Admit = Arc<dyn Fn(&LinkPeer, &MetadataMap) -> Result<(), Status> + Send + Sync>;

/// How a gateway serves links.
#[derive(Clone)]
pub struct LinkServerOptions {
    /// Told to each agent.
    pub gateway_id: String,
    /// How often an agent is asked whether it lives. One that was silent for three times as long has
    /// lost its link.
    pub ping_interval: Duration,
    /// Subscriptions of one agent at most.
    pub subscriptions_max: usize,
    /// Requests of one agent that may wait at the same time.
    pub requests_max: usize,
    /// What each agent may do.
    pub allow: Allow,
    /// Who may come in; everybody if `None`.
    pub admit: Option<Admit>,
}

impl LinkServerOptions {
    /// The usual bounds around a rule of what each agent may do.
    pub fn new(gateway_id: &str, allow: Allow) -> Self {
        LinkServerOptions {
            gateway_id: gateway_id.to_owned(),
            ping_interval: Duration::from_secs(5),
            subscriptions_max: 64,
            requests_max: 256,
            allow,
            admit: None,
        }
    }
}

/// Makes the service for a gateway's gRPC server, and the handle that ends its links.
pub fn serve(bus: Arc<dyn Bus>, options: LinkServerOptions) -> (AgentLinkServer<LinkService>, LinkHandle) {
    let (stop, stopped) = watch::channel(None);
    let links = Arc::new(watch::channel(0).0);
    let service = LinkService { bus, options: Arc::new(options), stopped, links: links.clone() };
    let server = AgentLinkServer::new(service)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    (server, LinkHandle { stop, links })
}

/// Ends the links of a gateway. Dropping it ends them at once.
pub struct LinkHandle {
    stop: watch::Sender<Option<Duration>>,
    links: Arc<watch::Sender<usize>>,
}

impl LinkHandle {
    /// How many links are open.
    pub fn links(&self) -> usize {
        *self.links.borrow()
    }

    /// Tells each agent that this gateway will be gone, and refuses new links. Returns when all have
    /// left, or after `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        let mut links = self.links.subscribe();
        let _ = tokio::time::timeout(grace, links.wait_for(|open| *open == 0)).await;
    }
}

/// The gRPC service behind [`serve`].
pub struct LinkService {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) options: Arc<LinkServerOptions>,
    pub(super) stopped: watch::Receiver<Option<Duration>>,
    links: Arc<watch::Sender<usize>>,
}

/// Counts a link as long as it is open.
pub(super) struct OpenLink(Arc<watch::Sender<usize>>);

impl OpenLink {
    fn new(links: &Arc<watch::Sender<usize>>) -> Self {
        links.send_modify(|open| *open += 1);
        OpenLink(links.clone())
    }
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[tonic::async_trait]
impl AgentLink for LinkService {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<wire::Frame, Status>> + Send>>;

    async fn open(&self, request: Request<Streaming<wire::Frame>>) -> Result<Response<Self::OpenStream>, Status> {
        if self.stopped.borrow().is_some() {
            return Err(Status::unavailable("this gateway is stopping"));
        }
        let (metadata, mut extensions, frames) = request.into_parts();
        let (out, waiting) = mpsc::channel(FRAMES_WAITING_MAX);
        let session = session::Session {
            bus: self.bus.clone(),
            options: self.options.clone(),
            stopped: self.stopped.clone(),
            open: OpenLink::new(&self.links),
            certificate: extensions.remove(),
        };
        // The response has to go out before the agent's first frame is read: some clients send
        // nothing until they have it.
        tokio::spawn(session.run(metadata, frames, out));
        Ok(Response::new(Box::pin(ReceiverStream::new(waiting))))
    }
}
