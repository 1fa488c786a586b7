//! Resources of the contract and of the machines.
//!
//! Clients write reservations in one of two forms: the old one (`role` and `reservation`) and the stack
//! (`reservations`). Both are read; a framework is written to in the form that it understands.
//! `allocation_info` says for which role something was offered; machines know that from the offer, so it
//! is dropped on the way in and put in on the way out.

use std::sync::Arc;

use mesos_model::{
    Reservation, ReservationKind, Resource, Resources, Role, Value,
    resources::{Qualifier, milli_from_f64},
    validate_role,
};
use mesos_proto::{
    prost::Message as _,
    v1::{self, resource::reservation_info},
};

/// Entries, ranges and set items that one list may have; no agent has as many, and comparing more of them
/// with each other would cost a caller nothing and the gateway much.
const PARTS_MAX: usize = 4096;

/// How resources are written for a framework.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// The role for which they are offered or allocated, if the reader is to see it.
    pub allocated_to: Option<&'a Role>,
    /// The reader understands stacks of reservations.
    pub refined: bool,
}

/// Thousandths as a number of the contract.
#[must_use]
pub fn amount(milli: i64) -> f64 {
    milli as f64 / 1000.0
}

/// Ranges as the contract has them.
#[must_use]
pub fn ranges(ranges: &[(u64, u64)]) -> v1::value::Ranges {
    let range = ranges.iter().map(|&(begin, end)| v1::value::Range { begin, end }).collect();
    v1::value::Ranges { range }
}

/// Reads and checks a list of resources.
///
/// # Errors
/// Says which entry is wrong, and how, much as Mesos says it.
pub fn from_proto(list: &[v1::Resource]) -> Result<Resources, String> {
    let parts: usize = list.iter().map(parts).sum();
    if parts > PARTS_MAX {
        return Err(format!("more than {PARTS_MAX} resources, ranges and set items"));
    }
    let entries = list
        .iter()
        .map(|resource| {
            entry(resource).map_err(|error| format!("Resource '{}' is invalid: {error}", printable(&resource.name)))
        })
        .collect::<Result<Vec<_>, String>>()?;
    Resources::try_from_entries(entries).map_err(|error| error.to_string())
}

fn parts(resource: &v1::Resource) -> usize {
    1 + resource.ranges.as_ref().map_or(0, |ranges| ranges.range.len())
        + resource.set.as_ref().map_or(0, |set| set.item.len())
}

/// At most 80 characters of a text from outside, made printable.
#[must_use]
pub fn printable(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

fn entry(resource: &v1::Resource) -> Result<Resource, String> {
    if resource.name.is_empty() {
        return Err("Empty resource name".to_owned());
    }
    if resource.disk.is_some() && resource.name != "disk" {
        return Err(format!("DiskInfo should not be set for {} resource", printable(&resource.name)));
    }
    let qualifier = Qualifier {
        reservations: reservations(resource)?,
        revocable: resource.revocable.is_some(),
        shared: resource.shared.is_some(),
        disk: resource.disk.as_ref().map(|disk| disk.encode_to_vec()).unwrap_or_default(),
        provider: resource.provider_id.as_ref().map(|id| id.value.clone()),
    };
    let entry = Resource {
        name: Arc::from(resource.name.as_str()),
        value: value(resource)?,
        qualifier: (qualifier != Qualifier::default()).then(|| Arc::new(qualifier)),
    };
    entry.validate().map_err(|error| error.to_string())?;
    Ok(entry)
}

fn value(resource: &v1::Resource) -> Result<Value, String> {
    use v1::value::Type;
    let kind = Type::try_from(resource.r#type).map_err(|_| "Invalid resource type".to_owned())?;
    match (kind, &resource.scalar, &resource.ranges, &resource.set) {
        (Type::Scalar, Some(scalar), None, None) => {
            milli_from_f64(&resource.name, scalar.value).map(Value::Scalar).map_err(|error| error.to_string())
        }
        (Type::Scalar, ..) => Err("Invalid scalar resource".to_owned()),
        (Type::Ranges, None, Some(ranges), None) => {
            Ok(Value::Ranges(ranges.range.iter().map(|range| (range.begin, range.end)).collect()))
        }
        (Type::Ranges, ..) => Err("Invalid ranges resource".to_owned()),
        (Type::Set, None, None, Some(set)) => Ok(Value::Set(set.item.clone())),
        (Type::Set, ..) => Err("Invalid set resource".to_owned()),
        (Type::Text, ..) => Err("Unsupported resource type".to_owned()),
    }
}

fn reservations(resource: &v1::Resource) -> Result<Vec<Reservation>, String> {
    let role = resource.role.as_deref().unwrap_or("*");
    if resource.reservations.is_empty() {
        return old_reservation(role, resource.reservation.as_ref());
    }
    if role != "*" || resource.reservation.is_some() {
        return Err("'role' and 'reservation' must not be set together with 'reservations'".to_owned());
    }
    let stack = resource.reservations.iter().map(reservation).collect::<Result<Vec<_>, _>>()?;
    for pair in stack.windows(2) {
        let (outer, inner) = (&pair[0], &pair[1]);
        if inner.kind == ReservationKind::Static {
            return Err("Invalid refined reservation: A refined reservation cannot be STATIC".to_owned());
        }
        let below = inner.role.as_str().strip_prefix(outer.role.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if !below {
            return Err(format!(
                "Invalid refined reservation: role '{}' is not a refinement of '{}'",
                printable(inner.role.as_str()),
                printable(outer.role.as_str())
            ));
        }
    }
    Ok(stack)
}

fn old_reservation(role: &str, dynamic: Option<&v1::resource::ReservationInfo>) -> Result<Vec<Reservation>, String> {
    validate_role(role).map_err(|error| error.to_string())?;
    match dynamic {
        Some(_) if role == "*" => Err("Invalid reservation: role \"*\" cannot be dynamically reserved".to_owned()),
        Some(info) => Ok(vec![Reservation {
            kind: ReservationKind::Dynamic,
            role: Role::new(role),
            principal: info.principal.clone(),
            labels: labels(info),
        }]),
        None if role == "*" => Ok(Vec::new()),
        None => Ok(vec![Reservation {
            kind: ReservationKind::Static,
            role: Role::new(role),
            principal: None,
            labels: Vec::new(),
        }]),
    }
}

fn reservation(info: &v1::resource::ReservationInfo) -> Result<Reservation, String> {
    let kind = match info.r#type.and_then(|number| reservation_info::Type::try_from(number).ok()) {
        Some(reservation_info::Type::Static) => ReservationKind::Static,
        Some(reservation_info::Type::Dynamic) => ReservationKind::Dynamic,
        Some(reservation_info::Type::Unknown) | None => {
            return Err("Invalid reservation: the type is not set".to_owned());
        }
    };
    let role = info.role.as_deref().unwrap_or_default();
    if role == "*" {
        return Err("Invalid reservation: role \"*\" cannot be reserved".to_owned());
    }
    validate_role(role).map_err(|error| format!("Invalid reservation: {error}"))?;
    Ok(Reservation { kind, role: Role::new(role), principal: info.principal.clone(), labels: labels(info) })
}

fn labels(info: &v1::resource::ReservationInfo) -> Vec<(String, Option<String>)> {
    let labels = info.labels.iter().flat_map(|labels| &labels.labels);
    labels.map(|label| (label.key.clone(), label.value.clone())).collect()
}

/// Writes resources.
#[must_use]
pub fn to_proto(resources: &Resources, form: Form<'_>) -> Vec<v1::Resource> {
    resources.iter().map(|resource| resource_to_proto(resource, form)).collect()
}

fn resource_to_proto(resource: &Resource, form: Form<'_>) -> v1::Resource {
    use v1::value::Type;
    let mut out = v1::Resource {
        name: resource.name.to_string(),
        allocation_info: form
            .allocated_to
            .map(|role| v1::resource::AllocationInfo { role: Some(role.as_str().to_owned()) }),
        ..v1::Resource::default()
    };
    match &resource.value {
        Value::Scalar(milli) => {
            out.r#type = Type::Scalar.into();
            out.scalar = Some(v1::value::Scalar { value: amount(*milli) });
        }
        Value::Ranges(list) => {
            out.r#type = Type::Ranges.into();
            out.ranges = Some(ranges(list));
        }
        Value::Set(items) => {
            out.r#type = Type::Set.into();
            out.set = Some(v1::value::Set { item: items.clone() });
        }
    }
    if let Some(qualifier) = resource.qualifier.as_deref() {
        out.revocable = qualifier.revocable.then(Default::default);
        out.shared = qualifier.shared.then(Default::default);
        out.provider_id = qualifier.provider.clone().map(|value| v1::ResourceProviderId { value });
        if !qualifier.disk.is_empty() {
            out.disk = v1::resource::DiskInfo::decode(qualifier.disk.as_slice()).ok();
        }
    }
    let stack = resource.qualifier.as_deref().map_or(&[][..], |qualifier| &qualifier.reservations);
    put_reservations(&mut out, stack, form.refined);
    out
}

/// A stack of several has no old form; frameworks that do not understand it are not offered it.
fn put_reservations(out: &mut v1::Resource, stack: &[Reservation], refined: bool) {
    match stack {
        [] if refined => {}
        [] => out.role = Some("*".to_owned()),
        [only] if !refined => {
            out.role = Some(only.role.as_str().to_owned());
            if only.kind == ReservationKind::Dynamic {
                let whole = reservation_to_proto(only);
                out.reservation = Some(v1::resource::ReservationInfo { r#type: None, role: None, ..whole });
            }
        }
        _ => out.reservations = stack.iter().map(reservation_to_proto).collect(),
    }
}

fn reservation_to_proto(reservation: &Reservation) -> v1::resource::ReservationInfo {
    let kind = match reservation.kind {
        ReservationKind::Static => reservation_info::Type::Static,
        ReservationKind::Dynamic => reservation_info::Type::Dynamic,
    };
    let labels: Vec<v1::Label> =
        reservation.labels.iter().map(|(key, value)| v1::Label { key: key.clone(), value: value.clone() }).collect();
    v1::resource::ReservationInfo {
        r#type: Some(kind.into()),
        role: Some(reservation.role.as_str().to_owned()),
        principal: reservation.principal.clone(),
        labels: (!labels.is_empty()).then_some(v1::Labels { labels }),
    }
}

#[cfg(test)]
mod tests {
    use mesos_proto::json;

    use super::*;

    fn read(text: &str) -> Result<Resources, String> {
        let list: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        let list: Vec<v1::Resource> =
            list.iter().map(|value| json::decode(value.to_string().as_bytes()).unwrap()).collect();
        from_proto(&list)
    }

    fn scalar(name: &str, value: f64) -> v1::Resource {
        v1::Resource { name: name.into(), scalar: Some(v1::value::Scalar { value }), ..v1::Resource::default() }
    }

    #[test]
    fn amounts_that_cannot_be_accounted_are_refused_by_name() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, -0.001] {
            let error = from_proto(&[scalar("cpus", bad)]).unwrap_err();
            assert!(error.contains("cpus"), "{bad}: {error}");
        }
        assert!(from_proto(&[scalar("gpus", 0.5)]).is_err());
        assert!(from_proto(&[scalar("", 1.0)]).is_err());
        assert_eq!(from_proto(&[scalar("cpus", 0.5)]).unwrap().scalar("cpus"), 500);
    }

    #[test]
    fn ranges_that_overlap_or_are_upside_down_are_refused() {
        for ranges in ["[{\"begin\":5,\"end\":4}]", "[{\"begin\":1,\"end\":4},{\"begin\":4,\"end\":9}]"] {
            let text = format!("[{{\"name\":\"ports\",\"type\":\"RANGES\",\"ranges\":{{\"range\":{ranges}}}}}]");
            assert!(read(&text).is_err(), "{ranges}");
        }
        let twice = r#"[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":2}]}},
                        {"name":"ports","type":"RANGES","ranges":{"range":[{"begin":2,"end":3}]}}]"#;
        assert!(read(twice).is_err());
    }

    #[test]
    fn the_value_must_be_of_the_type_that_is_named() {
        for text in [
            r#"[{"name":"cpus","type":"SCALAR"}]"#,
            r#"[{"name":"cpus","type":"RANGES","scalar":{"value":1}}]"#,
            r#"[{"name":"cpus","type":"SET","scalar":{"value":1}}]"#,
            r#"[{"name":"cpus","type":"TEXT","scalar":{"value":1}}]"#,
            r#"[{"name":"s","type":"SET","set":{"item":["a","a"]}}]"#,
            r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"disk":{}}]"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_forms_of_a_reservation_are_one() {
        let old = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"ads"}]"#;
        let new = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},
                       "reservations":[{"type":"STATIC","role":"ads"}]}]"#;
        assert_eq!(read(old).unwrap(), read(new).unwrap());
        let old = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"ads",
                       "reservation":{"principal":"p","labels":{"labels":[{"key":"k"}]}}}]"#;
        let new = r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"*",
                       "reservations":[{"type":"DYNAMIC","role":"ads","principal":"p","labels":{"labels":[{"key":"k"}]}}]}]"#;
        assert_eq!(read(old).unwrap(), read(new).unwrap());
    }

    #[test]
    fn impossible_reservations_are_refused() {
        for qualifier in [
            r#""reservation":{}"#,
            r#""role":"*","reservation":{"principal":"p"}"#,
            r#""reservations":[{"role":"ads"}]"#,
            r#""reservations":[{"type":"STATIC","role":"*"}]"#,
            r#""reservations":[{"type":"STATIC"}]"#,
            r#""reservations":[{"type":"STATIC","role":"a/../b"}]"#,
            r#""role":"ads","reservations":[{"type":"STATIC","role":"ads"}]"#,
            r#""role":"a b""#,
        ] {
            let text = format!(r#"[{{"name":"cpus","type":"SCALAR","scalar":{{"value":1}},{qualifier}}}]"#);
            assert!(read(&text).is_err(), "{qualifier}");
        }
    }

    #[test]
    fn resources_survive_the_way_out_and_back_in_both_forms() {
        let resources =
            mesos_model::resources_text::parse("cpus:1.5;mem(ads):64;ports:[1-3,7-9];zoo:{a,b}", "*").unwrap();
        for refined in [false, true] {
            let written = to_proto(&resources, Form { allocated_to: Some(&"ads".into()), refined });
            assert_eq!(from_proto(&written).unwrap(), resources);
            assert!(written.iter().all(|r| r.allocation_info.is_some()));
            let mem = written.iter().find(|resource| resource.name == "mem").unwrap();
            assert_eq!(mem.role.as_deref(), (!refined).then_some("ads"));
            assert_eq!(mem.reservations.len(), usize::from(refined));
        }
    }

    #[test]
    fn disks_are_told_apart_by_what_they_say_of_themselves() {
        let text = r#"[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"MOUNT","mount":{"root":"/a"}}}},
                       {"name":"disk","type":"SCALAR","scalar":{"value":1},"revocable":{}},
                       {"name":"disk","type":"SCALAR","scalar":{"value":1},"shared":{},"provider_id":{"value":"rp"}}]"#;
        let resources = read(text).unwrap();
        assert_eq!(resources.iter().count(), 3);
        assert_eq!(from_proto(&to_proto(&resources, Form { refined: true, ..Form::default() })).unwrap(), resources);
    }

    #[test]
    fn a_list_without_end_is_refused_before_it_is_compared() {
        let many: Vec<v1::Resource> = (0..PARTS_MAX + 1).map(|i| scalar(&i.to_string(), 1.0)).collect();
        assert!(from_proto(&many).is_err());
    }
}
