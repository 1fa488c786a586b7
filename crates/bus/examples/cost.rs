//! Measures what a small message costs: latency from publish to receive, and CPU time per message, in
//! memory, over NATS and over a link.
//!
//! `cargo run --release -p mesos-bus --example cost [nats://…]`; without a URL a `nats-server` is
//! started from `NATS_SERVER` or from the `PATH`.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use hdrhistogram::Histogram;
use mesos_bus::link::{LinkServerOptions, serve};
use mesos_bus::{LinkBus, LinkOptions, MemoryBus, NatsBus, NatsOptions};
use mesos_ports::bus::Bus;

const PINGS: u32 = 20_000;
const FLOOD: u32 = 200_000;
const WINDOW: u32 = 1_000;
const PAYLOAD_BYTES: usize = 200;

type Failure = Box<dyn std::error::Error>;

/// Ends the server when the program ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    println!(
        "{:<8} {:>9} {:>9} {:>14} {:>16} {:>14}",
        "bus", "p50 us", "p99 us", "messages/s", "CPU us/message", "request p50 us"
    );
    let memory = MemoryBus::new();
    measure("memory", Arc::new(memory.client()), Arc::new(memory.client())).await?;

    let (_server, url) = match std::env::args().nth(1) {
        Some(url) => (None, url),
        None => start_server()?,
    };
    let options = NatsOptions { wait: true, ..NatsOptions::default() };
    let a = NatsBus::connect(&url, options.clone()).await?;
    let b = NatsBus::connect(&url, options).await?;
    measure("nats", Arc::new(a), Arc::new(b)).await?;

    let (service, _handle) = serve(Arc::new(memory.client()), LinkServerOptions::new("g", Arc::new(|_, _, _| true)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = listener.local_addr()?.to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let options = LinkOptions { agent_id: "a".to_owned(), ..LinkOptions::default() };
    let a = LinkBus::connect(vec![endpoint.clone()], options.clone()).await?;
    let b = LinkBus::connect(vec![endpoint], options).await?;
    measure("link", Arc::new(a), Arc::new(b)).await
}

fn start_server() -> Result<(Option<Server>, String), Failure> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let program = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let child =
        Command::new(program).args(["-a", "127.0.0.1", "-p", &port.to_string()]).stderr(Stdio::null()).spawn()?;
    Ok((Some(Server(child)), format!("nats://127.0.0.1:{port}")))
}

async fn measure(name: &str, a: Arc<dyn Bus>, b: Arc<dyn Bus>) -> Result<(), Failure> {
    let latency = latency(&a, &b).await?;
    let requests = requests(&a, &b).await?;
    let cpu_before = cpu_time()?;
    let started = Instant::now();
    flood(&a, &b).await?;
    let elapsed = started.elapsed();
    let cpu = cpu_time()?.saturating_sub(cpu_before);
    println!(
        "{name:<8} {:>9.1} {:>9.1} {:>14.0} {:>16.2} {:>14.1}",
        latency.value_at_quantile(0.5) as f64 / 1e3,
        latency.value_at_quantile(0.99) as f64 / 1e3,
        f64::from(FLOOD) / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / f64::from(FLOOD),
        requests.value_at_quantile(0.5) as f64 / 1e3,
    );
    Ok(())
}

/// One message at a time, from publish until the subscriber has it.
async fn latency(a: &Arc<dyn Bus>, b: &Arc<dyn Bus>) -> Result<Histogram<u64>, Failure> {
    let mut subscription = b.subscribe("cost.latency").await?;
    let payload = Bytes::from(vec![1; PAYLOAD_BYTES]);
    let mut histogram = Histogram::new(3)?;
    for _ in 0..PINGS {
        let started = Instant::now();
        a.publish("cost.latency", Vec::new(), payload.clone()).await?;
        subscription.next().await.ok_or("the subscription ended")?;
        histogram.record(started.elapsed().as_nanos() as u64)?;
    }
    Ok(histogram)
}

async fn requests(a: &Arc<dyn Bus>, b: &Arc<dyn Bus>) -> Result<Histogram<u64>, Failure> {
    let mut questions = b.subscribe("cost.request").await?;
    let answering = b.clone();
    let task = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if let Some(reply) = question.reply {
                let _ = answering.publish(&reply, Vec::new(), question.payload).await;
            }
        }
    });
    let payload = Bytes::from(vec![1; PAYLOAD_BYTES]);
    let mut histogram = Histogram::new(3)?;
    for _ in 0..PINGS / 2 {
        let started = Instant::now();
        a.request("cost.request", Vec::new(), payload.clone(), Duration::from_secs(5)).await?;
        histogram.record(started.elapsed().as_nanos() as u64)?;
    }
    task.abort();
    Ok(histogram)
}

/// Many messages, a window at a time so that the subscriber loses none.
async fn flood(a: &Arc<dyn Bus>, b: &Arc<dyn Bus>) -> Result<(), Failure> {
    let mut subscription = b.subscribe("cost.flood").await?;
    let payload = Bytes::from(vec![1; PAYLOAD_BYTES]);
    for _ in 0..FLOOD / WINDOW {
        for _ in 0..WINDOW {
            a.publish("cost.flood", Vec::new(), payload.clone()).await?;
        }
        for _ in 0..WINDOW {
            subscription.next().await.ok_or("the subscription ended")?;
        }
    }
    Ok(())
}

/// User and system time of this process, from `/proc/self/stat`, in ticks of 10 ms.
fn cpu_time() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().ok_or("no stat")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
