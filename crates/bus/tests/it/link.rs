use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use mesos_bus::link::{Allow, LinkHandle, LinkOp, LinkServerOptions, serve};
use mesos_bus::{LinkBus, LinkOptions, MemoryBus};
use mesos_ports::bus::{Bus, BusError, BusEvent};
use mesos_ports::conformance::bus::{Fixture, Outage, run};
use mesos_proto::dial::{Access, Token};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tonic::Status;

use crate::nats_server::free_address;

const WAIT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// A gRPC server with nothing but links, in front of a memory bus.
struct Gateway {
    address: SocketAddr,
    bus: Arc<MemoryBus>,
    handle: LinkHandle,
    server: AbortHandle,
}

impl Gateway {
    async fn start(bus: MemoryBus, options: LinkServerOptions) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bus = Arc::new(bus);
        let (service, handle) = serve(bus.clone(), options);
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tonic::transport::Server::builder().add_service(service);
        let server = tokio::spawn(server.serve_with_incoming(incoming)).abort_handle();
        Gateway { address, bus, handle, server }
    }

    async fn open_to_all(bus: MemoryBus) -> Gateway {
        Gateway::start(bus, LinkServerOptions::new("g", Arc::new(|_, _, _| true))).await
    }

    fn endpoint(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Passes TCP on, and can cut all of it.
struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    running: Mutex<Option<AbortHandle>>,
}

impl Proxy {
    async fn start(target: SocketAddr) -> Proxy {
        let proxy = Proxy { address: free_address(), target, running: Mutex::new(None) };
        proxy.run().await;
        proxy
    }

    async fn run(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let target = self.target;
        let running = tokio::spawn(async move {
            // Connections end with the task that holds them.
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut to = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        *self.running.lock().unwrap() = Some(running.abort_handle());
    }

    async fn cut(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(running) = running {
            running.abort();
            while !running.is_finished() {
                tokio::task::yield_now().await;
            }
        }
    }
}

struct CutProxy(Arc<Proxy>);

#[async_trait]
impl Outage for CutProxy {
    async fn begin(&self) {
        self.0.cut().await;
    }

    async fn end(&self) {
        self.0.run().await;
    }
}

async fn link(endpoints: Vec<String>, agent_id: &str) -> Result<LinkBus, BusError> {
    LinkBus::connect(endpoints, LinkOptions { agent_id: agent_id.to_owned(), ..LinkOptions::default() }).await
}

async fn next_event(bus: &mut futures::stream::BoxStream<'static, BusEvent>) -> BusEvent {
    tokio::time::timeout(WAIT, bus.next()).await.expect("an event comes").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_bus_conforms() {
    run(|| async {
        let gateway = Gateway::open_to_all(MemoryBus::new()).await;
        let proxy = Arc::new(Proxy::start(gateway.address).await);
        let mut clients: Vec<Arc<dyn Bus>> = Vec::new();
        for id in ["a", "b"] {
            clients.push(Arc::new(link(vec![proxy.address.to_string()], id).await.unwrap()));
        }
        Fixture { clients, outage: Box::new(CutProxy(proxy)), keep: Box::new(gateway) }
    })
    .await;
}

/// The subjects of one agent: `to.<id>.…` comes to it, `from.<id>.…` goes out.
fn own_subjects() -> Allow {
    Arc::new(|peer, op, subject| {
        let id = if peer.agent_id.is_empty() { &peer.instance } else { &peer.agent_id };
        let direction = if op == LinkOp::Subscribe { "to" } else { "from" };
        subject.strip_prefix(direction).is_some_and(|rest| rest.starts_with(&format!(".{id}.")))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reaches_its_own_subjects_and_no_other() {
    let gateway = Gateway::start(MemoryBus::new(), LinkServerOptions::new("g", own_subjects())).await;
    let agent = link(vec![gateway.endpoint()], "one").await.unwrap();
    let mut all = gateway.bus.subscribe(">").await.unwrap();

    for pattern in ["to.two.x", "to.*.x", ">", "from.one.x", "_INBOX.>"] {
        let outcome = agent.subscribe(pattern).await.map(drop);
        assert!(matches!(outcome, Err(BusError::Refused(_))), "{pattern}: {outcome:?}");
    }
    let outcome = agent.request("from.two.x", Vec::new(), Bytes::new(), WAIT).await;
    assert!(matches!(outcome, Err(BusError::Refused(_))), "{outcome:?}");
    // A publish is not answered; the flush behind it tells.
    for subject in ["from.two.x", "_INBOX.1"] {
        agent.publish(subject, Vec::new(), "forged".into()).await.unwrap();
        let outcome = agent.flush().await;
        assert!(matches!(outcome, Err(BusError::Refused(_))), "{outcome:?}");
        agent.flush().await.unwrap();
    }
    agent.publish("from.one.x", Vec::new(), "own".into()).await.unwrap();
    let heard = all.next().await.unwrap();
    assert_eq!((heard.subject.as_str(), &heard.payload[..]), ("from.one.x", &b"own"[..]));

    // It may answer what it was asked, once.
    let mut commands = agent.subscribe("to.one.>").await.unwrap();
    let asking = tokio::spawn({
        let bus = gateway.bus.clone();
        async move { bus.request("to.one.run", Vec::new(), "go".into(), WAIT).await }
    });
    let reply = commands.next().await.unwrap().reply.unwrap();
    agent.publish(&reply, Vec::new(), "done".into()).await.unwrap();
    assert_eq!(asking.await.unwrap().unwrap().payload, "done");
    agent.publish(&reply, Vec::new(), "again".into()).await.unwrap();
    assert!(matches!(agent.flush().await, Err(BusError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_an_id_gets_one_and_keeps_what_it_may() {
    let gateway = Gateway::start(MemoryBus::new(), LinkServerOptions::new("g", own_subjects())).await;
    let options = LinkOptions { instance: "new-1".to_owned(), ..LinkOptions::default() };
    let agent = LinkBus::connect(vec![gateway.endpoint()], options).await.unwrap();
    let before = agent.subscribe("to.new-1.x").await.unwrap();
    assert!(agent.subscribe("to.S7.x").await.is_err());
    let mut events = agent.events();
    agent.set_agent_id("S7");
    assert_eq!(next_event(&mut events).await, BusEvent::Disconnected);
    assert_eq!(next_event(&mut events).await, BusEvent::Reconnected);
    // What the new id may not have is over, and says so.
    assert_eq!(tokio::time::timeout(WAIT, before.count()).await.unwrap(), 0);
    let mut after = agent.subscribe("to.S7.x").await.unwrap();
    gateway.bus.publish("to.S7.x", Vec::new(), "hello".into()).await.unwrap();
    assert_eq!(after.next().await.unwrap().payload, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_says_goodbye_and_its_agents_go_to_the_next() {
    let broker = MemoryBus::new();
    let first = Gateway::open_to_all(broker.client()).await;
    let second = Gateway::open_to_all(broker.client()).await;
    let agent = link(vec![first.endpoint(), second.endpoint()], "a").await.unwrap();
    let mut subscription = agent.subscribe("x").await.unwrap();
    let mut events = agent.events();
    assert_eq!((first.handle.links(), second.handle.links()), (1, 0));

    first.handle.shutdown(WAIT).await;
    assert_eq!(first.handle.links(), 0);
    assert_eq!(next_event(&mut events).await, BusEvent::Disconnected);
    assert_eq!(next_event(&mut events).await, BusEvent::Reconnected);
    assert_eq!(second.handle.links(), 1);
    broker.publish("x", Vec::new(), "still here".into()).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().payload, "still here");

    let error = link(vec![first.endpoint()], "b").await.err().expect("it is stopping");
    assert!(matches!(error, BusError::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_learns_when_its_gateway_loses_the_bus() {
    let gateway = Gateway::open_to_all(MemoryBus::new()).await;
    let agent = link(vec![gateway.endpoint()], "a").await.unwrap();
    let mut events = agent.events();
    gateway.bus.cut();
    assert_eq!(next_event(&mut events).await, BusEvent::Disconnected);
    let outcome = agent.publish("x", Vec::new(), Bytes::new()).await;
    assert!(matches!(outcome, Err(BusError::Unavailable(_))), "{outcome:?}");
    gateway.bus.heal();
    assert_eq!(next_event(&mut events).await, BusEvent::Reconnected);
    agent.publish("x", Vec::new(), Bytes::new()).await.unwrap();

    // The same for one that comes while the bus is away.
    gateway.bus.cut();
    let late = link(vec![gateway.endpoint()], "b").await.unwrap();
    assert!(matches!(late.subscribe("x").await.map(drop), Err(BusError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_admitted_is_told_why() {
    let mut options = LinkServerOptions::new("g", Arc::new(|_, _, _| true));
    options.admit = Some(Arc::new(|peer, metadata| {
        let token = metadata.get("authorization").and_then(|value| value.to_str().ok());
        if token == Some("Bearer t0ken") {
            Ok(())
        } else {
            Err(Status::unauthenticated(format!("{}: no token", peer.agent_id)))
        }
    }));
    let gateway = Gateway::start(MemoryBus::new(), options).await;
    let with = |token: Option<&str>, agent_id: &str| LinkOptions {
        access: Access { token: token.map(|token| Token::Text(token.to_owned())), ..Access::default() },
        agent_id: agent_id.to_owned(),
        wait: true,
        ..LinkOptions::default()
    };
    for options in [with(None, "a"), with(Some("other"), "a"), with(Some("t0ken"), "")] {
        let error = LinkBus::connect(vec![gateway.endpoint()], options).await.err().expect("refused");
        assert!(matches!(error, BusError::Refused(_)), "{error:?}");
    }
    let agent = LinkBus::connect(vec![gateway.endpoint()], with(Some("t0ken"), "a")).await.unwrap();
    agent.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_address_that_answers_is_taken() {
    let nobody = free_address().to_string();
    let error = link(vec![nobody.clone(), nobody.clone()], "a").await.err().expect("nobody listens");
    assert!(matches!(&error, BusError::Unavailable(text) if text.contains(&nobody)), "{error:?}");
    let gateway = Gateway::open_to_all(MemoryBus::new()).await;
    link(vec![nobody, gateway.endpoint()], "a").await.unwrap().flush().await.unwrap();
    assert!(matches!(link(Vec::new(), "a").await, Err(BusError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_noticed_by_both_ends() {
    let mut options = LinkServerOptions::new("g", Arc::new(|_, _, _| true));
    options.ping_interval = SHORT;
    let gateway = Gateway::start(MemoryBus::new(), options).await;
    // A wire that takes bytes and passes none on after the first moment.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (hold, held) = tokio::sync::watch::channel(false);
    let target = gateway.address;
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            let mut held = held.clone();
            connections.spawn(async move {
                let mut to = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                    // Both sockets stay open and silent.
                    _ = async { let _ = held.wait_for(|held| *held).await; } => std::future::pending().await,
                }
            });
        }
    });
    let agent = link(vec![address.to_string()], "a").await.unwrap();
    let mut events = agent.events();
    hold.send_replace(true);
    assert_eq!(next_event(&mut events).await, BusEvent::Disconnected);
    let left = async {
        while gateway.handle.links() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT, left).await.expect("the gateway gives the link up");
    hold.send_replace(false);
    assert_eq!(next_event(&mut events).await, BusEvent::Reconnected);
}
