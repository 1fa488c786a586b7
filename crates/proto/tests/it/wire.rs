//! Undecoded bytes: what a client wrote reaches the agent, fields of a newer client included.

use bytes::Bytes;
use mesos_proto::prost::Message;
use mesos_proto::prost::encoding::{WireType, encode_key, encode_varint};
use mesos_proto::v1::{self, offer, scheduler};
use mesos_proto::wire::{self, WireError};
use mesos_proto::{Raw, json};

/// Appends a length-delimited field.
fn put(field: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn task_info(id: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        name: id.into(),
        task_id: v1::TaskId { value: id.into() },
        agent_id: v1::AgentId { value: "S1".into() },
        ..Default::default()
    }
}

/// A task as a newer client writes it: unknown fields in it and in its container.
fn newer_task(id: &str) -> Vec<u8> {
    let mut container =
        v1::ContainerInfo { r#type: v1::container_info::Type::Mesos.into(), ..Default::default() }.encode_to_vec();
    put(4_000, b"of tomorrow", &mut container);
    let mut task = task_info(id).encode_to_vec();
    put(number("mesos.v1.TaskInfo", "container"), &container, &mut task);
    put(5_000, b"unheard of", &mut task);
    task
}

fn number(message: &str, field: &str) -> u32 {
    mesos_proto::descriptor(message).unwrap().get_field_by_name(field).unwrap().number()
}

/// An ACCEPT with one LAUNCH of two tasks, one DECLINE-like empty operation and one LAUNCH_GROUP.
fn newer_accept() -> Bytes {
    let operation = |kind: offer::operation::Type, field: &str, part: &[u8]| {
        let mut out = v1::offer::Operation { r#type: Some(kind.into()), ..Default::default() }.encode_to_vec();
        put(number("mesos.v1.Offer.Operation", field), part, &mut out);
        out
    };
    let mut launch = Vec::new();
    put(1, &newer_task("a"), &mut launch);
    put(1, &newer_task("b"), &mut launch);
    let mut group = Vec::new();
    put(number("mesos.v1.TaskGroupInfo", "tasks"), &newer_task("c"), &mut group);
    let mut launch_group = Vec::new();
    put(number("mesos.v1.Offer.Operation.LaunchGroup", "executor"), &newer_executor(), &mut launch_group);
    put(number("mesos.v1.Offer.Operation.LaunchGroup", "task_group"), &group, &mut launch_group);
    let mut accept = Vec::new();
    for operation in [
        operation(offer::operation::Type::Launch, "launch", &launch),
        operation(offer::operation::Type::Reserve, "reserve", &[]),
        operation(offer::operation::Type::LaunchGroup, "launch_group", &launch_group),
    ] {
        put(number("mesos.v1.scheduler.Call.Accept", "operations"), &operation, &mut accept);
    }
    let mut call = scheduler::Call {
        framework_id: Some(v1::FrameworkId { value: "f".into() }),
        r#type: Some(scheduler::call::Type::Accept.into()),
        ..Default::default()
    }
    .encode_to_vec();
    put(number("mesos.v1.scheduler.Call", "accept"), &accept, &mut call);
    call.into()
}

fn newer_executor() -> Vec<u8> {
    let mut executor =
        v1::ExecutorInfo { executor_id: v1::ExecutorId { value: "e".into() }, ..Default::default() }.encode_to_vec();
    put(6_000, b"new", &mut executor);
    executor
}

#[test]
fn unknown_fields_of_a_task_and_its_container_survive() {
    let call = newer_accept();
    let operations = wire::accept_operations(&call).unwrap();
    assert_eq!(operations.len(), 3);
    assert_eq!(operations[0].launch_task_infos, [newer_task("a"), newer_task("b")]);
    assert_eq!(operations[0].group_executor, None);
    assert_eq!(operations[1].launch_task_infos, Vec::<Bytes>::new());
    assert_eq!(operations[2].group_task_infos, [newer_task("c")]);
    assert_eq!(operations[2].group_executor.as_deref(), Some(&newer_executor()[..]));
    let task = v1::TaskInfo::decode(operations[0].launch_task_infos[1].clone()).unwrap();
    assert_eq!(task.task_id.value, "b");
    assert!(task.container.is_some());
}

#[test]
fn the_slices_are_those_of_the_decoded_message() {
    let raw = newer_accept();
    let call = scheduler::Call::decode(raw.clone()).unwrap();
    let decoded = call.accept.unwrap().operations;
    let slices = wire::accept_operations(&raw).unwrap();
    for (operation, slices) in decoded.iter().zip(&slices) {
        assert_eq!(&v1::offer::Operation::decode(slices.operation.clone()).unwrap(), operation);
        let launch = operation.launch.as_ref().map_or(&[][..], |launch| &launch.task_infos);
        let sliced: Vec<v1::TaskInfo> =
            slices.launch_task_infos.iter().map(|bytes| v1::TaskInfo::decode(bytes.clone()).unwrap()).collect();
        assert_eq!(launch, sliced);
    }
}

#[test]
fn slices_share_the_memory_of_the_call() {
    let call = newer_accept();
    let range = call.as_ptr_range();
    for operation in wire::accept_operations(&call).unwrap() {
        for task in operation.launch_task_infos {
            assert!(range.contains(&task.as_ptr()));
        }
    }
}

#[test]
fn a_raw_call_is_written_as_it_was_read() {
    let bytes = newer_accept();
    let call = Raw::<scheduler::Call>::decode(bytes.clone()).unwrap();
    assert_eq!(call.raw(), &bytes);
    assert_eq!(call.r#type(), scheduler::call::Type::Accept);
    assert_eq!(call.encoded_len(), bytes.len());
    assert_eq!(call.encode_to_vec(), bytes);
    assert_eq!(call.to_bytes(), bytes);
    // prost alone would lose them.
    assert!(call.message().encoded_len() < bytes.len());
}

#[test]
fn a_raw_call_made_here_encodes_its_message() {
    let call = scheduler::Call { call_id: Some("c".into()), ..Default::default() };
    let raw = Raw::from(call.clone());
    assert!(raw.raw().is_empty());
    assert_eq!(raw.encode_to_vec(), call.encode_to_vec());
    assert_eq!(raw.to_bytes(), call.encode_to_vec());
}

#[test]
fn merging_into_a_raw_call_keeps_both_parts() {
    let mut raw = Raw::<scheduler::Call>::decode(newer_accept()).unwrap();
    let more = scheduler::Call { call_id: Some("c".into()), ..Default::default() };
    raw.merge(&more.encode_to_vec()[..]).unwrap();
    assert_eq!(raw.call_id(), "c");
    let again = Raw::<scheduler::Call>::decode(raw.to_bytes()).unwrap();
    assert_eq!(again.message(), raw.message());
    assert_eq!(wire::accept_operations(raw.raw()).unwrap().len(), 3);
    raw.clear();
    assert_eq!(raw, Raw::default());
}

#[test]
fn framework_infos_are_found() {
    let mut info = v1::FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() }.encode_to_vec();
    put(7_000, b"new", &mut info);
    let wrap = |outer: &str, message: &str| {
        let mut inner = Vec::new();
        put(number(message, "framework_info"), &info, &mut inner);
        let mut call = Vec::new();
        put(number("mesos.v1.scheduler.Call", outer), &inner, &mut call);
        Bytes::from(call)
    };
    let subscribe = wrap("subscribe", "mesos.v1.scheduler.Call.Subscribe");
    assert_eq!(wire::subscribe_framework_info(&subscribe).unwrap().unwrap(), info);
    assert_eq!(wire::update_framework_info(&subscribe), Ok(None));
    let update = wrap("update_framework", "mesos.v1.scheduler.Call.UpdateFramework");
    assert_eq!(wire::update_framework_info(&update).unwrap().unwrap(), info);
}

#[test]
fn a_message_written_twice_is_merged() {
    let part = |info: v1::FrameworkInfo| {
        let mut inner = Vec::new();
        put(1, &info.encode_to_vec(), &mut inner);
        let mut call = Vec::new();
        put(number("mesos.v1.scheduler.Call", "subscribe"), &inner, &mut call);
        call
    };
    let first = v1::FrameworkInfo { user: "u".into(), hostname: Some("h".into()), ..Default::default() };
    let second = v1::FrameworkInfo { user: "v".into(), ..Default::default() };
    let call: Bytes = [part(first), part(second)].concat().into();
    let sliced = wire::subscribe_framework_info(&call).unwrap().unwrap();
    let decoded = scheduler::Call::decode(call).unwrap().subscribe.unwrap().framework_info;
    assert_eq!(v1::FrameworkInfo::decode(sliced).unwrap(), decoded);
    assert_eq!(decoded.hostname(), "h");
}

#[test]
fn a_call_given_as_json_has_slices_too() {
    let text = br#"{"type":"ACCEPT","accept":{"operations":[{"type":"LAUNCH","launch":{"task_infos":
        [{"name":"n","task_id":{"value":"t"},"agent_id":{"value":"S"}}]}}]}}"#;
    let bytes = json::decode_to_bytes("mesos.v1.scheduler.Call", text).unwrap();
    let operations = wire::accept_operations(&bytes).unwrap();
    let task = v1::TaskInfo::decode(operations[0].launch_task_infos[0].clone()).unwrap();
    assert_eq!(task.task_id.value, "t");
}

#[test]
fn malformed_bytes_are_refused() {
    let slices = |bytes: &'static [u8]| wire::slices(&Bytes::from_static(bytes), &[1]);
    assert_eq!(slices(b""), Ok(vec![]));
    assert_eq!(slices(b"\x0a\x00"), Ok(vec![Bytes::new()]));
    assert_eq!(slices(b"\x0a\x05ab"), Err(WireError::Truncated));
    assert_eq!(slices(b"\x0a"), Err(WireError::Truncated));
    assert_eq!(slices(b"\x08\x01"), Err(WireError::NotLengthDelimited(1)));
    assert_eq!(slices(b"\x0b\x0c"), Err(WireError::WireType { field: 1, wire_type: 3 }));
    assert_eq!(slices(b"\x0f"), Err(WireError::WireType { field: 1, wire_type: 7 }));
    assert_eq!(slices(b"\x02\x00"), Err(WireError::FieldNumber));
    assert_eq!(slices(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), Err(WireError::Varint));
    assert_eq!(slices(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Err(WireError::Varint));
    assert_eq!(slices(b"\x15\x00\x00"), Err(WireError::Truncated));
    assert_eq!(slices(b"\x11\x00\x00\x00\x00\x00\x00\x00"), Err(WireError::Truncated));
    // A length that overflows the address space.
    assert_eq!(slices(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Err(WireError::Truncated));
}

#[test]
fn an_empty_path_is_the_message_itself() {
    let call = newer_accept();
    assert_eq!(wire::slices(&call, &[]).unwrap(), [call]);
}
