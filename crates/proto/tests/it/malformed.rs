//! Random and damaged input: an error perhaps, never a panic.

use bytes::Bytes;
use mesos_proto::json::{self, Defaults};
use mesos_proto::prost::Message;
use mesos_proto::v1::{executor, master, scheduler};
use mesos_proto::validate::required_fields;
use mesos_proto::{Raw, services, wire};
use proptest::prelude::*;

const NAMES: &[&str] = &[
    "mesos.v1.scheduler.Call",
    "mesos.v1.master.Call",
    "mesos.v1.executor.Call",
    "mesos.v1.agent.Call",
    "mesos.services.v1.Frame",
];

fn read_every_way(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    for name in NAMES {
        let _ = required_fields(name, &bytes);
        let _ = json::encode_bytes(name, &bytes, Defaults::Declared);
    }
    let _ = Raw::<scheduler::Call>::decode(bytes.clone());
    let _ = master::Call::decode(bytes.clone());
    let _ = executor::Call::decode(bytes.clone());
    let _ = services::v1::Frame::decode(bytes.clone());
    let _ = wire::slices(&bytes, &[4, 2, 2, 1]);
    let _ = wire::accept_operations(&bytes);
    let _ = wire::subscribe_framework_info(&bytes);
    let _ = wire::update_framework_info(&bytes);
}

/// Any JSON that resembles a call: real names, values of every kind.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let name = prop::sample::select(vec![
        "type",
        "subscribe",
        "framework_info",
        "framework_id",
        "value",
        "accept",
        "operations",
        "launch",
        "task_infos",
        "resources",
        "scalar",
        "ranges",
        "range",
        "begin",
        "limits",
        "data",
        "container",
        "command",
        "shell",
        "uuid",
        "acknowledge",
        "call_id",
        "offer_filters",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        prop::sample::select(vec!["SUBSCRIBE", "Infinity", "true", "1e9", "-1", "", "é", "aGk="]).prop_map(Into::into),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|fields| {
                serde_json::Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_every_way(bytes);
    }

    #[test]
    fn a_damaged_call_does_no_harm(at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
        let text = br#"{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"offer_ids":[{"value":"o"}],
            "operations":[{"type":"LAUNCH","launch":{"task_infos":[{"name":"n","task_id":{"value":"t"},
            "agent_id":{"value":"S"},"limits":{"mem":{"value":3}},"resources":[{"name":"cpus",
            "type":"SCALAR","scalar":{"value":1}}]}]}}]}}"#;
        let mut bytes = json::decode_to_bytes(NAMES[0], text).unwrap().to_vec();
        bytes.truncate(cut.max(1));
        let at = at % bytes.len();
        bytes[at] = byte;
        read_every_way(bytes);
    }

    #[test]
    fn random_text_does_no_harm(text in any::<Vec<u8>>()) {
        for name in NAMES {
            let _ = json::decode_to_bytes(name, &text);
        }
    }

    #[test]
    fn any_json_is_refused_or_becomes_a_message_that_survives_the_way_back(value in any_json()) {
        for name in NAMES {
            if let Ok(bytes) = json::value_to_bytes(name, &value) {
                let text = json::encode_bytes(name, &bytes, Defaults::Omit).unwrap();
                prop_assert!(text.is_ascii() && !text.contains('\n'));
                let again = json::decode_to_bytes(name, text.as_bytes()).unwrap();
                prop_assert_eq!(json::encode_bytes(name, &again, Defaults::Omit).unwrap(), text);
            }
        }
    }

    #[test]
    fn bytes_without_required_fields_never_pass_as_complete(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        // What passes must be the same to prost, which fills in what is missing.
        if required_fields("mesos.v1.TaskID", &bytes).is_ok()
            && let Ok(id) = mesos_proto::v1::TaskId::decode(&bytes[..])
        {
            let values = wire::slices(&Bytes::from(bytes), &[1]).unwrap();
            prop_assert_eq!(values.last().unwrap(), id.value.as_bytes());
        }
    }
}
