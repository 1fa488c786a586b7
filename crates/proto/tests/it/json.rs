//! JSON as clients of Apache Mesos read and write it.

use mesos_proto::json::{self, Defaults};
use mesos_proto::v1::{self, TaskState, master, scheduler};
use mesos_proto::{descriptors, prost::Message};

#[test]
fn a_subscribed_event_is_written_as_mesos_writes_it() {
    let event = scheduler::Event {
        r#type: Some(scheduler::event::Type::Subscribed.into()),
        subscribed: Some(scheduler::event::Subscribed {
            framework_id: v1::FrameworkId { value: "f-0000".into() },
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        }),
        ..Default::default()
    };
    assert_eq!(
        json::encode(&event),
        r#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"f-0000"},"heartbeat_interval_seconds":15.0}}"#
    );
}

#[test]
fn an_error_event_is_written_as_mesos_writes_it() {
    let event = scheduler::Event {
        r#type: Some(scheduler::event::Type::Error.into()),
        error: Some(scheduler::event::Error { message: "Framework has been removed".into() }),
        ..Default::default()
    };
    assert_eq!(json::encode(&event), r#"{"type":"ERROR","error":{"message":"Framework has been removed"}}"#);
}

#[test]
fn a_subscribe_call_is_read() {
    let text = br#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root","name":"example",
        "roles":["a","b/c"],"capabilities":[{"type":"MULTI_ROLE"},{"type":"PARTITION_AWARE"}],
        "failover_timeout":604800.0,"offer_filters":{"a":{"min_allocatable_resources":
        {"quantities":[{"quantities":{"cpus":{"value":1.5}}}]}}}},"suppressed_roles":["a"]}}"#;
    let call: scheduler::Call = json::decode(text).unwrap();
    assert_eq!(call.r#type(), scheduler::call::Type::Subscribe);
    let subscribe = call.subscribe.unwrap();
    assert_eq!(subscribe.suppressed_roles, ["a"]);
    let info = subscribe.framework_info;
    assert_eq!(info.roles, ["a", "b/c"]);
    assert_eq!(info.failover_timeout, Some(604_800.0));
    assert_eq!(info.checkpoint, None);
    assert_eq!(
        info.capabilities.iter().map(|c| c.r#type()).collect::<Vec<_>>(),
        [v1::framework_info::capability::Type::MultiRole, v1::framework_info::capability::Type::PartitionAware]
    );
    let quantities = info.offer_filters["a"].min_allocatable_resources.as_ref().unwrap();
    assert_eq!(quantities.quantities[0].quantities["cpus"].value, 1.5);
}

const ACCEPT: &[u8] = br#"{"framework_id":{"value":"f"},"type":"ACCEPT","accept":{
    "offer_ids":[{"value":"o-1"},{"value":"o-2"}],
    "operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"My Task",
        "task_id":{"value":"t-1"},"agent_id":{"value":"S1"},
        "command":{"shell":true,"value":"sleep 30","environment":{"variables":[{"name":"A","value":"1"}]}},
        "container":{"type":"DOCKER","docker":{"image":"nginx","network":"BRIDGE",
            "port_mappings":[{"host_port":31000,"container_port":80,"protocol":"tcp"}]}},
        "resources":[{"allocation_info":{"role":"r"},"name":"cpus","type":"SCALAR","scalar":{"value":1.0}},
            {"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":31001}]}}],
        "limits":{"mem":{"value":"Infinity"}}}]}}],
    "filters":{"refuse_seconds":5.0}}}"#;

#[test]
fn an_accept_call_is_read() {
    let call: scheduler::Call = json::decode(ACCEPT).unwrap();
    let accept = call.accept.unwrap();
    assert_eq!(accept.offer_ids.len(), 2);
    let task = &accept.operations[0].launch.as_ref().unwrap().task_infos[0];
    assert_eq!(task.command.as_ref().unwrap().shell, Some(true));
    assert_eq!(task.resources[1].ranges.as_ref().unwrap().range[0].end, 31_001);
    assert_eq!(task.limits["mem"].value, f64::INFINITY);
    let docker = task.container.as_ref().unwrap().docker.as_ref().unwrap();
    assert_eq!(docker.port_mappings[0].container_port, 80);
}

#[test]
fn an_accept_call_survives_the_way_through_text() {
    let call: scheduler::Call = json::decode(ACCEPT).unwrap();
    let again: scheduler::Call = json::decode(json::encode(&call).as_bytes()).unwrap();
    assert_eq!(call, again);
    let bytes = json::decode_to_bytes("mesos.v1.scheduler.Call", ACCEPT).unwrap();
    assert_eq!(scheduler::Call::decode(bytes).unwrap(), call);
}

#[test]
fn an_acknowledgement_carries_its_uuid_in_base64() {
    let text = br#"{"framework_id":{"value":"f"},"type":"ACKNOWLEDGE","acknowledge":{
        "agent_id":{"value":"S1"},"task_id":{"value":"t"},"uuid":"jhadf73jhakdlfha723adf=="}}"#;
    let call: scheduler::Call = json::decode(text).unwrap();
    assert_eq!(call.acknowledge.unwrap().uuid.len(), 16);
    let update = v1::TaskStatus { uuid: Some(vec![0xff; 16].into()), ..running() };
    assert!(json::encode(&update).contains(r#""uuid":"/////////////////////w==""#));
}

fn running() -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: v1::TaskId { value: "t".into() },
        state: TaskState::TaskRunning.into(),
        ..Default::default()
    }
}

#[test]
fn text_is_one_line_of_ascii() {
    let status = v1::TaskStatus { message: Some("a\nb\t\"\u{1}\u{7f}é\u{1f600}\\".into()), ..running() };
    assert_eq!(
        json::encode(&status),
        r#"{"task_id":{"value":"t"},"state":"TASK_RUNNING","message":"a\nb\t\"\u0001\u007f\u00e9\ud83d\ude00\\"}"#
    );
    let again: v1::TaskStatus = json::decode(json::encode(&status).as_bytes()).unwrap();
    assert_eq!(again, status);
}

#[test]
fn what_is_set_to_its_default_is_written_and_what_is_unset_is_not() {
    let info = v1::FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() };
    assert_eq!(json::encode(&info), r#"{"user":"u","name":"n"}"#);
    let info = v1::FrameworkInfo { checkpoint: Some(false), failover_timeout: Some(0.0), ..info };
    assert_eq!(json::encode(&info), r#"{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false}"#);
}

#[test]
fn declared_defaults_are_written_on_request_unless_they_are_deprecated() {
    let info = v1::FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() };
    // `role` has the default `*` but is deprecated.
    assert_eq!(
        json::encode_with(&info, Defaults::Declared),
        r#"{"user":"u","name":"n","failover_timeout":0.0,"checkpoint":false}"#
    );
    let command = v1::CommandInfo { value: Some("true".into()), ..Default::default() };
    assert!(json::encode_with(&command, Defaults::Declared).contains(r#""shell":true"#));
}

#[test]
fn wide_integers_are_bare_numbers() {
    let duration = v1::DurationInfo { nanoseconds: i64::MIN };
    assert_eq!(json::encode(&duration), r#"{"nanoseconds":-9223372036854775808}"#);
    assert_eq!(json::decode::<v1::DurationInfo>(json::encode(&duration).as_bytes()).unwrap(), duration);
    let range = v1::value::Range { begin: 0, end: u64::MAX };
    assert_eq!(json::encode(&range), r#"{"begin":0,"end":18446744073709551615}"#);
    assert_eq!(json::decode::<v1::value::Range>(json::encode(&range).as_bytes()).unwrap(), range);
}

#[test]
fn infinities_and_nan_have_names() {
    let scalar = |value| json::encode(&v1::value::Scalar { value });
    assert_eq!(scalar(f64::INFINITY), r#"{"value":"Infinity"}"#);
    assert_eq!(scalar(f64::NEG_INFINITY), r#"{"value":"-Infinity"}"#);
    assert_eq!(scalar(f64::NAN), r#"{"value":"NaN"}"#);
    assert_eq!(scalar(0.1), r#"{"value":0.1}"#);
    assert_eq!(scalar(-0.0), r#"{"value":-0.0}"#);
    let huge = json::decode::<v1::value::Scalar>(scalar(f64::MAX).as_bytes()).unwrap();
    assert_eq!(huge.value, f64::MAX);
}

#[test]
fn an_enum_number_without_a_name_is_written_as_the_number() {
    let status = v1::TaskStatus { state: 999, ..running() };
    assert_eq!(json::encode(&status), r#"{"task_id":{"value":"t"},"state":999}"#);
}

#[test]
fn maps_are_objects_in_a_fixed_order() {
    let task = v1::TaskInfo {
        name: "n".into(),
        task_id: v1::TaskId { value: "t".into() },
        agent_id: v1::AgentId { value: "S".into() },
        limits: [("mem", 2.0), ("cpus", 1.0)]
            .map(|(name, value)| (name.to_owned(), v1::value::Scalar { value }))
            .into(),
        ..Default::default()
    };
    assert!(json::encode(&task).ends_with(r#""limits":{"cpus":{"value":1.0},"mem":{"value":2.0}}}"#));
}

#[test]
fn a_duration_is_read_as_an_object_and_as_text() {
    let drain = |value: &str| {
        let text = format!(
            r#"{{"type":"DRAIN_AGENT","drain_agent":{{"agent_id":{{"value":"S"}},"max_grace_period":{value}}}}}"#
        );
        json::decode::<master::Call>(text.as_bytes()).map(|call| call.drain_agent.unwrap().max_grace_period.unwrap())
    };
    let ten_minutes = mesos_proto::prost_types::Duration { seconds: 600, nanos: 0 };
    for text in [r#"{"seconds":600}"#, r#""600s""#, r#""10mins""#, r#"{"seconds":"600","nanos":null}"#] {
        assert_eq!(drain(text), Ok(ten_minutes), "{text}");
    }
    for text in [r#""ten""#, r#""10""#, r#""1e300weeks""#, r#""""#] {
        assert!(drain(text).is_err(), "{text}");
    }
}

#[test]
fn the_contract_has_every_package_and_our_fields_start_at_10000() {
    let pool = descriptors();
    for name in [
        "mesos.v1.TaskInfo",
        "mesos.v1.agent.ProcessIO",
        "mesos.v1.allocator.InverseOfferStatus",
        "mesos.v1.executor.Call",
        "mesos.v1.maintenance.Schedule",
        "mesos.v1.master.Response",
        "mesos.v1.quota.QuotaConfig",
        "mesos.v1.scheduler.OfferConstraints",
        "mesos.services.v1.Frame",
    ] {
        assert!(pool.get_message_by_name(name).is_some(), "{name}");
    }
    let mut ours: Vec<String> = pool
        .all_messages()
        .filter(|message| message.full_name().starts_with("mesos.v1."))
        .flat_map(|message| message.fields().filter(|f| f.number() >= 10_000).collect::<Vec<_>>())
        .map(|field| format!("{}={}", field.full_name(), field.number()))
        .collect();
    ours.sort();
    assert_eq!(
        ours,
        [
            "mesos.v1.FrameworkInfo.priority=10000",
            "mesos.v1.Request.count=10002",
            "mesos.v1.Request.hold_seconds=10003",
            "mesos.v1.Request.name=10000",
            "mesos.v1.Request.priority=10004",
            "mesos.v1.Request.role=10001",
            "mesos.v1.TaskInfo.priority=10000",
            "mesos.v1.TaskStatus.exit_code=10000",
            "mesos.v1.master.Response.GetAgents.Agent.down=10001",
            "mesos.v1.master.Response.GetAgents.Agent.unreachable=10000",
            "mesos.v1.master.Response.GetAgents.unreachable_agents=10000",
            "mesos.v1.scheduler.Call.call_id=10000",
            "mesos.v1.scheduler.Call.trace_parent=10001",
        ]
    );
}
