//! What the program tells about itself: log lines, metrics, traces.
//!
//! A trace belongs to a task: its position ([`Trace`]) travels in calls, rows, orders and statuses, and
//! every service hangs its spans below it. Unsampled traces cost nothing.

use std::{
    fs::File,
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use mesos_model::Trace;
use opentelemetry::{
    Context, KeyValue, global,
    trace::{Span as _, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer},
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::filter_fn,
    fmt::MakeWriter,
    layer::{Layered, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::quarantine::Quarantine;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, as Logstash takes it.
    Json,
}

/// What is chosen about telemetry.
#[derive(Clone, Debug, Default)]
pub struct TelemetryOptions {
    /// `info`, `debug`, `mesos_gateway=debug,info`, …
    pub log_level: String,
    /// Text or JSON.
    pub log_format: LogFormat,
    /// Where spans go, for example `http://127.0.0.1:4317`; `None` makes none.
    pub otlp_endpoint: Option<String>,
    /// The name that spans are under.
    pub service: String,
    /// Name of the log file without its suffix: `master`, `agent`, …
    pub role: String,
    /// Where `<role>.log` is, and below it `frameworks/<framework>.log` of built-in ones.
    pub log_dir: Option<PathBuf>,
    /// It was asked for: a log file that cannot be written is an error and not passed over.
    pub log_dir_required: bool,
}

/// Keeps telemetry going; flushes it when it is dropped.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Starts telemetry. Call it once, inside the Tokio runtime.
///
/// # Errors
/// Says which option cannot be used.
pub fn start(options: &TelemetryOptions) -> Result<Telemetry, String> {
    let level = if options.log_level.is_empty() { "info" } else { &options.log_level };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("--log-level {level}: {error}; for example info, debug or mesos_gateway=debug,info")
    })?;
    let mut lines = vec![layer(options.log_format, std::io::stderr, std::io::stderr().is_terminal())];
    if let Some(dir) = &options.log_dir {
        match log_files(dir, &options.role) {
            Ok((all, launcher)) => {
                lines.push(layer(options.log_format, Mutex::new(all), false));
                let of_launcher = filter_fn(|line| line.target().starts_with("mesos_launcher"));
                lines.push(layer(options.log_format, Mutex::new(launcher), false).with_filter(of_launcher).boxed());
            }
            Err(error) if options.log_dir_required => {
                return Err(format!("--log-dir {}: cannot be written: {error}", dir.display()));
            }
            // Nobody asked for the file; stderr has everything.
            Err(_) => {}
        }
    }
    // A second start in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    let provider = options.otlp_endpoint.as_deref().map(|endpoint| exporter(endpoint, &options.service)).transpose()?;
    if let Some(provider) = &provider {
        global::set_tracer_provider(provider.clone());
        SAMPLED.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(Telemetry { provider })
}

type Lines = Layered<EnvFilter, tracing_subscriber::Registry>;

fn layer<W>(format: LogFormat, writer: W, colours: bool) -> Box<dyn Layer<Lines> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Roles that may run the built-in framework.
const LAUNCHING: [&str; 3] = ["local", "master", "gateway"];

/// The process's own log file, and the one of its built-in framework. Who runs none leaves that one alone: an agent is
/// root, and a file of root's would lock the master out.
fn log_files(dir: &Path, role: &str) -> std::io::Result<(File, File)> {
    let open = |path: PathBuf| File::options().create(true).append(true).open(path);
    let own = open(dir.join(format!("{role}.log")))?;
    if !LAUNCHING.contains(&role) {
        let same = own.try_clone()?;
        return Ok((own, same));
    }
    let frameworks = dir.join("frameworks");
    std::fs::create_dir_all(&frameworks)?;
    Ok((own, open(frameworks.join("launcher.log"))?))
}

static SAMPLED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn exporter(endpoint: &str, service: &str) -> Result<SdkTracerProvider, String> {
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().map_err(|error| {
            format!("--otlp-endpoint {endpoint}: {error}; expected for example http://127.0.0.1:4317")
        })?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Telemetry {
    /// Sends what is left and says if that did not work.
    pub fn stop(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// A span below a trace. Ends when dropped.
pub struct StepSpan {
    span: Option<global::BoxedSpan>,
}

impl StepSpan {
    /// A span of `service` named `name` below `parent`.
    #[must_use]
    pub fn start(service: &'static str, name: &'static str, parent: Trace) -> StepSpan {
        StepSpan { span: Some(start_span(service, name, Some(parent), SpanKind::Consumer)) }
    }

    /// The position of this span, for what it causes; `None` if nobody records it.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        position(self.span.as_ref()?)
    }

    /// Adds a fact.
    pub fn note(&mut self, key: &'static str, value: impl Into<String>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(key, value.into()));
        }
    }

    /// Ends it now.
    pub fn end(mut self) {
        if let Some(mut span) = self.span.take() {
            span.end();
        }
    }
}

/// Begins a task's part of a trace at the edge: below the client's own span if it sent one, else as a new
/// root where traces are exported. `None` if nobody would see it.
#[must_use]
pub fn begin(service: &'static str, name: &'static str, parent: Option<Trace>) -> Option<StepSpan> {
    if !SAMPLED.load(std::sync::atomic::Ordering::Relaxed) {
        return None;
    }
    Some(StepSpan { span: Some(start_span(service, name, parent, SpanKind::Server)) })
}

fn start_span(service: &'static str, name: &'static str, parent: Option<Trace>, kind: SpanKind) -> global::BoxedSpan {
    let tracer = global::tracer("mesos");
    let context = match parent {
        None => Context::new(),
        Some(parent) => Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from_bytes(parent.trace_id.to_be_bytes()),
            SpanId::from_bytes(parent.span_id.to_be_bytes()),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        )),
    };
    let builder = tracer.span_builder(name).with_kind(kind).with_attributes([KeyValue::new("mesos.service", service)]);
    tracer.build_with_context(builder, &context)
}

fn position(span: &global::BoxedSpan) -> Option<Trace> {
    let context = span.span_context();
    (context.is_valid() && context.is_sampled()).then(|| Trace {
        trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(context.span_id().to_bytes()),
    })
}

/// The metrics of a process, in Prometheus's text.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Lets a component add its metrics under `mesos_<component>_…`.
    pub fn register<T>(&self, component: &str, add: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        add(registry.sub_registry_with_prefix(format!("mesos_{component}")))
    }

    /// All metrics as `GET /metrics` answers them.
    #[must_use]
    pub fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            tracing::error!("metrics cannot be written");
        }
        text
    }
}

/// What every service with a machine counts.
#[derive(Clone)]
pub struct ServiceMetrics {
    /// 1 while it leads.
    pub leading: Gauge,
    /// Its last term.
    pub epoch: Gauge,
    /// Calls and messages.
    pub events: Counter,
    /// Calls and messages that wait for the store or for the peer.
    pub waiting: Gauge,
    /// Rows written and deleted.
    pub rows: Counter,
    /// From a batch's steps to the store's answer.
    pub commit_seconds: Histogram,
    /// Times that a standby was found to hold something else than the store.
    pub audits_failed: Counter,
    /// Times that all rows of the peer were read from the store.
    pub peer_loads: Counter,
    /// Subscriptions that heard nothing any more and were made anew.
    pub subscriptions_renewed: Counter,
    /// What could not be read.
    pub quarantine: Quarantine,
    /// Gauges of the machine's own, by name.
    gauges: Arc<Mutex<std::collections::BTreeMap<&'static str, Gauge>>>,
    metrics: Metrics,
    service: &'static str,
}

impl ServiceMetrics {
    /// The metrics of one service.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &'static str) -> ServiceMetrics {
        let (leading, epoch, events, rows) =
            (Gauge::default(), Gauge::default(), Counter::default(), Counter::default());
        let waiting = Gauge::default();
        let (audits_failed, subscriptions_renewed) = (Counter::default(), Counter::default());
        let peer_loads = Counter::default();
        let commit_seconds = Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0]);
        metrics.register(service, |registry| {
            registry.register("leading", "1 while this process leads the service", leading.clone());
            registry.register("epoch", "the last term of this process", epoch.clone());
            registry.register("events", "calls and messages handled", events.clone());
            registry.register("waiting", "calls and messages that wait for store or peer", waiting.clone());
            registry.register("rows", "rows written and deleted", rows.clone());
            registry.register("commit_seconds", "time of a commit", commit_seconds.clone());
            registry.register("peer_loads", "times that all rows of the peer were read", peer_loads.clone());
            registry.register("audits_failed", "audits that found other rows than the store's", audits_failed.clone());
            registry.register(
                "subscriptions_renewed",
                "subscriptions that heard nothing any more",
                subscriptions_renewed.clone(),
            );
        });
        ServiceMetrics {
            leading,
            epoch,
            events,
            waiting,
            rows,
            commit_seconds,
            audits_failed,
            peer_loads,
            subscriptions_renewed,
            quarantine: Quarantine::new(metrics, service),
            gauges: Arc::default(),
            metrics: metrics.clone(),
            service,
        }
    }

    /// Sets a gauge of the machine's own; `name` is `what_unit`.
    pub fn set(&self, name: &'static str, help: &'static str, value: i64) {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = gauges.entry(name).or_insert_with(|| {
            let gauge = Gauge::default();
            self.metrics.register(self.service, |registry| registry.register(name, help, gauge.clone()));
            gauge
        });
        gauge.set(value);
    }
}
