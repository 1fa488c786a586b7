//! Between the contract's messages and what the machines speak.
//!
//! What the machines do not decide on travels as the bytes that the client wrote, so a translation takes
//! the facts out and never writes the client's message anew.
//!
//! # Layout
//! - [`resources`]: resources in the old and the new form of reservations.
//! - [`framework`]: `FrameworkInfo`, and what Mesos finds wrong with one.
//! - [`task`]: `TaskInfo`, `ExecutorInfo`, operations of an ACCEPT.
//! - [`constraints`]: offer constraints.
//! - [`conversion`]: operations that reserve resources and make volumes of them.
//! - [`event`]: what a framework is told on its stream.
//! - [`call`]: a scheduler's call as the call of a machine.

pub mod call;
pub mod constraints;
pub mod conversion;
pub mod event;
pub mod framework;
pub mod resources;
pub mod task;

use mesos_model::{
    AgentId, ExecutorId, FrameworkId, OfferId, Role, TaskId,
    attribute::{Attribute, AttributeValue},
};
use mesos_proto::v1;

/// The contract's form of an id.
#[must_use]
pub fn agent_id(id: &AgentId) -> v1::AgentId {
    v1::AgentId { value: id.as_str().to_owned() }
}

/// The contract's form of an id.
#[must_use]
pub fn framework_id(id: &FrameworkId) -> v1::FrameworkId {
    v1::FrameworkId { value: id.as_str().to_owned() }
}

/// The contract's form of an id.
#[must_use]
pub fn task_id(id: &TaskId) -> v1::TaskId {
    v1::TaskId { value: id.as_str().to_owned() }
}

/// The contract's form of an id.
#[must_use]
pub fn executor_id(id: &ExecutorId) -> v1::ExecutorId {
    v1::ExecutorId { value: id.as_str().to_owned() }
}

/// The contract's form of an id.
#[must_use]
pub fn offer_id(id: &OfferId) -> v1::OfferId {
    v1::OfferId { value: id.as_str().to_owned() }
}

/// Roles from their names.
#[must_use]
pub fn roles(names: &[String]) -> Vec<Role> {
    names.iter().map(Role::new).collect()
}

/// Region and zone as the contract has them.
#[must_use]
pub fn domain(region: &str, zone: &str) -> v1::DomainInfo {
    use v1::domain_info::{FaultDomain, fault_domain};
    v1::DomainInfo {
        fault_domain: Some(FaultDomain {
            region: fault_domain::RegionInfo { name: region.to_owned() },
            zone: fault_domain::ZoneInfo { name: zone.to_owned() },
        }),
    }
}

/// An attribute as the contract has it.
#[must_use]
pub fn attribute(attribute: &Attribute) -> v1::Attribute {
    use v1::value::{Scalar, Text, Type};
    let mut out = v1::Attribute {
        name: attribute.name.clone(),
        r#type: Type::Text.into(),
        scalar: None,
        ranges: None,
        set: None,
        text: None,
    };
    match &attribute.value {
        AttributeValue::Text(text) => out.text = Some(Text { value: text.clone() }),
        AttributeValue::Scalar(milli) => {
            out.r#type = Type::Scalar.into();
            out.scalar = Some(Scalar { value: resources::amount(*milli) });
        }
        AttributeValue::Ranges(ranges) => {
            out.r#type = Type::Ranges.into();
            out.ranges = Some(resources::ranges(ranges));
        }
    }
    out
}

/// Attributes as the contract has them.
#[must_use]
pub fn attributes(attributes: &[Attribute]) -> Vec<v1::Attribute> {
    attributes.iter().map(attribute).collect()
}
