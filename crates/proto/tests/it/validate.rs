//! Required fields, the parts of calls, and ids.

use mesos_proto::prost::Message;
use mesos_proto::v1::{self, master, scheduler};
use mesos_proto::validate::{self, IdError, RequiredError, master_call, required_fields, scheduler_call, validate_id};

const CALL: &str = "mesos.v1.scheduler.Call";

fn missing(full_name: &str, bytes: &[u8]) -> Vec<String> {
    match required_fields(full_name, bytes) {
        Ok(()) => Vec::new(),
        Err(RequiredError::Missing(paths)) => paths,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_empty_message_lacks_its_required_fields() {
    assert_eq!(missing("mesos.v1.FrameworkInfo", b""), ["user", "name"]);
    assert_eq!(missing("mesos.v1.TaskInfo", b""), ["name", "task_id", "agent_id"]);
    assert_eq!(missing(CALL, b""), Vec::<String>::new());
    assert_eq!(
        required_fields("mesos.v1.TaskInfo", b"").unwrap_err().to_string(),
        "Missing required fields: name, task_id, agent_id"
    );
}

#[test]
fn required_fields_within_are_found() {
    // subscribe {} and subscribe { framework_info {} }
    assert_eq!(missing(CALL, b"\x1a\x00"), ["subscribe.framework_info"]);
    assert_eq!(missing(CALL, b"\x1a\x02\x0a\x00"), ["subscribe.framework_info.user", "subscribe.framework_info.name"]);
}

#[test]
fn every_encoded_message_of_ours_is_complete() {
    // prost writes required fields even where they are empty.
    let call = scheduler::Call {
        subscribe: Some(scheduler::call::Subscribe::default()),
        accept: Some(scheduler::call::Accept {
            operations: vec![v1::offer::Operation {
                launch: Some(v1::offer::operation::Launch { task_infos: vec![v1::TaskInfo::default(); 2] }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(missing(CALL, &call.encode_to_vec()), Vec::<String>::new());
}

#[test]
fn a_message_written_in_two_parts_counts_as_their_merge() {
    // subscribe { framework_info { user } } and subscribe { framework_info { name } }
    let parts = b"\x1a\x05\x0a\x03\x0a\x01u\x1a\x05\x0a\x03\x12\x01n";
    assert_eq!(missing(CALL, parts), Vec::<String>::new());
    assert_eq!(missing(CALL, &parts[..7]), ["subscribe.framework_info.name"]);
}

#[test]
fn a_required_enum_with_an_unknown_number_is_missing() {
    // Resource { name: "c", type: SCALAR } and the same with type 99
    assert_eq!(missing("mesos.v1.Resource", b"\x0a\x01c\x10\x00"), Vec::<String>::new());
    assert_eq!(missing("mesos.v1.Resource", b"\x0a\x01c\x10\x63"), ["type"]);
}

#[test]
fn bytes_that_are_no_protobuf_are_malformed() {
    assert!(matches!(required_fields(CALL, b"\x1a\x09"), Err(RequiredError::Malformed(_))));
    assert!(matches!(required_fields(CALL, b"\x18\x09"), Err(RequiredError::Malformed(_))));
    assert_eq!(required_fields("mesos.v1.Nothing", b""), Err(RequiredError::UnknownMessage("mesos.v1.Nothing".into())));
}

#[test]
fn a_deep_message_is_malformed_and_does_not_overflow_the_stack() {
    let mut container = v1::ContainerId { value: "c".into(), parent: None }.encode_to_vec();
    for _ in 0..10_000 {
        let mut outer = v1::ContainerId { value: "c".into(), parent: None }.encode_to_vec();
        outer.push(0x12);
        mesos_proto::prost::encoding::encode_varint(container.len() as u64, &mut outer);
        outer.extend_from_slice(&container);
        container = outer;
    }
    assert!(matches!(required_fields("mesos.v1.ContainerID", &container), Err(RequiredError::Malformed(_))));
}

fn call(kind: scheduler::call::Type) -> scheduler::Call {
    scheduler::Call {
        r#type: Some(kind.into()),
        framework_id: Some(v1::FrameworkId { value: "f".into() }),
        ..Default::default()
    }
}

#[test]
fn a_call_needs_its_type_its_framework_and_its_part() {
    use scheduler::call::Type;
    let error = |call: &scheduler::Call| scheduler_call(call, None).unwrap_err().to_string();
    assert_eq!(error(&scheduler::Call::default()), "Expecting 'type' to be present");
    let unknown = scheduler::Call { r#type: Some(4_711), ..Default::default() };
    assert_eq!(error(&unknown), "Expecting 'type' to be present");
    let nobody = scheduler::Call { framework_id: None, ..call(Type::Teardown) };
    assert_eq!(error(&nobody), "Expecting 'framework_id' to be present");
    for kind in [Type::Teardown, Type::Revive, Type::Suppress, Type::Unknown] {
        assert_eq!(scheduler_call(&call(kind), None), Ok(()));
    }
    for kind in [
        Type::Subscribe,
        Type::Accept,
        Type::Decline,
        Type::AcceptInverseOffers,
        Type::DeclineInverseOffers,
        Type::Kill,
        Type::Shutdown,
        Type::Acknowledge,
        Type::AcknowledgeOperationStatus,
        Type::Reconcile,
        Type::ReconcileOperations,
        Type::Message,
        Type::Request,
        Type::UpdateFramework,
    ] {
        let name = kind.as_str_name().to_lowercase();
        assert_eq!(error(&call(kind)), format!("Expecting '{name}' to be present"));
    }
}

#[test]
fn ids_and_principals_must_agree_on_subscribe() {
    let mut call = scheduler::Call {
        subscribe: Some(scheduler::call::Subscribe {
            framework_info: v1::FrameworkInfo { principal: Some("p".into()), ..Default::default() },
            ..Default::default()
        }),
        ..call(scheduler::call::Type::Subscribe)
    };
    assert_eq!(
        scheduler_call(&call, None).unwrap_err().to_string(),
        "'framework_id' differs from 'subscribe.framework_info.id'"
    );
    call.framework_id = None;
    assert_eq!(scheduler_call(&call, None), Ok(()));
    assert_eq!(scheduler_call(&call, Some("p")), Ok(()));
    assert_eq!(
        scheduler_call(&call, Some("q")).unwrap_err().to_string(),
        "Authenticated principal 'q' does not match principal 'p' set in `FrameworkInfo`"
    );
}

#[test]
fn an_acknowledgement_needs_sixteen_bytes() {
    let with = |uuid: &'static [u8]| scheduler::Call {
        acknowledge: Some(scheduler::call::Acknowledge { uuid: uuid.into(), ..Default::default() }),
        ..call(scheduler::call::Type::Acknowledge)
    };
    assert_eq!(scheduler_call(&with(&[7; 16]), None), Ok(()));
    for uuid in [&b""[..], &[7; 15], &[7; 17]] {
        assert_eq!(scheduler_call(&with(uuid), None).unwrap_err().to_string(), "Not a valid UUID");
    }
}

#[test]
fn an_operator_call_needs_its_type_and_its_part() {
    assert_eq!(master_call(&master::Call::default()).unwrap_err().to_string(), "Expecting 'type' to be present");
    let call = |kind: master::call::Type| master::Call { r#type: Some(kind.into()), ..Default::default() };
    assert_eq!(master_call(&call(master::call::Type::GetState)), Ok(()));
    assert_eq!(
        master_call(&call(master::call::Type::DrainAgent)).unwrap_err().to_string(),
        "Expecting 'drain_agent' to be present"
    );
}

#[test]
fn ids_follow_the_rules_of_mesos() {
    for id in ["a", "a.b", "a*b", "a b", "...", "é", &"x".repeat(validate::ID_MAX_BYTES)] {
        assert_eq!(validate_id(id), Ok(()), "{id}");
    }
    assert_eq!(validate_id(""), Err(IdError::Empty));
    assert_eq!(validate_id(&"x".repeat(256)), Err(IdError::TooLong));
    for id in [".", ".."] {
        assert_eq!(validate_id(id).unwrap_err().to_string(), format!("'{id}' is disallowed"));
    }
    for id in ["a/b", "a\\b", "a\0", "a\n", "\u{7f}"] {
        assert_eq!(validate_id(id).unwrap_err().to_string(), format!("'{id}' contains invalid characters"));
    }
}
