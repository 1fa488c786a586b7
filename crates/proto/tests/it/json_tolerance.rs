//! What Apache Mesos's JSON parser lets pass and what it refuses, row by row.

use mesos_proto::json::{self, JsonError};
use mesos_proto::v1::{self, scheduler};

fn task(fields: &str) -> Result<v1::TaskInfo, JsonError> {
    let text = format!(r#"{{"name":"n","task_id":{{"value":"t"}},"agent_id":{{"value":"S"}},{fields}}}"#);
    json::decode(text.as_bytes())
}

fn refusal(fields: &str) -> String {
    task(fields).unwrap_err().to_string()
}

#[test]
fn unknown_fields_are_ignored() {
    assert_eq!(task(r#""color":{"deep":[1,{"x":null}]}"#), task(r#""resources":[]"#));
}

#[test]
fn camel_case_names_are_unknown_fields() {
    assert_eq!(task(r#""killPolicy":{"gracePeriod":1}"#).unwrap().kill_policy, None);
}

#[test]
fn null_is_unset() {
    let info = task(r#""command":null,"resources":null,"limits":null,"data":null"#).unwrap();
    assert_eq!(info, task(r#""x":0"#).unwrap());
    assert_eq!(task(r#""resources":[null]"#).unwrap().resources, []);
}

#[test]
fn a_required_field_that_is_null_is_missing() {
    let error = json::decode::<v1::TaskId>(br#"{"value":null}"#).unwrap_err();
    assert_eq!(error.to_string(), "Missing required fields: value");
}

#[test]
fn quoted_booleans_and_numbers_are_read() {
    let info = task(
        r#""command":{"shell":"true","value":"x"},
           "container":{"type":"DOCKER","docker":{"image":"i","force_pull_image":"false",
             "port_mappings":[{"host_port":"31000","container_port":"80"}]}},
           "resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":"0.5"}}],
           "max_completion_time":{"nanoseconds":"-9223372036854775808"}"#,
    )
    .unwrap();
    assert_eq!(info.command.unwrap().shell, Some(true));
    let docker = info.container.unwrap().docker.unwrap();
    assert_eq!(docker.force_pull_image, Some(false));
    assert_eq!(docker.port_mappings[0].host_port, 31_000);
    assert_eq!(info.resources[0].scalar.as_ref().unwrap().value, 0.5);
    assert_eq!(info.max_completion_time.unwrap().nanoseconds, i64::MIN);
}

#[test]
fn infinity_is_read_and_nan_is_not() {
    let scalar = |text: &str| json::decode::<v1::value::Scalar>(text.as_bytes());
    assert_eq!(scalar(r#"{"value":"Infinity"}"#).unwrap().value, f64::INFINITY);
    assert_eq!(scalar(r#"{"value":"-Infinity"}"#).unwrap().value, f64::NEG_INFINITY);
    for text in [r#"{"value":"NaN"}"#, r#"{"value":NaN}"#, r#"{"value":"inf"}"#, r#"{"value":""}"#] {
        assert!(scalar(text).is_err(), "{text}");
    }
    assert!(matches!(scalar(r#"{"value":1e999}"#), Err(JsonError::Syntax(_))));
}

#[test]
fn a_number_with_a_fraction_loses_it_in_an_integer_field() {
    let info = task(r#""max_completion_time":{"nanoseconds":1.9}"#).unwrap();
    assert_eq!(info.max_completion_time.unwrap().nanoseconds, 1);
}

#[test]
fn an_unknown_enum_name_is_unset_where_optional_and_left_out_of_lists() {
    let call: scheduler::Call = json::decode(br#"{"type":"DANCE"}"#).unwrap();
    assert_eq!(call.r#type, None);
    let capability = br#"{"user":"u","name":"n","capabilities":[{"type":"FLYING"},{"type":"MULTI_ROLE"}]}"#;
    let info: v1::FrameworkInfo = json::decode(capability).unwrap();
    assert_eq!(info.capabilities.len(), 2);
    assert_eq!(info.capabilities[0].r#type, None);
}

#[test]
fn an_unknown_enum_name_is_an_error_where_required() {
    let error = refusal(r#""resources":[{"name":"cpus","type":"ROUND"}]"#);
    assert_eq!(error, "Failed to find enum for 'ROUND' for field 'resources.type'");
}

#[test]
fn a_single_value_stands_for_a_list_of_one() {
    let info = task(r#""resources":{"name":"cpus","type":"SCALAR","scalar":{"value":1}}"#).unwrap();
    assert_eq!(info.resources.len(), 1);
    let call: scheduler::Call = json::decode(br#"{"type":"REVIVE","revive":{"roles":"dev"}}"#).unwrap();
    assert_eq!(call.revive.unwrap().roles, ["dev"]);
}

#[test]
fn base64_may_lack_padding_or_have_whitespace() {
    for text in ["aGVsbG8=", "aGVsbG8", "aGVs\\n bG8=", "aGVsbG8=rubbish"] {
        let info = task(&format!(r#""data":"{text}""#)).unwrap();
        assert_eq!(info.data.unwrap(), &b"hello"[..], "{text}");
    }
    assert!(refusal(r#""data":"a-_b""#).starts_with("Failed to base64 decode bytes for field 'data'"));
}

#[test]
fn wrong_kinds_of_json_are_refused_with_the_name_of_the_field() {
    for (fields, error) in [
        (r#""command":"ls""#, "Not expecting a JSON string for field 'command'"),
        (r#""command":7"#, "Not expecting a JSON number for field 'command'"),
        (r#""command":true"#, "Not expecting a JSON boolean for field 'command'"),
        (r#""command":[{}]"#, "Not expecting a JSON array for field 'command'"),
        (r#""command":{"value":{}}"#, "Not expecting a JSON object for field 'command.value'"),
        (r#""command":{"value":1}"#, "Not expecting a JSON number for field 'command.value'"),
        (r#""command":{"shell":1}"#, "Not expecting a JSON number for field 'command.shell'"),
        (r#""data":[]"#, "Not expecting a JSON array for field 'data'"),
        (r#""resources":[[]]"#, "Not expecting a JSON array for field 'resources'"),
        (r#""container":{"type":1}"#, "Not expecting a JSON number for field 'container.type'"),
        (r#""limits":{"mem":4}"#, "Not expecting a JSON number for field 'limits.mem'"),
    ] {
        assert_eq!(refusal(fields), error, "{fields}");
    }
}

#[test]
fn quoted_rubbish_is_refused_with_the_name_of_the_field() {
    assert!(
        refusal(r#""command":{"shell":"yes"}"#)
            .starts_with("Failed to parse 'yes' as a JSON boolean for field 'command.shell'")
    );
    assert!(
        refusal(r#""priority":"high""#).starts_with("Failed to parse 'high' as a JSON number for field 'priority'")
    );
}

#[test]
fn numbers_out_of_range_are_refused() {
    for fields in [
        r#""health_check":{"consecutive_failures":-1}"#,
        r#""health_check":{"consecutive_failures":4294967296}"#,
        r#""max_completion_time":{"nanoseconds":9223372036854775808}"#,
        r#""max_completion_time":{"nanoseconds":1e300}"#,
        r#""max_completion_time":{"nanoseconds":"1e300"}"#,
    ] {
        assert!(refusal(fields).contains("is out of range for field"), "{fields}: {}", refusal(fields));
    }
}

#[test]
fn only_an_object_is_a_message() {
    for text in ["[]", "1", "null", "\"x\""] {
        let error = json::decode::<scheduler::Call>(text.as_bytes()).unwrap_err();
        assert_eq!(error, JsonError::Convert("Expecting a JSON object".into()), "{text}");
    }
}

#[test]
fn what_is_not_json_is_a_syntax_error() {
    for text in ["", "{", "{\"type\":}", "{\"a\":\"\u{0}\"}", "{} {}"] {
        let error = json::decode::<scheduler::Call>(text.as_bytes()).unwrap_err();
        assert!(matches!(error, JsonError::Syntax(_)), "{text}: {error}");
    }
    assert!(matches!(json::decode::<v1::TaskId>(b"{\"value\":\"\xff\"}"), Err(JsonError::Syntax(_))));
}

#[test]
fn deep_nesting_ends_in_an_error() {
    let nest = |depth: usize| {
        let text =
            format!("{}{}", r#"{"value":"c","parent":"#.repeat(depth), "null}".to_owned() + &"}".repeat(depth - 1));
        json::decode::<v1::ContainerId>(text.as_bytes())
    };
    assert!(nest(50).is_ok());
    assert!(nest(110).is_err());
    assert!(nest(100_000).is_err());
    let lists = format!(r#"{{"value":{}"#, "[".repeat(100_000));
    assert!(json::decode::<v1::ContainerId>(lists.as_bytes()).is_err());
}

#[test]
fn missing_fields_are_named_by_their_paths() {
    let text = br#"{"type":"ACCEPT","accept":{"operations":[{"type":"LAUNCH","launch":
        {"task_infos":[{"name":"a","task_id":{},"resources":[{"name":"cpus"}]}]}}]}}"#;
    let error = json::decode::<scheduler::Call>(text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Missing required fields: accept.operations[0].launch.task_infos[0].agent_id, \
         accept.operations[0].launch.task_infos[0].task_id.value, \
         accept.operations[0].launch.task_infos[0].resources[0].type"
    );
}
