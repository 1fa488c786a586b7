//! A scheduler's call as the call of a machine. Whether the call may be made is the machine's to say.

use bytes::Bytes;
use mesos_core::message::{AllocatorCall, Caller, RegistryCall, Request};
use mesos_model::{AgentId, FrameworkId, TaskId, validate_role};
use mesos_proto::{
    v1::{
        self,
        scheduler::{self, call::Type},
    },
    validate::validate_id,
    wire::{self, WireError},
};

use super::{constraints, framework, resources, roles, task};

/// The longest time not to offer again, in seconds (`src/master/constants.hpp`).
const REFUSE_SECONDS_MAX: f64 = 31_536_000.0;
/// The longest time for which resources are held for a request, in seconds.
const HOLD_SECONDS_MAX: f64 = 3600.0;
/// Requests in one call, and tasks of one request.
const REQUESTS_MAX: usize = 1000;
const COUNT_MAX: u32 = 10_000;

/// Why a call cannot be translated; the words that follow `Failed to validate scheduler::Call: `.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// Bytes that are no protobuf below the fields that prost reads.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// A part that means nothing.
    #[error("{0}")]
    Invalid(String),
}

/// Where a call goes.
#[derive(Debug, PartialEq)]
pub enum Translated {
    /// SUBSCRIBE; the stream is made by whoever holds it.
    Subscribe(Box<Subscribe>),
    /// To the allocator.
    Allocator(AllocatorCall),
    /// To the registry.
    Registry(RegistryCall),
    /// Taken and without effect: what this version does not do and Mesos answers with 202 in any case.
    Nothing,
    /// A type that is no call.
    Unknown,
}

/// A SUBSCRIBE, taken apart.
#[derive(Debug, PartialEq)]
pub struct Subscribe {
    /// The id it brings.
    pub framework: Option<FrameworkId>,
    /// The info, and what is wrong with it.
    pub info: framework::Translated,
    /// The info as the client wrote it.
    pub body: Bytes,
    /// Roles in which it wants no offers.
    pub suppressed: Vec<mesos_model::Role>,
}

/// Reads a validated call. `raw` is the call undecoded, `stream` what it shows as its stream.
///
/// # Errors
/// Says what is wrong with the call as it is, whoever makes it.
pub fn translate(call: &scheduler::Call, raw: &Bytes, stream: Option<u128>) -> Result<Translated, CallError> {
    let framework = call.framework_id.as_ref().map(|id| FrameworkId::new(&id.value)).unwrap_or_default();
    let caller = Caller::framework(framework, stream);
    let kind = call.r#type.and_then(|number| Type::try_from(number).ok()).unwrap_or(Type::Unknown);
    Ok(match kind {
        Type::Unknown => Translated::Unknown,
        Type::Subscribe => subscribe(call, raw)?,
        Type::Accept => accept(caller, call, raw)?,
        Type::UpdateFramework => update(caller, call, raw)?,
        Type::Decline => {
            let decline = call.decline.as_ref();
            Translated::Allocator(AllocatorCall::Decline {
                caller,
                offers: offers(decline.map_or(&[], |decline| &decline.offer_ids)),
                refuse_ms: refuse_ms(decline.and_then(|decline| decline.filters.as_ref())),
            })
        }
        Type::Request => Translated::Allocator(AllocatorCall::Request { caller, requests: requests(call)? }),
        Type::AcceptInverseOffers => {
            let accept = call.accept_inverse_offers.as_ref();
            Translated::Allocator(AllocatorCall::AnswerInverse {
                caller,
                offers: offers(accept.map_or(&[], |accept| &accept.inverse_offer_ids)),
                accepted: true,
                refuse_ms: refuse_ms(accept.and_then(|accept| accept.filters.as_ref())),
            })
        }
        Type::DeclineInverseOffers => {
            let decline = call.decline_inverse_offers.as_ref();
            Translated::Allocator(AllocatorCall::AnswerInverse {
                caller,
                offers: offers(decline.map_or(&[], |decline| &decline.inverse_offer_ids)),
                accepted: false,
                refuse_ms: refuse_ms(decline.and_then(|decline| decline.filters.as_ref())),
            })
        }
        // Operations have no status that could be acknowledged.
        Type::AcknowledgeOperationStatus | Type::ReconcileOperations => Translated::Nothing,
        Type::Teardown
        | Type::Revive
        | Type::Suppress
        | Type::Kill
        | Type::Shutdown
        | Type::Acknowledge
        | Type::Reconcile
        | Type::Message => registry(kind, caller, call).map_or(Translated::Unknown, Translated::Registry),
    })
}

fn offers(ids: &[v1::OfferId]) -> Vec<mesos_model::OfferId> {
    ids.iter().map(|id| id.value.as_str().into()).collect()
}

fn agent(id: &v1::AgentId) -> AgentId {
    id.value.as_str().into()
}

/// How long not to offer again; `None` for what Mesos takes as its default.
fn refuse_ms(filters: Option<&v1::Filters>) -> Option<u64> {
    let seconds = filters?.refuse_seconds?;
    if seconds.is_nan() || seconds < 0.0 {
        return None;
    }
    Some((seconds.min(REFUSE_SECONDS_MAX) * 1000.0).round() as u64)
}

fn subscribe(call: &scheduler::Call, raw: &Bytes) -> Result<Translated, WireError> {
    let Some(subscribe) = &call.subscribe else { return Ok(Translated::Unknown) };
    let info = &subscribe.framework_info;
    Ok(Translated::Subscribe(Box::new(Subscribe {
        framework: info.id.as_ref().filter(|id| !id.value.is_empty()).map(|id| id.value.as_str().into()),
        info: constrained(framework::framework_info(info), subscribe.offer_constraints.as_ref()),
        body: wire::subscribe_framework_info(raw)?.unwrap_or_default(),
        suppressed: roles(&subscribe.suppressed_roles),
    })))
}

/// With the constraints of a SUBSCRIBE or UPDATE_FRAMEWORK, or what is wrong with them.
fn constrained(mut info: framework::Translated, proto: Option<&scheduler::OfferConstraints>) -> framework::Translated {
    match constraints::from_proto(proto, &info.info.roles) {
        Ok(constraints) => info.info.constraints = constraints,
        Err(error) => {
            info.invalid.get_or_insert(error);
        }
    }
    info
}

fn update(caller: Caller, call: &scheduler::Call, raw: &Bytes) -> Result<Translated, WireError> {
    let Some(update) = &call.update_framework else { return Ok(Translated::Unknown) };
    let framework::Translated { info, invalid } =
        constrained(framework::framework_info(&update.framework_info), update.offer_constraints.as_ref());
    Ok(Translated::Registry(RegistryCall::Update {
        caller,
        info,
        invalid,
        body: wire::update_framework_info(raw)?.unwrap_or_default(),
        suppressed: roles(&update.suppressed_roles),
    }))
}

fn accept(caller: Caller, call: &scheduler::Call, raw: &Bytes) -> Result<Translated, WireError> {
    let Some(accept) = &call.accept else { return Ok(Translated::Unknown) };
    let operations = task::operations(&caller.framework, &accept.operations, wire::accept_operations(raw)?);
    Ok(Translated::Allocator(AllocatorCall::Accept {
        caller,
        offers: offers(&accept.offer_ids),
        operations,
        refuse_ms: refuse_ms(accept.filters.as_ref()),
    }))
}

fn requests(call: &scheduler::Call) -> Result<Vec<Request>, CallError> {
    let requests = call.request.as_ref().map_or(&[][..], |request| &request.requests);
    if requests.len() > REQUESTS_MAX {
        return Err(CallError::Invalid(format!("more than {REQUESTS_MAX} requests")));
    }
    let mut names = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(requests.len());
    for (at, proto) in requests.iter().enumerate() {
        let request = request(proto).map_err(|why| CallError::Invalid(format!("'request.requests[{at}]': {why}")))?;
        if !request.name.is_empty() && !names.insert(request.name.clone()) {
            let name = resources::printable(&request.name);
            return Err(CallError::Invalid(format!("'request.requests[{at}]': the name '{name}' is used twice")));
        }
        out.push(request);
    }
    Ok(out)
}

fn request(proto: &v1::Request) -> Result<Request, String> {
    let name = proto.name.clone().unwrap_or_default();
    if !name.is_empty()
        && let Err(error) = validate_id(&name)
    {
        return Err(format!("'name' is invalid: {error}"));
    }
    if let Some(role) = &proto.role {
        validate_role(role).map_err(|error| format!("'role' is invalid: {error}"))?;
    }
    let count = proto.count();
    if count == 0 || count > COUNT_MAX {
        return Err(format!("'count' must be between 1 and {COUNT_MAX}"));
    }
    let priority = match proto.priority {
        Some(priority) if !priority.is_finite() => return Err("'priority' must be a finite number".to_owned()),
        // The cast saturates.
        priority => priority.map(|priority| priority.round() as i64),
    };
    let wanted = resources::from_proto(&proto.resources).map_err(|error| format!("invalid resources: {error}"))?;
    let hold_ms = match proto.hold_seconds {
        None => None,
        Some(seconds) if seconds.is_nan() || seconds <= 0.0 => {
            return Err("'hold_seconds' must be greater than zero".to_owned());
        }
        Some(_) if name.is_empty() => return Err("'name' must be set where 'hold_seconds' is".to_owned()),
        Some(_) if wanted.is_empty() => return Err("'resources' must be set where 'hold_seconds' is".to_owned()),
        Some(seconds) => Some((seconds.min(HOLD_SECONDS_MAX) * 1000.0).ceil() as u64),
    };
    Ok(Request {
        name,
        role: proto.role.as_deref().map(mesos_model::Role::new),
        agent: proto.agent_id.as_ref().map(agent),
        resources: wanted,
        count,
        hold_ms,
        priority,
    })
}

fn registry(kind: Type, caller: Caller, call: &scheduler::Call) -> Option<RegistryCall> {
    Some(match kind {
        Type::Teardown => RegistryCall::Teardown(caller),
        Type::Revive => {
            RegistryCall::Revive(caller, call.revive.as_ref().map_or(Vec::new(), |revive| roles(&revive.roles)))
        }
        Type::Suppress => {
            RegistryCall::Suppress(caller, call.suppress.as_ref().map_or(Vec::new(), |suppress| roles(&suppress.roles)))
        }
        Type::Kill => {
            let kill = call.kill.as_ref()?;
            RegistryCall::Kill {
                caller,
                task: kill.task_id.value.as_str().into(),
                agent: kill.agent_id.as_ref().map(agent),
                grace_ms: grace_ms(kill.kill_policy.as_ref()),
            }
        }
        Type::Shutdown => {
            let shutdown = call.shutdown.as_ref()?;
            RegistryCall::Shutdown {
                caller,
                executor: shutdown.executor_id.value.as_str().into(),
                agent: agent(&shutdown.agent_id),
            }
        }
        Type::Acknowledge => {
            let acknowledge = call.acknowledge.as_ref()?;
            RegistryCall::Acknowledge {
                caller,
                task: acknowledge.task_id.value.as_str().into(),
                agent: agent(&acknowledge.agent_id),
                uuid: u128::from_be_bytes(acknowledge.uuid.as_ref().try_into().ok()?),
            }
        }
        Type::Reconcile => {
            let tasks = call.reconcile.iter().flat_map(|reconcile| &reconcile.tasks);
            let tasks = tasks.map(|task| (TaskId::new(&task.task_id.value), task.agent_id.as_ref().map(agent)));
            RegistryCall::Reconcile { caller, tasks: tasks.collect() }
        }
        Type::Message => {
            let message = call.message.as_ref()?;
            RegistryCall::Message {
                caller,
                agent: agent(&message.agent_id),
                executor: message.executor_id.value.as_str().into(),
                data: message.data.clone(),
            }
        }
        _ => return None,
    })
}

/// The grace of a kill policy in milliseconds, rounded up; nothing sensible is the task's own.
#[must_use]
pub fn grace_ms(policy: Option<&v1::KillPolicy>) -> Option<u64> {
    let grace = policy?.grace_period.as_ref()?;
    u64::try_from(grace.nanoseconds).ok().map(|nanoseconds| nanoseconds.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use mesos_proto::{json, prost::Message as _};

    use super::*;

    fn read(text: &str) -> Translated {
        let bytes = json::decode_to_bytes("mesos.v1.scheduler.Call", text.as_bytes()).unwrap();
        translate(&scheduler::Call::decode(bytes.clone()).unwrap(), &bytes, Some(7)).unwrap()
    }

    fn call(kind: &str, more: &str) -> Translated {
        read(&format!(r#"{{"type":"{kind}","framework_id":{{"value":"f"}}{more}}}"#))
    }

    #[test]
    fn refuse_seconds_are_taken_as_mesos_takes_them() {
        for (text, expected) in [
            ("", None),
            (r#""filters":{}"#, None),
            (r#""filters":{"refuse_seconds":-1}"#, None),
            (r#""filters":{"refuse_seconds":0}"#, Some(0)),
            (r#""filters":{"refuse_seconds":0.5}"#, Some(500)),
            (r#""filters":{"refuse_seconds":1e18}"#, Some(31_536_000_000)),
            (r#""filters":{"refuse_seconds":"Infinity"}"#, Some(31_536_000_000)),
        ] {
            let found = call("DECLINE", &format!(r#","decline":{{{text}}}"#));
            let Translated::Allocator(AllocatorCall::Decline { refuse_ms, caller, .. }) = found else {
                panic!("{found:?}")
            };
            assert_eq!((refuse_ms, caller.stream), (expected, Some(7)), "{text}");
        }
    }

    #[test]
    fn each_call_goes_to_the_machine_that_decides_on_it() {
        let registry = [
            ("TEARDOWN", ""),
            ("REVIVE", ""),
            ("SUPPRESS", r#","suppress":{"roles":["a"]}"#),
            ("KILL", r#","kill":{"task_id":{"value":"t"},"kill_policy":{"grace_period":{"nanoseconds":1500000}}}"#),
            ("SHUTDOWN", r#","shutdown":{"executor_id":{"value":"e"},"agent_id":{"value":"a"}}"#),
            (
                "ACKNOWLEDGE",
                r#","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AAAAAAAAAAAAAAAAAAAAAQ=="}"#,
            ),
            ("RECONCILE", r#","reconcile":{"tasks":[{"task_id":{"value":"t"}}]}"#),
            ("MESSAGE", r#","message":{"agent_id":{"value":"a"},"executor_id":{"value":"e"},"data":"eA=="}"#),
        ];
        for (kind, more) in registry {
            let found = call(kind, more);
            assert!(matches!(found, Translated::Registry(_)), "{found:?}");
        }
        let Translated::Registry(RegistryCall::Kill { grace_ms, .. }) = call(registry[3].0, registry[3].1) else {
            panic!()
        };
        assert_eq!(grace_ms, Some(2));
        let Translated::Registry(RegistryCall::Acknowledge { uuid, .. }) = call(registry[5].0, registry[5].1) else {
            panic!()
        };
        assert_eq!(uuid, 1);
        assert!(matches!(call("REQUEST", r#","request":{}"#), Translated::Allocator(AllocatorCall::Request { .. })));
        assert_eq!(call("UNKNOWN", ""), Translated::Unknown);
        assert_eq!(call("RECONCILE_OPERATIONS", ""), Translated::Nothing);
    }

    #[test]
    fn inverse_offers_are_accepted_or_declined_with_a_filter() {
        for (kind, field, expected) in [
            ("ACCEPT_INVERSE_OFFERS", "accept_inverse_offers", true),
            ("DECLINE_INVERSE_OFFERS", "decline_inverse_offers", false),
        ] {
            let found = call(
                kind,
                &format!(r#","{field}":{{"inverse_offer_ids":[{{"value":"i"}}],"filters":{{"refuse_seconds":2}}}}"#),
            );
            let Translated::Allocator(AllocatorCall::AnswerInverse { offers, accepted, refuse_ms, .. }) = found else {
                panic!("{found:?}")
            };
            assert_eq!((offers, accepted, refuse_ms), (vec!["i".into()], expected, Some(2000)));
        }
    }

    fn requested(requests: &str) -> Result<Vec<Request>, String> {
        let text =
            format!(r#"{{"type":"REQUEST","framework_id":{{"value":"f"}},"request":{{"requests":[{requests}]}}}}"#);
        let bytes = json::decode_to_bytes("mesos.v1.scheduler.Call", text.as_bytes()).unwrap();
        match translate(&scheduler::Call::decode(bytes.clone()).unwrap(), &bytes, None) {
            Ok(Translated::Allocator(AllocatorCall::Request { requests, .. })) => Ok(requests),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    const CPUS: &str = r#""resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":2}}]"#;

    #[test]
    fn a_request_is_a_hint_or_with_a_time_a_need() {
        let hint = requested(&format!("{{{CPUS}}}")).unwrap().remove(0);
        assert_eq!((hint.name.as_str(), hint.count, hint.hold_ms, hint.priority, hint.role), ("", 1, None, None, None));
        let need = requested(&format!(
            r#"{{{CPUS},"name":"n","role":"ads","count":3,"hold_seconds":1e9,"priority":2.6,"agent_id":{{"value":"a"}}}}"#
        ));
        let need = need.unwrap().remove(0);
        assert_eq!((need.name.as_str(), need.count, need.hold_ms, need.priority), ("n", 3, Some(3_600_000), Some(3)));
        assert_eq!((need.role, need.agent), (Some("ads".into()), Some("a".into())));
        assert_eq!(need.resources.scalar("cpus"), 2000);
    }

    #[test]
    fn a_request_that_means_nothing_is_refused_with_its_reason() {
        for (request, words) in [
            (format!(r#"{{{CPUS},"hold_seconds":0,"name":"n"}}"#), "'hold_seconds' must be greater than zero"),
            (format!(r#"{{{CPUS},"hold_seconds":1}}"#), "'name' must be set"),
            (r#"{"hold_seconds":1,"name":"n"}"#.to_owned(), "'resources' must be set"),
            (format!(r#"{{{CPUS},"count":0}}"#), "'count'"),
            (format!(r#"{{{CPUS},"priority":"Infinity"}}"#), "'priority'"),
            (format!(r#"{{{CPUS},"role":"/a"}}"#), "'role' is invalid"),
            (format!(r#"{{{CPUS},"name":"a/b"}}"#), "'name' is invalid"),
            (CPUS.replace("\"value\":2", "\"value\":-2").replacen('"', "{\"", 1) + "}", "invalid resources"),
            (format!(r#"{{{CPUS},"name":"n"}},{{{CPUS},"name":"n"}}"#), "is used twice"),
        ] {
            let error = requested(&request).unwrap_err();
            assert!(error.contains(words), "{request}: {error}");
        }
    }

    #[test]
    fn constraints_of_a_subscribe_are_in_its_info_or_make_it_invalid() {
        let subscribe = |role: &str| {
            let found = read(&format!(
                r#"{{"type":"SUBSCRIBE","subscribe":{{"framework_info":{{"user":"u","name":"n","role":"ads"}},
                    "offer_constraints":{{"role_constraints":{{"{role}":{{"groups":[{{"attribute_constraints":[
                    {{"selector":{{"attribute_name":"rack"}},"predicate":{{"exists":{{}}}}}}]}}]}}}}}}}}}}"#
            ));
            let Translated::Subscribe(subscribe) = found else { panic!("{found:?}") };
            subscribe.info
        };
        assert_eq!(subscribe("ads").info.constraints["ads"].groups.len(), 1);
        assert!(subscribe("web").invalid.unwrap_or_default().contains("not subscribed"));
    }

    #[test]
    fn a_subscribe_keeps_the_bytes_of_its_info() {
        let found = read(
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n","id":{"value":""}},"suppressed_roles":["*"]}}"#,
        );
        let Translated::Subscribe(subscribe) = found else { panic!("{found:?}") };
        assert_eq!(subscribe.framework, None);
        assert_eq!(v1::FrameworkInfo::decode(subscribe.body).unwrap().name, "n");
        assert_eq!(subscribe.suppressed.len(), 1);
    }
}
