//! `roles`, `quota`, `weights`, `placement`, `priority`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use mesos_proto::{
    services::v1::{
        GetRolesRequest, RoleQuota, RoleView, RoleWeight, SetPlacementRequest, SetPriorityRequest, UpdateQuotaRequest,
        UpdateWeightsRequest,
    },
    v1,
};
use serde::Serialize;

use super::{
    ClientArgs, Failure, Master,
    amounts::{self, Amounts},
    find::{self, Target},
    output::{self, Line, OutputArgs, number},
    request::call_id,
};

/// A role, as it is printed.
#[derive(Debug, Serialize)]
struct RoleLine {
    role: String,
    weight: f64,
    guarantee: Amounts,
    limit: Amounts,
    consumed: Amounts,
    allocated: Amounts,
    offered: Amounts,
    share_percent: f64,
    reserved: Amounts,
    placement: Option<String>,
    frameworks: Vec<String>,
}

impl RoleLine {
    fn new(view: RoleView) -> RoleLine {
        let sorted = |amounts: std::collections::HashMap<String, f64>| amounts.into_iter().collect();
        RoleLine {
            role: view.role,
            weight: view.weight,
            guarantee: sorted(view.guarantee),
            limit: sorted(view.limit),
            consumed: sorted(view.consumed),
            allocated: sorted(view.allocated),
            offered: sorted(view.offered),
            share_percent: percent(view.share),
            reserved: sorted(view.reserved),
            placement: view.placement,
            frameworks: view.framework_ids.into_iter().map(|id| id.value).collect(),
        }
    }
}

/// A share of 0 to 1 in percent, with one decimal.
pub(crate) fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

impl Line for RoleLine {
    const COLUMNS: &'static [&'static str] = &[
        "ROLE",
        "WEIGHT",
        "GUARANTEE",
        "LIMIT",
        "CONSUMED",
        "ALLOCATED",
        "OFFERED",
        "SHARE%",
        "RESERVED",
        "PLACEMENT",
        "FRAMEWORKS",
    ];
    const NARROW: usize = 8;

    fn cells(&self) -> Vec<String> {
        vec![
            self.role.clone(),
            number(self.weight),
            amounts::text(&self.guarantee),
            amounts::text(&self.limit),
            amounts::text(&self.consumed),
            amounts::text(&self.allocated),
            amounts::text(&self.offered),
            format!("{:.1}", self.share_percent),
            amounts::text(&self.reserved),
            self.placement.clone().unwrap_or_else(|| "inherit".to_owned()),
            self.frameworks.join(","),
        ]
    }

    fn id(&self) -> &str {
        &self.role
    }
}

/// Options of `roles`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RolesArgs {
    /// Only this role
    #[arg(value_name = "ROLE")]
    role: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

async fn views(master: &Master) -> Result<Vec<RoleView>, Failure> {
    Ok(master.allocation().get_roles(GetRolesRequest {}).await?.into_inner().roles)
}

async fn lines(master: &Master, only: Option<&str>) -> Result<Vec<RoleLine>, Failure> {
    let mut lines: Vec<RoleLine> = views(master).await?.into_iter().map(RoleLine::new).collect();
    if let Some(role) = only {
        lines.retain(|line| line.role == role);
        if lines.is_empty() {
            return Err(Failure::Wrong(format!("nobody is in role {role} and nothing is set for it")));
        }
    }
    lines.sort_by(|a, b| a.role.cmp(&b.role));
    Ok(lines)
}

/// `mesos roles`.
pub(crate) async fn roles(args: RolesArgs, master: Master) -> Result<ExitCode, Failure> {
    output::print(args.output.output, &lines(&master, args.role.as_deref()).await?);
    Ok(ExitCode::SUCCESS)
}

/// Options of `quota`.
#[derive(Args, Clone, Debug)]
pub(crate) struct QuotaArgs {
    #[command(subcommand)]
    what: Quota,
}

#[derive(Clone, Debug, Subcommand)]
enum Quota {
    /// Show the quotas of all roles, or of one
    Get(RolesArgs),
    /// Set the quota of a role; what is not named keeps its value
    Set(QuotaSetArgs),
    /// Remove the quota of a role
    Remove(QuotaRemoveArgs),
}

#[derive(Args, Clone, Debug)]
struct QuotaSetArgs {
    /// Which role
    #[arg(value_name = "ROLE")]
    role: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// What it is to have before others get more, for example cpus:4;mem:4GB; none takes it away
    #[arg(long, value_name = "RESOURCES", value_parser = amounts::parse, required_unless_present = "limit")]
    guarantee: Option<Amounts>,
    /// What it may have at most, for example cpus:8;mem:16GB; none takes it away
    #[arg(long, value_name = "RESOURCES", value_parser = amounts::parse)]
    limit: Option<Amounts>,
    /// Also if more is in use than the limit, or if the guarantees are more than there is
    #[arg(long)]
    force: bool,
}

#[derive(Args, Clone, Debug)]
struct QuotaRemoveArgs {
    /// Which role
    #[arg(value_name = "ROLE")]
    role: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl QuotaArgs {
    /// Which master is asked.
    pub(crate) fn client(&self) -> ClientArgs {
        match &self.what {
            Quota::Get(args) => args.client.clone(),
            Quota::Set(args) => args.client.clone(),
            Quota::Remove(args) => args.client.clone(),
        }
    }
}

async fn set_quota(
    master: &Master,
    role: &str,
    guarantee: Amounts,
    limit: Amounts,
    force: bool,
) -> Result<(), Failure> {
    let quota = RoleQuota {
        role: role.to_owned(),
        guarantee: guarantee.into_iter().collect(),
        limit: limit.into_iter().collect(),
    };
    let request = UpdateQuotaRequest { quotas: vec![quota], force, call_id: call_id() };
    master.allocation().update_quota(request).await?;
    Ok(())
}

/// `mesos quota`.
pub(crate) async fn quota(args: QuotaArgs, master: Master) -> Result<ExitCode, Failure> {
    let (role, output) = match args.what {
        Quota::Get(args) => {
            let mut lines = lines(&master, args.role.as_deref()).await?;
            lines.retain(|line| args.role.is_some() || !line.guarantee.is_empty() || !line.limit.is_empty());
            output::print(args.output.output, &lines);
            return Ok(ExitCode::SUCCESS);
        }
        Quota::Set(args) => {
            // A quota is set as a whole, so what is not named is read first.
            let present = match (&args.guarantee, &args.limit) {
                (Some(_), Some(_)) => None,
                _ => views(&master).await?.into_iter().find(|view| view.role == args.role),
            };
            let present = present.unwrap_or_default();
            let guarantee = args.guarantee.unwrap_or_else(|| present.guarantee.into_iter().collect());
            let limit = args.limit.unwrap_or_else(|| present.limit.into_iter().collect());
            set_quota(&master, &args.role, guarantee, limit, args.force).await?;
            (args.role, args.output)
        }
        Quota::Remove(args) => {
            set_quota(&master, &args.role, Amounts::new(), Amounts::new(), false).await?;
            (args.role, args.output)
        }
    };
    // A role that nobody is in has nothing to show without a quota.
    let mut lines = lines(&master, None).await?;
    lines.retain(|line| line.role == role);
    output::print(output.output, &lines);
    Ok(ExitCode::SUCCESS)
}

/// Options of `weights`.
#[derive(Args, Clone, Debug)]
pub(crate) struct WeightsArgs {
    #[command(subcommand)]
    what: Weights,
}

#[derive(Clone, Debug, Subcommand)]
enum Weights {
    /// Show the weights of all roles, or of one
    Get(RolesArgs),
    /// Set weights: a role with weight 2 gets twice the share of one with weight 1
    Set(WeightsSetArgs),
}

#[derive(Args, Clone, Debug)]
struct WeightsSetArgs {
    /// Roles and their weights
    #[arg(value_name = "ROLE=WEIGHT", required = true, num_args = 1.., value_parser = parse_weight)]
    weights: Vec<(String, f64)>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl WeightsArgs {
    /// Which master is asked.
    pub(crate) fn client(&self) -> ClientArgs {
        match &self.what {
            Weights::Get(args) => args.client.clone(),
            Weights::Set(args) => args.client.clone(),
        }
    }
}

/// `ROLE=WEIGHT`.
pub(crate) fn parse_weight(text: &str) -> Result<(String, f64), String> {
    let expected = || "expected ROLE=WEIGHT with a weight above 0, for example ads=2".to_owned();
    let (role, weight) = text.rsplit_once('=').filter(|(role, _)| !role.is_empty()).ok_or_else(expected)?;
    match weight.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight > 0.0 => Ok((role.to_owned(), weight)),
        _ => Err(expected()),
    }
}

#[derive(Debug, Serialize)]
struct WeightLine {
    role: String,
    weight: f64,
}

impl Line for WeightLine {
    const COLUMNS: &'static [&'static str] = &["ROLE", "WEIGHT"];
    const NARROW: usize = 2;

    fn cells(&self) -> Vec<String> {
        vec![self.role.clone(), number(self.weight)]
    }

    fn id(&self) -> &str {
        &self.role
    }
}

/// `mesos weights`.
pub(crate) async fn weights(args: WeightsArgs, master: Master) -> Result<ExitCode, Failure> {
    let (lines, output) = match args.what {
        Weights::Get(args) => {
            let lines = lines(&master, args.role.as_deref()).await?;
            (lines.into_iter().map(|line| WeightLine { role: line.role, weight: line.weight }).collect(), args.output)
        }
        Weights::Set(args) => {
            let weights = args.weights.iter().map(|(role, weight)| RoleWeight { role: role.clone(), weight: *weight });
            let request = UpdateWeightsRequest { weights: weights.collect(), call_id: call_id() };
            master.allocation().update_weights(request).await?;
            let lines = args.weights.into_iter().map(|(role, weight)| WeightLine { role, weight });
            (lines.collect::<Vec<_>>(), args.output)
        }
    };
    output::print(output.output, &lines);
    Ok(ExitCode::SUCCESS)
}

/// Options of `placement`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlacementArgs {
    /// Which role
    #[arg(value_name = "ROLE")]
    role: String,
    /// The emptiest agents first, the fullest, any, or as the parent has it
    #[arg(value_name = "PLACEMENT", value_parser = ["spread", "binpack", "random", "inherit"])]
    placement: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `mesos placement`.
pub(crate) async fn placement(args: PlacementArgs, master: Master) -> Result<ExitCode, Failure> {
    let placement = Some(args.placement.clone()).filter(|placement| placement != "inherit");
    let request = SetPlacementRequest { role: args.role.clone(), placement, call_id: call_id() };
    master.allocation().set_placement(request).await?;
    let said = BTreeMap::from([("role", args.role), ("placement", args.placement)]);
    output::print_change(args.output.output, &said, &format!("{}: {}", said["role"], said["placement"]));
    Ok(ExitCode::SUCCESS)
}

/// Options of `priority`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PriorityArgs {
    /// Name or id of a framework, or id of a task that was launched with `mesos launch` or `mesos spawn`
    #[arg(value_name = "FRAMEWORK|TASK")]
    target: String,
    /// Higher goes first; 0 is usual
    #[arg(value_name = "N", allow_negative_numbers = true)]
    priority: i64,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// `mesos priority`.
pub(crate) async fn priority(args: PriorityArgs, master: Master) -> Result<ExitCode, Failure> {
    #[derive(Serialize)]
    struct Said {
        framework_id: Option<String>,
        task_id: Option<String>,
        priority: i64,
    }
    let target = find::target(&master, &args.target).await?;
    let (framework, task) = match &target {
        Target::Framework(id) => (Some(id.clone()), None),
        Target::Task(id) => (None, Some(id.clone())),
    };
    let request = SetPriorityRequest {
        framework_id: framework.clone().map(|value| v1::FrameworkId { value }),
        task_id: task.clone().map(|value| v1::TaskId { value }),
        priority: args.priority,
        call_id: call_id(),
    };
    master.allocation().set_priority(request).await.map_err(|status| find::refused(&target, status))?;
    let said = Said { framework_id: framework, task_id: task, priority: args.priority };
    output::print_change(args.output.output, &said, &format!("{}: priority {}", args.target, args.priority));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    #[test]
    fn quotas_are_read_with_units() {
        let args: QuotaArgs =
            parse(&["set", "ads", "--guarantee", "cpus:4;mem:4GB", "--limit=none", "--force"]).unwrap();
        let Quota::Set(set) = args.what else { panic!("{args:?}") };
        let expected = Amounts::from([("cpus".to_owned(), 4.0), ("mem".to_owned(), 4096.0)]);
        assert_eq!(
            (set.role.as_str(), set.guarantee, set.limit, set.force),
            ("ads", Some(expected), Some(Amounts::new()), true)
        );
        assert!(parse::<QuotaArgs>(&["get"]).is_ok());
        assert!(parse::<QuotaArgs>(&["remove", "ads", "-o", "json"]).is_ok());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for args in [
            &["set", "ads"][..],
            &["set", "ads", "--limit", "cpus"],
            &["set", "ads", "--limit", "cpus:-1"],
            &["set", "ads", "--limit", "ports:[1-2]"],
            &["set", "ads", "--limit", "cpus(eng):1"],
            &["remove"],
            &["drop", "ads"],
            &[],
        ] {
            assert!(parse::<QuotaArgs>(args).is_err(), "{args:?}");
        }
        for args in
            [&["set"][..], &["set", "ads"], &["set", "ads=0"], &["set", "ads=NaN"], &["set", "=1"], &["set", "a=-1"]]
        {
            assert!(parse::<WeightsArgs>(args).is_err(), "{args:?}");
        }
        assert!(parse::<PlacementArgs>(&["ads", "tight"]).is_err());
        assert!(parse::<PriorityArgs>(&["f", "high"]).is_err());
        assert_eq!(parse::<PriorityArgs>(&["f", "-3"]).unwrap().priority, -3);
    }

    #[test]
    fn a_role_shows_its_share_in_percent() {
        let view = RoleView {
            role: "ads".into(),
            weight: 2.5,
            share: 0.1234,
            limit: [("mem".to_owned(), 1024.0), ("cpus".to_owned(), 4.0)].into(),
            ..RoleView::default()
        };
        let cells = RoleLine::new(view).cells();
        assert_eq!(cells[..4], ["ads", "2.5", "-", "cpus:4 mem:1024"]);
        assert_eq!((cells[7].as_str(), cells.len()), ("12.3", RoleLine::COLUMNS.len()));
    }
}
