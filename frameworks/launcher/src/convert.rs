//! Offers, statuses and resources between the contract and the model.

use std::sync::Arc;

use mesos_core::message::{Offer, Request};
use mesos_model::{
    Reason, Reservation, ReservationKind, Resource, Resources, Role, TaskState, Value,
    attribute::{Attribute, AttributeValue},
    resources::{Qualifier, milli_from_f64},
};
use mesos_proto::{
    prost::Message as _,
    v1::{self, resource::reservation_info, value::Type},
};

use crate::machine::Status;

/// An offer, as far as the launcher can use it.
#[must_use]
pub fn offer(proto: &v1::Offer) -> Offer {
    let role = proto.allocation_info.as_ref().and_then(|info| info.role.as_deref()).unwrap_or("*");
    Offer {
        id: proto.id.value.as_str().into(),
        role: Role::new(role),
        agent: proto.agent_id.value.as_str().into(),
        hostname: proto.hostname.clone(),
        ip: String::new(),
        port: 0,
        resources: resources(&proto.resources),
        attributes: proto.attributes.iter().filter_map(attribute).collect(),
        domain: None,
        executors: Vec::new(),
        unavailability: None,
    }
}

/// Resources of an offer. What cannot be read is left out: it is not used then.
#[must_use]
pub fn resources(list: &[v1::Resource]) -> Resources {
    let mut all = Resources::new();
    for entry in list.iter().filter_map(resource) {
        if let Ok(one) = Resources::try_from_entries([entry]) {
            all.add(&one);
        }
    }
    all
}

fn resource(proto: &v1::Resource) -> Option<Resource> {
    let value = match (&proto.scalar, &proto.ranges, &proto.set) {
        (Some(scalar), None, None) => Value::Scalar(milli_from_f64(&proto.name, scalar.value).ok()?),
        (None, Some(ranges), None) => {
            Value::Ranges(ranges.range.iter().map(|range| (range.begin, range.end)).collect())
        }
        (None, None, Some(set)) => Value::Set(set.item.clone()),
        _ => return None,
    };
    let reservations = proto.reservations.iter().map(reservation).collect::<Option<Vec<_>>>()?;
    let qualifier = Qualifier {
        reservations,
        revocable: proto.revocable.is_some(),
        shared: proto.shared.is_some(),
        disk: proto.disk.as_ref().map(|disk| disk.encode_to_vec()).unwrap_or_default(),
        provider: proto.provider_id.as_ref().map(|id| id.value.clone()),
    };
    let qualifier = (qualifier != Qualifier::default()).then(|| Arc::new(qualifier));
    Some(Resource { name: Arc::from(proto.name.as_str()), value, qualifier })
}

fn reservation(info: &v1::resource::ReservationInfo) -> Option<Reservation> {
    let kind = match info.r#type() {
        reservation_info::Type::Static => ReservationKind::Static,
        reservation_info::Type::Dynamic => ReservationKind::Dynamic,
        reservation_info::Type::Unknown => return None,
    };
    let labels = info.labels.iter().flat_map(|labels| &labels.labels);
    Some(Reservation {
        kind,
        role: Role::new(info.role.as_deref()?),
        principal: info.principal.clone(),
        labels: labels.map(|label| (label.key.clone(), label.value.clone())).collect(),
    })
}

fn attribute(proto: &v1::Attribute) -> Option<Attribute> {
    let value = match (&proto.text, &proto.scalar, &proto.ranges) {
        (Some(text), ..) => AttributeValue::Text(text.value.clone()),
        (None, Some(scalar), _) => AttributeValue::Scalar(milli_from_f64(&proto.name, scalar.value).ok()?),
        (None, None, Some(ranges)) => {
            AttributeValue::Ranges(ranges.range.iter().map(|range| (range.begin, range.end)).collect())
        }
        (None, None, None) => return None,
    };
    Some(Attribute { name: proto.name.clone(), value })
}

/// Resources as a framework that understands stacks of reservations writes them.
#[must_use]
pub fn to_proto(resources: &Resources) -> Vec<v1::Resource> {
    resources.iter().map(resource_to_proto).collect()
}

fn resource_to_proto(resource: &Resource) -> v1::Resource {
    let mut out = v1::Resource { name: resource.name.to_string(), ..v1::Resource::default() };
    match &resource.value {
        Value::Scalar(milli) => {
            out.r#type = Type::Scalar.into();
            out.scalar = Some(v1::value::Scalar { value: *milli as f64 / 1000.0 });
        }
        Value::Ranges(ranges) => {
            out.r#type = Type::Ranges.into();
            let range = ranges.iter().map(|&(begin, end)| v1::value::Range { begin, end }).collect();
            out.ranges = Some(v1::value::Ranges { range });
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
        out.reservations = qualifier.reservations.iter().map(reservation_to_proto).collect();
    }
    out
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

/// What is wanted, as the contract has it.
#[must_use]
pub fn request(request: &Request) -> v1::Request {
    v1::Request {
        agent_id: request.agent.as_ref().map(|id| v1::AgentId { value: id.as_str().to_owned() }),
        resources: to_proto(&request.resources),
        name: Some(request.name.clone()).filter(|name| !name.is_empty()),
        role: request.role.as_ref().map(|role| role.as_str().to_owned()),
        count: Some(request.count),
        hold_seconds: request.hold_ms.map(|millis| millis as f64 / 1000.0),
        priority: request.priority.map(|priority| priority as f64),
    }
}

/// What matters of a status; `None` for a state that Mesos does not have.
#[must_use]
pub fn status(proto: &v1::TaskStatus) -> Option<Status> {
    Some(Status {
        task: proto.task_id.value.as_str().into(),
        state: TaskState::from_number(proto.state)?,
        message: proto.message.clone(),
        reason: proto.reason.map(Reason),
        exit_code: proto.exit_code,
        agent: proto.agent_id.as_ref().map(|agent| agent.value.as_str().into()),
        uuid: proto.uuid.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_survive_the_way_there_and_back() {
        let text = "cpus:1.5;mem(ads):64;ports:[1-3,7-9];zoo:{a,b}";
        let given = mesos_model::resources_text::parse(text, "*").unwrap();
        assert_eq!(resources(&to_proto(&given)), given);
    }

    #[test]
    fn what_cannot_be_read_is_not_used() {
        let bad = mesos_sdk::build::scalar("cpus", f64::NAN);
        assert_eq!(resources(&[bad, mesos_sdk::build::mem(5.0)]).to_string(), "mem:5");
    }
}
