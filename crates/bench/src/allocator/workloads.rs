//! What happened to Mesos's allocator when it was measured, step by step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use mesos_engine::{Bundle, Decision, facts::RoleFacts};
use mesos_model::{FrameworkId, Role};
use serde_json::json;

use super::{
    Size,
    cluster::{Cluster, WHOLE, agent_ids, bundle, ensure_each_agent_once, ensure_equal_parts, frameworks, resources},
    measure::{Steps, Take},
};
use crate::usage;

const HOUR: Duration = Duration::from_secs(3600);
/// What Mesos makes of a longer refusal.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// An empty cluster: everything is offered.
pub(crate) fn idle(size: Size) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut cluster = Cluster::new();
    let (ids, frameworks, total) = (agent_ids(size.agents), frameworks(size), resources(WHOLE)?);
    let whole = Bundle::from(&total);
    steps.time("add_agents", || cluster.add_agents(&ids, &total));
    steps.time("add_frameworks", || cluster.add_frameworks(&frameworks))?;
    let mut offers = steps.time("offer_all", || cluster.round());
    ensure_each_agent_once(&cluster, &offers, &whole)?;
    if size.agents.is_multiple_of(size.frameworks) && size.frameworks.is_multiple_of(size.roles) {
        ensure_equal_parts(&offers, size.frameworks)?;
    }
    let more = steps.time("no_op", || cluster.round());
    ensure!(more.is_empty(), "{} offers of what was offered", more.len());
    for _ in 0..3 {
        steps.time("decline", || cluster.decline(&offers, None));
        offers = steps.time("offer_all", || cluster.round());
        ensure_each_agent_once(&cluster, &offers, &whole)?;
    }
    decline_with_filters(&mut cluster, &mut steps, offers, size, 5, HOUR, &whole)?;
    cluster.check()?;
    steps.lines(
        &["add_agents", "add_frameworks", "offer_all", "no_op", "decline", "decline_filtered", "cycle_after_filtered"],
        Take::Median,
    );
    Ok(steps)
}

/// Everybody declines for long, and others are offered it, until there are no others.
fn decline_with_filters(
    cluster: &mut Cluster,
    steps: &mut Steps,
    mut offers: Vec<Decision>,
    size: Size,
    rounds: usize,
    refuse: Duration,
    what: &Bundle,
) -> Result<()> {
    for _ in 0..rounds {
        steps.time("decline_filtered", || cluster.decline(&offers, Some(refuse)));
        offers = steps.time("cycle_after_filtered", || cluster.round());
        if size.frameworks == 1 {
            ensure!(offers.is_empty(), "{} offers in spite of filters", offers.len());
            break;
        }
        ensure_each_agent_once(cluster, &offers, what)?;
    }
    Ok(())
}

/// Half of every agent is used by running tasks.
pub(crate) fn steady(size: Size) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut cluster = Cluster::new();
    let (ids, frameworks, total) = (agent_ids(size.agents), frameworks(size), resources(WHOLE)?);
    let used = bundle("cpus:12;mem:2048;disk:2048;ports:[31000-31499]")?;
    let free = bundle("cpus:12;mem:2048;disk:2048;ports:[31500-32000]")?;
    steps.time("add_frameworks", || cluster.add_frameworks(&frameworks))?;
    let mut offers = steps.time("add_agents", || {
        add_used_agents(&mut cluster, &ids, &total, &used);
        cluster.round()
    });
    ensure_each_agent_once(&cluster, &offers, &free)?;
    for _ in 0..5 {
        let more = steps.time("no_op", || cluster.round());
        ensure!(more.is_empty(), "{} offers of what was offered", more.len());
    }
    for _ in 0..5 {
        steps.time("decline", || cluster.decline(&offers, None));
        offers = steps.time("reoffer", || cluster.round());
        ensure_each_agent_once(&cluster, &offers, &free)?;
    }
    let piece = bundle("cpus:1;mem:128")?;
    for first in 0..5 {
        let agents: Vec<usize> = (first..size.agents).step_by(100).collect();
        steps.time("recover", || {
            for at in &agents {
                let (agent, client) = (cluster.agents[*at], cluster.clients[at % size.frameworks]);
                cluster.engine.release(agent, client, &piece, || []);
            }
        });
        let pieces = steps.time("churn", || cluster.round());
        ensure!(
            pieces.len() == agents.len() && pieces.iter().all(|offer| offer.bundle == piece),
            "{} offers of {} pieces",
            pieces.len(),
            agents.len()
        );
    }
    cluster.check()?;
    steps.lines(&["add_frameworks", "add_agents"], Take::Median);
    steps.lines(&["no_op", "decline", "reoffer"], Take::Best);
    steps.line("reoffer_mean", "reoffer", Take::Mean);
    steps.lines(&["recover", "churn"], Take::Best);
    steps.line("churn_mean", "churn", Take::Mean);
    Ok(steps)
}

fn add_used_agents(cluster: &mut Cluster, ids: &[mesos_model::AgentId], total: &mesos_model::Resources, used: &Bundle) {
    cluster.add_agents(ids, total);
    for (at, agent) in cluster.agents.iter().enumerate() {
        let client = cluster.clients[at % cluster.clients.len()];
        cluster.engine.allocate(*agent, client, used);
    }
}

/// What is used of each agent in Mesos's benchmark `DeclineOffers`, and what is left: ports in sixteen pieces.
fn pieces() -> Result<(Bundle, Bundle)> {
    let used: Vec<String> =
        (0..15).map(|at| (31_000 + 2 * at).to_string()).map(|port| format!("{port}-{port}")).collect();
    let used = format!("cpus:16;mem:2014;disk:1024;ports:[{},31030-32000]", used.join(","));
    let free: Vec<String> =
        (0..15).map(|at| (31_001 + 2 * at).to_string()).map(|port| format!("{port}-{port}")).collect();
    let free = format!("cpus:8;mem:2082;disk:3072;ports:[{}]", free.join(","));
    Ok((bundle(&used)?, bundle(&free)?))
}

/// All frameworks in one role decline all they are offered, for ever.
pub(crate) fn decline(size: Size) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut cluster = Cluster::new();
    let (ids, frameworks, total) = (agent_ids(size.agents), frameworks(size), resources(WHOLE)?);
    let (used, free) = pieces()?;
    steps.time("add_frameworks", || cluster.add_frameworks(&frameworks))?;
    let offers = steps.time("add_agents", || {
        add_used_agents(&mut cluster, &ids, &total, &used);
        cluster.round()
    });
    ensure_each_agent_once(&cluster, &offers, &free)?;
    let rounds = if size.agents >= 50_000 { 3 } else { 5 };
    decline_with_filters(&mut cluster, &mut steps, offers, size, rounds, YEAR, &free)?;
    cluster.check()?;
    steps.lines(&["add_frameworks", "add_agents", "decline_filtered", "cycle_after_filtered"], Take::Median);
    Ok(steps)
}

/// Every framework filters every agent.
///
/// `all_filtered` is a cycle as Mesos does one each second. Since nothing has changed the engine looks at nothing
/// in it; `all_filtered_full` is a cycle in which every framework is asked about every agent all the same, as
/// after a change of the policy.
pub(crate) fn all_filtered(size: Size) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut cluster = Cluster::new();
    let (ids, frameworks, total) = (agent_ids(size.agents), frameworks(size), resources(WHOLE)?);
    let (used, free) = pieces()?;
    cluster.add_frameworks(&frameworks)?;
    add_used_agents(&mut cluster, &ids, &total, &used);
    let offers = cluster.round();
    ensure_each_agent_once(&cluster, &offers, &free)?;
    cluster.decline(&offers, None);
    let bundles: Vec<(mesos_engine::AgentSlot, Bundle)> =
        offers.into_iter().map(|offer| (offer.agent, offer.bundle)).collect();
    let before = usage::rss_mib(std::process::id());
    let until = cluster.now.after(HOUR);
    steps.time("refuse_all", || {
        for client in &cluster.clients {
            for (agent, bundle) in &bundles {
                cluster.engine.refuse(*client, *agent, bundle, until);
            }
        }
    });
    let pairs = size.agents * size.frameworks;
    let bytes = (usage::rss_mib(std::process::id()) - before) * 1024.0 * 1024.0 / pairs as f64;
    ensure!(cluster.engine.filters() == pairs, "{} filters, not {pairs}", cluster.engine.filters());
    for _ in 0..5 {
        for client in &cluster.clients {
            cluster.engine.wake(*client);
        }
        let offers = steps.time("all_filtered_full", || cluster.round());
        ensure!(offers.is_empty(), "{} offers in spite of filters", offers.len());
    }
    for _ in 0..5 {
        let offers = steps.time("all_filtered", || cluster.round());
        ensure!(offers.is_empty(), "{} offers in spite of filters", offers.len());
    }
    cluster.check()?;
    steps.line("refuse_all", "refuse_all", Take::Median);
    for step in ["all_filtered", "all_filtered_full"] {
        if let Some(line) = steps.line(step, step, Take::Best) {
            line.insert("filters".to_owned(), pairs.into());
            line.insert("bytes_per_filter".to_owned(), json!(usage::round(bytes)));
        }
    }
    Ok(steps)
}

/// How many of so many roles are small, and how many large.
pub(crate) fn small_and_large(roles: usize) -> (usize, usize) {
    (roles - roles / 6, roles / 6)
}

/// Mesos's benchmark `LargeAndSmallQuota`: roles with guarantee and limit, one framework in each.
///
/// `quota_second` is a cycle in which nothing has changed; `quota_full` one in which every framework is asked
/// about everything all the same.
pub(crate) fn quota(size: Size) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut cluster = Cluster::new();
    let (ids, total) = (agent_ids(size.agents), resources("cpus:2;mem:2048;disk:2048")?);
    let (small, large) = small_and_large(size.roles);
    let cpus = |count: i64| -> BTreeMap<Arc<str>, i64> {
        [("cpus", count * 1000), ("mem", count * 1_024_000), ("disk", count * 1_024_000)]
            .map(|(name, amount)| (Arc::from(name), amount))
            .into()
    };
    let named = |name: &str, count: usize| (0..count).map(|at| Role::new(format!("{name}{at}"))).collect::<Vec<_>>();
    let roles: Vec<(Role, i64)> = named("small", small)
        .into_iter()
        .map(|role| (role, 1))
        .chain(named("large", large).into_iter().map(|role| (role, 4)))
        .collect();
    let frameworks: Vec<(FrameworkId, Role)> =
        roles.iter().map(|(role, _)| (FrameworkId::new(format!("framework-{role}")), role.clone())).collect();
    steps.time("add_agents", || cluster.add_agents(&ids, &total));
    steps.time("set_quota", || {
        for (role, amount) in &roles {
            let facts = RoleFacts { guarantee: cpus(*amount), limit: cpus(*amount), ..RoleFacts::default() };
            cluster.engine.set_role(role, facts);
        }
    });
    steps.time("add_frameworks", || cluster.add_frameworks(&frameworks))?;
    let offers = steps.time("quota_first", || cluster.round());
    let offered: i64 = offers.iter().map(|offer| offer.bundle.hot()[0]).sum();
    let wanted = i64::try_from(small + 4 * large)? * 1000;
    ensure!(offered == wanted, "{offered} thousandths of CPUs were offered, not the guarantees' {wanted}");
    for (client, (role, amount)) in cluster.clients.iter().zip(&roles) {
        ensure!(cluster.engine.sums(*client) == cpus(*amount), "{role} was not offered just its quota");
    }
    for _ in 0..5 {
        let more = steps.time("quota_second", || cluster.round());
        ensure!(more.is_empty(), "{} offers beyond limits", more.len());
    }
    for _ in 0..5 {
        for client in &cluster.clients {
            cluster.engine.wake(*client);
        }
        let more = steps.time("quota_full", || cluster.round());
        ensure!(more.is_empty(), "{} offers beyond limits", more.len());
    }
    cluster.check()?;
    steps.lines(&["add_agents", "set_quota", "add_frameworks"], Take::Median);
    if let Some(line) = steps.line("quota_first", "quota_first", Take::Median) {
        line.insert("offers".to_owned(), offers.len().into());
    }
    steps.lines(&["quota_second", "quota_full"], Take::Median);
    Ok(steps)
}
