//! From the contract's messages to the machines' types.
//!
//! Everything that can be wrong without knowing the cluster is found here and said in words, so that the
//! allocator is asked only for what makes sense.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use mesos_core::message::{Amounts, Change, Placement, PolicyName, Query, Quota};
use mesos_engine::facts::WEIGHT_MAX;
use mesos_model::{
    AgentId, FrameworkId, Resources, Role, attribute::Attribute, resources::milli_from_f64, validate_role,
};
use mesos_proto::{
    services::v1::{self, change},
    v1 as mesos,
};

use crate::{
    reads::reply::Refusal,
    translate::resources::{amount, from_proto, printable},
};

/// The largest module, in bytes: it travels in one message and lies in one row.
pub const MODULE_MAX: usize = 2 * 1024 * 1024;
/// What every WebAssembly module begins with.
const MODULE_MAGIC: &[u8] = b"\0asm";
const MODULE_NAME_MAX: usize = 64;
/// The longest name of a resource, in bytes.
const NAME_MAX: usize = 255;
/// Tasks that one question may be about, and agents that one change may add.
const COUNT_MAX: u32 = 10_000;
/// Changes of one what-if: each costs a look at the whole cluster.
const CHANGES_MAX: usize = 64;
/// The resources that every cluster knows.
const KNOWN: [&str; 4] = ["cpus", "mem", "disk", "gpus"];

/// A role.
///
/// # Errors
/// Says what is wrong with its name.
pub fn role(name: &str) -> Result<Role, Refusal> {
    validate_role(name).map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(Role::new(name))
}

/// Weights in thousandths.
///
/// # Errors
/// For a weight that is not above 0 or that is absurd, a name that is no role, and a role that is named twice.
pub fn weights<'a>(given: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Vec<(Role, u64)>, Refusal> {
    let mut seen = BTreeSet::new();
    let mut weights = Vec::new();
    for (name, weight) in given {
        let role = role(name)?;
        if !seen.insert(role.clone()) {
            return Err(Refusal::bad(format!("role '{role}' is named twice")));
        }
        weights.push((role, milli_weight(name, weight)?));
    }
    if weights.is_empty() {
        return Err(Refusal::bad("there is no role to give a weight to"));
    }
    Ok(weights)
}

fn milli_weight(role: &str, weight: f64) -> Result<u64, Refusal> {
    let wrong = |why: &str| Err(Refusal::bad(format!("Invalid weight {weight} for role '{}': {why}", printable(role))));
    if weight.is_nan() || weight <= 0.0 {
        return wrong("weights must be above 0");
    }
    let most = WEIGHT_MAX / 1000;
    if weight > most as f64 {
        return wrong(&format!("weights must be at most {most}"));
    }
    match (weight * 1000.0).round() as u64 {
        0 => wrong("weights must be at least 0.001"),
        milli => Ok(milli),
    }
}

fn amounts(role: &str, what: &str, given: &HashMap<String, f64>) -> Result<Amounts, Refusal> {
    let mut out = Amounts::new();
    for (name, value) in given {
        let wrong = |why: &str| {
            Err(Refusal::bad(format!("Invalid {what} of '{}' for role '{}': {why}", printable(name), printable(role))))
        };
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return wrong("that is no name of a resource");
        }
        match milli_from_f64(name, *value) {
            Ok(milli) => out.insert(Arc::from(name.as_str()), milli),
            Err(error) => return wrong(&error.to_string()),
        };
    }
    Ok(out)
}

/// A quota, with the guarantees of nothing left out.
///
/// # Errors
/// For amounts that cannot be, guarantees above limits, and `*`, which is everybody's.
pub fn quota(given: &v1::RoleQuota) -> Result<Quota, Refusal> {
    let mut guarantee = amounts(&given.role, "guarantee", &given.guarantee)?;
    guarantee.retain(|_, milli| *milli > 0);
    whole_quota(&given.role, guarantee, amounts(&given.role, "limit", &given.limit)?)
}

fn whole_quota(role: &str, guarantee: Amounts, limit: Amounts) -> Result<Quota, Refusal> {
    let role = quota_role(role)?;
    for (name, promised) in &guarantee {
        if let Some(most) = limit.get(name).filter(|most| *most < promised) {
            return Err(Refusal::bad(format!(
                "Invalid quota for role '{role}': the guarantee of {name} ({}) is above its limit ({})",
                amount(*promised),
                amount(*most)
            )));
        }
    }
    Ok(Quota { role, guarantee, limit })
}

fn quota_role(name: &str) -> Result<Role, Refusal> {
    if name == "*" {
        return Err(Refusal::bad("Setting quota for the default '*' role is not supported: it is everybody's"));
    }
    role(name)
}

/// Quota as `QuotaConfig` has it.
///
/// # Errors
/// As [`quota`].
pub fn quota_config(config: &mesos::quota::QuotaConfig) -> Result<Quota, Refusal> {
    let plain = |amounts: &HashMap<String, mesos::value::Scalar>| {
        amounts.iter().map(|(name, scalar)| (name.clone(), scalar.value)).collect()
    };
    quota(&v1::RoleQuota {
        role: config.role.clone(),
        guarantee: plain(&config.guarantees),
        limit: plain(&config.limits),
    })
}

/// The old form of quota, which guarantees and limits at the same time.
///
/// # Errors
/// As [`quota`], and for a guarantee of what is no plain scalar.
pub fn old_quota(request: &mesos::quota::QuotaRequest) -> Result<Quota, Refusal> {
    let name = request.role.as_deref().filter(|role| !role.is_empty());
    let name =
        name.ok_or_else(|| Refusal::bad("Failed to validate set quota request: QuotaInfo must specify a role"))?;
    let wrong = |why: String| Refusal::bad(format!("Failed to validate set quota request: {why}"));
    if request.guarantee.is_empty() {
        return Err(wrong("QuotaInfo with empty 'guarantee'".to_owned()));
    }
    let given = from_proto(&request.guarantee).map_err(wrong)?;
    if let Some(other) = given.iter().find(|entry| !matches!(entry.value, mesos_model::Value::Scalar(_))) {
        return Err(wrong(format!("QuotaInfo must not include non-scalar resources such as {}", other.name)));
    }
    if let Some(other) = given.iter().find(|entry| entry.qualifier.is_some()) {
        return Err(wrong(format!("QuotaInfo must not include reserved or other special resources ({})", other.name)));
    }
    let mut guarantee = given.scalars();
    guarantee.retain(|_, milli| *milli > 0);
    whole_quota(name, guarantee.clone(), guarantee)
}

/// Several quotas together.
///
/// # Errors
/// For none, and for a role that is named twice.
pub fn quotas(quotas: &[Quota]) -> Result<(), Refusal> {
    if quotas.is_empty() {
        return Err(Refusal::bad("there is no role to give a quota to"));
    }
    let mut seen = BTreeSet::new();
    match quotas.iter().find(|quota| !seen.insert(&quota.role)) {
        Some(twice) => Err(Refusal::bad(format!("role '{}' is named twice", twice.role))),
        None => Ok(()),
    }
}

/// Whether there are such resources: a limit on `cpu` would limit nothing and look as if it did.
///
/// # Errors
/// Names the resource, and what there is.
pub fn names(quotas: &[Quota], on_agents: &[String]) -> Result<(), Refusal> {
    let known: BTreeSet<&str> = KNOWN.into_iter().chain(on_agents.iter().map(String::as_str)).collect();
    let mut named = quotas.iter().flat_map(|quota| quota.guarantee.keys().chain(quota.limit.keys()));
    match named.find(|name| !known.contains(&***name)) {
        Some(name) => {
            let known: Vec<&str> = known.into_iter().collect();
            Err(Refusal::bad(format!(
                "no agent has a resource '{}'; there are {} (force sets it nevertheless)",
                printable(name),
                known.join(", ")
            )))
        }
        None => Ok(()),
    }
}

/// A placement; nothing, an empty text and `inherit` are as the parent has it.
///
/// # Errors
/// Says which there are.
pub fn placement(text: Option<&str>) -> Result<Option<Placement>, Refusal> {
    match text.unwrap_or_default() {
        "" | "inherit" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Refusal::bad(format!(
                "'{}' is no placement; there are spread, binpack, random and inherit",
                printable(text)
            ))
        }),
    }
}

/// A policy's name.
///
/// # Errors
/// For what can be no name of a module.
pub fn policy(name: &str) -> Result<PolicyName, Refusal> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MODULE_NAME_MAX || !name.chars().all(is_name) || name.starts_with('.') {
        return Err(Refusal::bad(format!(
            "'{}' is no name of a policy; expected at most {MODULE_NAME_MAX} letters, digits, dashes, dots and underscores",
            printable(name)
        )));
    }
    Ok(PolicyName::from(name))
}

/// A module's bytes.
///
/// # Errors
/// For a name that is taken, and for what is no module.
pub fn module(policy: &PolicyName, module: &[u8]) -> Result<(), Refusal> {
    if !matches!(policy, PolicyName::Module(_)) {
        return Err(Refusal::bad(format!("'{policy}' is a built-in policy; give the module another name")));
    }
    if module.len() > MODULE_MAX {
        return Err(Refusal::bad(format!("the module has {} bytes; at most {MODULE_MAX} are taken", module.len())));
    }
    if !module.starts_with(MODULE_MAGIC) {
        return Err(Refusal::bad("the module is no WebAssembly: it does not begin with \\0asm"));
    }
    Ok(())
}

/// A question; the task that it may be about is the caller's to look up.
///
/// # Errors
/// Says what is wrong with it.
pub fn query(query: &v1::Query) -> Result<Query, Refusal> {
    let resources = from_proto(&query.resources).map_err(Refusal::bad)?;
    if query.count > COUNT_MAX {
        return Err(Refusal::bad(format!("a question may be about at most {COUNT_MAX} tasks, not {}", query.count)));
    }
    let framework = query.framework_id.as_ref().map(|id| id.value.as_str()).filter(|id| !id.is_empty());
    Ok(Query {
        framework: framework.map(FrameworkId::new),
        role: query.role.as_deref().filter(|name| !name.is_empty()).map(role).transpose()?,
        request: query.request.clone().filter(|name| !name.is_empty()),
        resources: (!resources.is_empty()).then_some(resources),
        count: query.count.max(1),
        fresh: false,
    })
}

/// Supposed changes.
///
/// # Errors
/// Says which one cannot be, and why.
pub fn changes(changes: Vec<v1::Change>) -> Result<Vec<Change>, Refusal> {
    if changes.len() > CHANGES_MAX {
        return Err(Refusal::bad(format!("at most {CHANGES_MAX} changes can be supposed at once")));
    }
    changes.into_iter().map(change).collect()
}

fn change(given: v1::Change) -> Result<Change, Refusal> {
    use change::Change as Given;
    let given =
        given.change.ok_or_else(|| Refusal::bad("a supposed change is empty, or of a kind that is not known"))?;
    Ok(match given {
        Given::AddAgents(added) => add_agents(added)?,
        Given::RemoveAgent(agent) => Change::RemoveAgent(agent_id(&agent)?),
        Given::Weight(v1::RoleWeight { role: name, weight }) => {
            Change::Weight { role: role(&name)?, weight: milli_weight(&name, weight)? }
        }
        Given::Limit(limit) => {
            Change::Limit { role: quota_role(&limit.role)?, limit: amounts(&limit.role, "limit", &limit.amounts)? }
        }
        Given::Guarantee(guarantee) => Change::Guarantee {
            role: quota_role(&guarantee.role)?,
            guarantee: amounts(&guarantee.role, "guarantee", &guarantee.amounts)?,
        },
        Given::Policy(name) => match policy(&name)? {
            PolicyName::Module(name) => {
                let text =
                    format!("a module cannot be supposed as the policy ('{name}'); drf, fifo, drc and random can");
                return Err(Refusal::bad(text));
            }
            built_in => Change::Policy(built_in),
        },
        Given::Less(less) => Change::Less {
            amount: milli_from_f64(&less.name, less.amount).map_err(|error| Refusal::bad(error.to_string()))?,
            name: less.name,
        },
        Given::DropConstraint(dropped) => {
            Change::DropConstraint { group: dropped.group, constraint: dropped.constraint }
        }
        Given::DropFilters(dropped) => {
            Change::DropFilters { agent: dropped.agent_id.as_ref().map(agent_id).transpose()? }
        }
        Given::Capability(name) => {
            if mesos::framework_info::capability::Type::from_str_name(&name).is_none() {
                let text = format!("'{}' is no capability; one is for example GPU_RESOURCES", printable(&name));
                return Err(Refusal::bad(text));
            }
            Change::Capability(name)
        }
        Given::DropMinimum(_) => Change::DropMinimum,
        Given::Revive(_) => Change::Revive,
        Given::DropReservations(name) => Change::DropReservations(role(&name)?),
    })
}

fn add_agents(added: change::AddAgents) -> Result<Change, Refusal> {
    if added.count > COUNT_MAX {
        return Err(Refusal::bad(format!("at most {COUNT_MAX} agents can be supposed, not {}", added.count)));
    }
    let total: Resources = from_proto(&added.total).map_err(Refusal::bad)?;
    let attributes: Vec<Attribute> =
        added.attributes.iter().map(crate::launcher::attribute).collect::<Result<_, _>>().map_err(Refusal::bad)?;
    let like = added.like.as_ref().map(agent_id).transpose()?;
    match (&like, total.is_empty()) {
        (None, true) => {
            return Err(Refusal::bad("say what supposed agents are like: another agent, or their resources"));
        }
        (Some(_), false) => {
            return Err(Refusal::bad("supposed agents are like another one or have resources of their own, not both"));
        }
        _ => {}
    }
    Ok(Change::AddAgents { count: added.count.max(1), like, total: (!total.is_empty()).then_some(total), attributes })
}

fn agent_id(id: &mesos::AgentId) -> Result<AgentId, Refusal> {
    if id.value.is_empty() {
        return Err(Refusal::bad("an agent's id is empty"));
    }
    Ok(AgentId::new(&id.value))
}
