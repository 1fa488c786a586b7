//! From a decoded call to the machine's answer; the same for HTTP and gRPC.

use axum::http::StatusCode;
use bytes::Bytes;
use mesos_core::message::{AllocatorCall, Answer, AnswerBody, Caller, RegistryCall};
use mesos_model::{
    FrameworkId, OfferId, Trace,
    planted::{Bug, is_planted},
};
use mesos_proto::{
    v1::scheduler::{self, call::Type},
    validate,
};
use mesos_runtime::telemetry;
use tokio_util::sync::CancellationToken;

use super::order;
use crate::{
    calls::{self, Context},
    errors::Refusal,
    server::App,
    streams::Subscription,
    translate::call::{CallError, Subscribe, Translated, translate},
};

/// Full name of the message that a scheduler sends.
pub const CALL: &str = "mesos.v1.scheduler.Call";

/// How often a SUBSCRIBE is repeated because yet another scheduler has subscribed before it.
const TAKE_OVER_MAX: usize = 16;

/// Whose call it is, and as part of what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// Who the gateway found the caller to be, if it asks.
    pub principal: Option<&'a str>,
    /// The `traceparent` that came with the call.
    pub traceparent: Option<&'a str>,
}

/// What came of a SUBSCRIBE.
pub enum Subscribed {
    /// The stream.
    Open(Box<Subscription>),
    /// A stream with nothing but this ERROR.
    Refused(String),
}

/// Checks a call by itself: required fields, the parts of its type, the principal. Row 6 of Mesos's order of checks.
///
/// # Errors
/// 400 with Mesos's words.
pub fn validate(call: &scheduler::Call, raw: &Bytes, principal: Option<&str>) -> Result<(), Refusal> {
    let refused = |why: String| Refusal::bad(format!("Failed to validate scheduler::Call: {why}"));
    if is_planted(Bug::MalformedCallPassed) {
        return Ok(());
    }
    validate::required_fields(CALL, raw).map_err(|error| refused(error.to_string()))?;
    validate::scheduler_call(call, principal).map_err(|error| refused(error.to_string()))
}

/// The type of a call.
#[must_use]
pub fn kind(call: &scheduler::Call) -> Type {
    call.r#type.and_then(|number| Type::try_from(number).ok()).unwrap_or(Type::Unknown)
}

/// The trace of a call: below the client's span if it names one, else a new one where traces are exported.
fn begin(call: &scheduler::Call, header: Option<&str>) -> Option<telemetry::StepSpan> {
    let parent = call.trace_parent.as_deref().or(header).and_then(Trace::parse);
    telemetry::begin("gateway", kind(call).as_str_name(), parent)
}

fn context(
    call: &scheduler::Call,
    principal: Option<&str>,
    span: Option<&telemetry::StepSpan>,
) -> Result<Context, Refusal> {
    let id = calls::call_id(call.call_id.as_deref())
        .map_err(|why| Refusal::bad(format!("Failed to validate scheduler::Call: {why}")))?;
    Ok(Context { call: id, principal: principal.map(str::to_owned), trace: span.and_then(telemetry::StepSpan::trace) })
}

fn malformed(error: &CallError) -> Refusal {
    Refusal::bad(format!("Failed to validate scheduler::Call: {error}"))
}

/// Makes a subscription. `cut` ends the client's connection. The work goes on if the caller goes away, so
/// that a subscription which the registry took is closed again.
///
/// # Errors
/// As the registry answers.
pub async fn subscribe(
    app: &App,
    call: &scheduler::Call,
    raw: &Bytes,
    from: Sender<'_>,
    cut: CancellationToken,
) -> Result<Subscribed, Refusal> {
    let span = begin(call, from.traceparent);
    let context = context(call, from.principal, span.as_ref())?;
    let Translated::Subscribe(subscribe) = translate(call, raw, None).map_err(|error| malformed(&error))? else {
        return Err(Refusal::bad("Failed to validate scheduler::Call: Expecting 'subscribe' to be present"));
    };
    let app = app.clone();
    let work = tokio::spawn(async move { open(&app, *subscribe, context, cut).await });
    let done = work.await.unwrap_or_else(|_| Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "")));
    drop(span);
    done
}

async fn open(
    app: &App,
    subscribe: Subscribe,
    context: Context,
    cut: CancellationToken,
) -> Result<Subscribed, Refusal> {
    let Subscribe { framework, info, body, suppressed } = subscribe;
    let Some(pending) = app.streams.prepare(info.info.capabilities, cut) else {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This gateway takes no more streams; try another one",
        ));
    };
    let name = info.info.name.clone();
    let mut ask = RegistryCall::Subscribe {
        framework,
        info: info.info,
        invalid: info.invalid,
        body,
        suppressed,
        stream: pending.stream(),
        over: None,
    };
    let mut answer = app.calls.registry(ask.clone(), context.clone()).await;
    for _ in 0..TAKE_OVER_MAX {
        let (AnswerBody::Taken { number }, RegistryCall::Subscribe { over, .. }) = (&answer.body, &mut ask) else {
            break;
        };
        *over = Some(*number);
        answer = app.calls.registry(ask.clone(), context.clone()).await;
    }
    match answer.body {
        AnswerBody::Subscribed { framework, number } => {
            tracing::info!(%framework, number, name, "subscribed");
            Ok(Subscribed::Open(Box::new(pending.confirmed(framework, app.master_info()))))
        }
        AnswerBody::Refused { message } => {
            tracing::info!(name, message, "refused to subscribe");
            Ok(Subscribed::Refused(message))
        }
        _ => Err(refusal(answer)),
    }
}

fn refusal(answer: Answer) -> Refusal {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refusal::new(status, answer.text)
}

/// Sends any other call to its machine. A refusal of the machine is an answer.
///
/// # Errors
/// If the call never reaches a machine.
pub async fn submit(
    app: &App,
    call: &scheduler::Call,
    raw: &Bytes,
    stream: Option<u128>,
    from: Sender<'_>,
) -> Result<Answer, Refusal> {
    let span = begin(call, from.traceparent);
    let context = context(call, from.principal, span.as_ref())?;
    let answer = match translate(call, raw, stream).map_err(|error| malformed(&error))? {
        Translated::Unknown | Translated::Subscribe(_) => return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "")),
        Translated::Registry(RegistryCall::Reconcile { caller, tasks }) => {
            order::reconcile(app, caller, tasks, context).await
        }
        Translated::Registry(what) => app.calls.registry(what, context).await,
        Translated::Allocator(what) => ask_allocator(app, what, context).await,
        Translated::Nothing => {
            let framework = FrameworkId::new(call.framework_id.as_ref().map_or("", |id| &id.value));
            // The allocator checks who calls, and has nothing to do.
            let caller = Caller::framework(framework, stream);
            let what = AllocatorCall::Decline { caller, offers: Vec::new(), refuse_ms: None };
            ask_allocator(app, what, context).await
        }
    };
    if !(200..300).contains(&answer.status) {
        let framework = call.framework_id.as_ref().map_or("", |id| &id.value);
        tracing::info!(
            framework,
            call = kind(call).as_str_name(),
            status = answer.status,
            why = answer.text,
            "refused"
        );
    }
    drop(span);
    Ok(answer)
}

/// Who calls, and with which offers.
fn offers_of(what: &AllocatorCall) -> Option<(&Caller, Vec<OfferId>)> {
    match what {
        AllocatorCall::Accept { caller, offers, .. } | AllocatorCall::Decline { caller, offers, .. } => {
            Some((caller, offers.clone()))
        }
        AllocatorCall::AnswerInverse { caller, offers, .. } => Some((caller, offers.clone())),
        AllocatorCall::Request { caller, .. } => Some((caller, Vec::new())),
        AllocatorCall::Operator(_) => None,
    }
}

pub(super) async fn ask_allocator(app: &App, what: AllocatorCall, context: Context) -> Answer {
    let Some((caller, offers)) = offers_of(&what) else { return app.calls.allocator(what, context).await };
    let stream = caller.stream;
    let under_way = app.launches.begin(&what);
    if let Some(stream) = stream {
        app.until_covered(&caller.framework, stream).await;
    }
    let answer = app.calls.allocator(what, context).await;
    if let (Some(stream), 200..=299) = (stream, answer.status) {
        app.streams.answered(stream, &offers);
        app.launches.known(stream);
    }
    // 503 is what a gateway says when it does not know; everything else is the allocator's word.
    if let (Some(under_way), true) = (under_way, answer.status != 503) {
        under_way.settled();
    }
    answer
}
