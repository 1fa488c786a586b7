//! `FrameworkInfo`, and what Mesos finds wrong with one (`src/master/validation.cpp`, `framework`).

use std::collections::{BTreeMap, BTreeSet};

use mesos_core::row::{Capabilities, FrameworkInfo};
use mesos_model::{Resource, Resources, Role, resources::milli_from_f64, validate_role};
use mesos_proto::{v1, validate::validate_id};
use v1::framework_info::capability::Type;

use super::resources::printable;

/// The longest failover timeout, in seconds: what Mesos can hold in nanoseconds.
const FAILOVER_TIMEOUT_MAX: f64 = 9_223_372_036.0;

/// A `FrameworkInfo`, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Translated {
    /// What machines need of it.
    pub info: FrameworkInfo,
    /// What is wrong with it, in Mesos's words.
    pub invalid: Option<String>,
}

/// Takes a `FrameworkInfo` apart. What is invalid is replaced by a default and said.
#[must_use]
pub fn framework_info(proto: &v1::FrameworkInfo) -> Translated {
    let capabilities = capabilities(proto);
    let mut invalid = roles_error(proto, capabilities.multi_role);
    if invalid.is_none()
        && let Some(id) = &proto.id
        && let Err(error) = validate_id(&id.value)
    {
        invalid = Some(format!("Framework ID is invalid: {error}"));
    }
    let failover_timeout_ms = match failover_timeout_ms(proto.failover_timeout.unwrap_or(0.0)) {
        Ok(ms) => ms,
        Err(error) => {
            invalid.get_or_insert(error);
            0
        }
    };
    let roles = if capabilities.multi_role {
        super::roles(&proto.roles)
    } else {
        vec![Role::new(proto.role.as_deref().unwrap_or("*"))]
    };
    let min_allocatable = match min_allocatable(proto, &roles) {
        Ok(filters) => filters,
        Err(error) => {
            invalid.get_or_insert(error);
            BTreeMap::new()
        }
    };
    let priority = proto.priority.unwrap_or(0.0);
    if !priority.is_finite() {
        invalid.get_or_insert_with(|| "'FrameworkInfo.priority' must be a finite number".to_owned());
    }
    let info = FrameworkInfo {
        name: proto.name.clone(),
        user: proto.user.clone(),
        principal: proto.principal.clone(),
        roles,
        capabilities,
        failover_timeout_ms,
        checkpoint: proto.checkpoint.unwrap_or(false),
        // The cast saturates, and makes 0 of NaN.
        priority: priority.round() as i64,
        min_allocatable,
        constraints: BTreeMap::new(),
    };
    Translated { info, invalid }
}

/// What a framework says it can do; what this version does not know is left out.
#[must_use]
pub fn capabilities(proto: &v1::FrameworkInfo) -> Capabilities {
    let mut out = Capabilities::default();
    for number in proto.capabilities.iter().filter_map(|capability| capability.r#type) {
        match Type::try_from(number) {
            Ok(Type::RevocableResources) => out.revocable_resources = true,
            Ok(Type::TaskKillingState) => out.task_killing_state = true,
            Ok(Type::GpuResources) => out.gpu_resources = true,
            Ok(Type::SharedResources) => out.shared_resources = true,
            Ok(Type::PartitionAware) => out.partition_aware = true,
            Ok(Type::MultiRole) => out.multi_role = true,
            Ok(Type::ReservationRefinement) => out.reservation_refinement = true,
            Ok(Type::RegionAware) => out.region_aware = true,
            Ok(Type::Unknown) | Err(_) => {}
        }
    }
    out
}

fn roles_error(proto: &v1::FrameworkInfo, multi_role: bool) -> Option<String> {
    if multi_role && proto.role.is_some() {
        return Some("'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable".to_owned());
    }
    if !multi_role && !proto.roles.is_empty() {
        return Some("'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable".to_owned());
    }
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = proto.roles.iter().map(String::as_str).filter(|role| !seen.insert(*role)).collect();
    if !twice.is_empty() {
        let twice: Vec<String> = twice.into_iter().map(printable).collect();
        return Some(format!("'FrameworkInfo.roles' contains duplicate items: {{ {} }}", twice.join(", ")));
    }
    let mut named = proto.roles.iter().map(String::as_str).chain(proto.role.as_deref());
    named
        .find_map(|role| validate_role(role).err())
        .map(|error| format!("'FrameworkInfo.{}' is not valid: {error}", if multi_role { "roles" } else { "role" }))
}

fn failover_timeout_ms(seconds: f64) -> Result<u64, String> {
    let invalid = |why| Err(format!("The framework failover_timeout ({seconds}) is invalid: {why}"));
    if !seconds.is_finite() || seconds > FAILOVER_TIMEOUT_MAX {
        return invalid("Argument out of the range that a Duration can represent due to int64_t's size limit");
    }
    if seconds < 0.0 {
        return invalid("it is negative");
    }
    Ok((seconds * 1000.0).ceil() as u64)
}

fn min_allocatable(proto: &v1::FrameworkInfo, roles: &[Role]) -> Result<BTreeMap<Role, Vec<Resources>>, String> {
    let mut out = BTreeMap::new();
    for (role, filters) in &proto.offer_filters {
        let role = Role::new(role);
        if !roles.contains(&role) {
            return Err(format!(
                "'FrameworkInfo.offer_filters' has the role '{}', which is not one of the framework's roles",
                printable(role.as_str())
            ));
        }
        let Some(minimum) = &filters.min_allocatable_resources else { continue };
        let bundles = minimum.quantities.iter().map(quantities).collect::<Result<Vec<_>, String>>();
        let bundles = bundles.map_err(|error| format!("'FrameworkInfo.offer_filters' is invalid: {error}"))?;
        out.insert(role, bundles);
    }
    Ok(out)
}

fn quantities(quantities: &v1::offer_filters::ResourceQuantities) -> Result<Resources, String> {
    let entries = quantities
        .quantities
        .iter()
        .map(|(name, scalar)| {
            Ok(Resource::scalar(name, milli_from_f64(name, scalar.value).map_err(|e| e.to_string())?))
        })
        .collect::<Result<Vec<_>, String>>()?;
    Resources::try_from_entries(entries).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use mesos_proto::json;

    use super::*;

    fn read(text: &str) -> Translated {
        let text = format!(r#"{{"user":"u","name":"n",{text}}}"#);
        framework_info(&json::decode(text.as_bytes()).unwrap())
    }

    const MULTI: &str = r#""capabilities":[{"type":"MULTI_ROLE"}]"#;

    #[test]
    fn the_roles_must_be_in_the_field_that_the_capability_asks_for() {
        assert_eq!(read(r#""role":"ads""#).info.roles, vec![Role::from("ads")]);
        assert_eq!(read(r#""checkpoint":true"#).info.roles, vec![Role::from("*")]);
        let multi = read(&format!(r#"{MULTI},"roles":["a","b/c"]"#));
        assert_eq!((multi.invalid, multi.info.roles.len()), (None, 2));
        for (text, words) in [
            (format!(r#"{MULTI},"role":"a""#), "must not be set when the framework is MULTI_ROLE capable"),
            (r#""roles":["a"]"#.to_owned(), "must not be set when the framework is not MULTI_ROLE capable"),
            (format!(r#"{MULTI},"roles":["a","a"]"#), "contains duplicate items: { a }"),
            (format!(r#"{MULTI},"roles":["/a"]"#), "'FrameworkInfo.roles' is not valid"),
        ] {
            let invalid = read(&text).invalid.unwrap_or_default();
            assert!(invalid.contains(words), "{text}: {invalid}");
        }
    }

    #[test]
    fn a_failover_timeout_must_be_a_duration() {
        assert_eq!(read(r#""failover_timeout":1.5"#).info.failover_timeout_ms, 1500);
        for bad in ["-1", "1e300", "\"Infinity\"", "\"-Infinity\""] {
            let invalid = read(&format!(r#""failover_timeout":{bad}"#)).invalid.unwrap_or_default();
            assert!(invalid.contains("failover_timeout"), "{bad}: {invalid}");
        }
    }

    #[test]
    fn offer_filters_are_read_and_checked() {
        let filter = r#"{"min_allocatable_resources":{"quantities":[{"quantities":{"cpus":{"value":2}}}]}}"#;
        let good = read(&format!(r#""role":"a","offer_filters":{{"a":{filter}}}"#));
        assert_eq!(good.info.min_allocatable["a"], vec![Resources::of(&[("cpus", 2000)])]);
        assert!(read(&format!(r#""role":"a","offer_filters":{{"b":{filter}}}"#)).invalid.is_some());
        let negative = filter.replace('2', "-2");
        assert!(read(&format!(r#""role":"a","offer_filters":{{"a":{negative}}}"#)).invalid.is_some());
    }

    #[test]
    fn capabilities_of_the_future_are_no_error() {
        let text = r#""capabilities":[{"type":"PARTITION_AWARE"},{"type":"TELEPATHY"},{}]"#;
        let translated = read(text);
        assert_eq!(translated.invalid, None);
        assert!(translated.info.capabilities.partition_aware);
    }

    #[test]
    fn an_id_that_would_be_a_path_is_refused() {
        assert!(read(r#""id":{"value":"../x"}"#).invalid.is_some());
        assert!(read(r#""id":{"value":"a-0001"}"#).invalid.is_none());
    }
}
