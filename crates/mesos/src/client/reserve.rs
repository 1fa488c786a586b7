//! `reserve`, `unreserve`, `volume`: what an operator changes of an agent's resources.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use mesos_model::resources_text;
use mesos_proto::v1::{
    self,
    master::{Call, call, response::get_agents::Agent},
    resource::{DiskInfo, ReservationInfo, disk_info, reservation_info},
};
use serde::Serialize;

use super::{
    ClientArgs, Failure, Master, amounts, find,
    output::{self, OutputArgs},
    request::{parse_mb, parse_pair, wire},
};

/// Whose something is.
#[derive(Args, Clone, Debug)]
struct Owner {
    /// For which role
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Who reserves it
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// A label of the reservation
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
}

impl Owner {
    fn reservation(&self) -> ReservationInfo {
        let labels = self.label.iter().map(|(key, value)| v1::Label { key: key.clone(), value: Some(value.clone()) });
        ReservationInfo {
            r#type: Some(reservation_info::Type::Dynamic.into()),
            role: Some(self.role.clone()),
            principal: self.principal.clone(),
            labels: (!self.label.is_empty()).then(|| v1::Labels { labels: labels.collect() }),
        }
    }
}

/// Options of `reserve` and `unreserve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReserveArgs {
    /// Which agent: id or hostname
    #[arg(long, value_name = "AGENT")]
    agent: String,
    #[command(flatten)]
    owner: Owner,
    /// What, for example cpus:2;mem:4GB;disk:100GB
    #[arg(value_name = "RESOURCES", value_parser = plain)]
    resources: String,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

fn plain(text: &str) -> Result<String, String> {
    let parsed = resources_text::parse(text, "*")?;
    if parsed.is_empty() {
        return Err("names no resource; expected for example cpus:1;mem:1GB".to_owned());
    }
    match parsed.iter().find(|one| one.qualifier.is_some()) {
        Some(one) => Err(format!("{} names a role itself; --role says for whom all of it is", one.name)),
        None => Ok(text.to_owned()),
    }
}

impl ReserveArgs {
    fn reserved(&self) -> Result<Vec<v1::Resource>, Failure> {
        let parsed = resources_text::parse(&self.resources, "*").map_err(Failure::Wrong)?;
        let reserved = |one| v1::Resource { reservations: vec![self.owner.reservation()], ..wire(one) };
        Ok(parsed.iter().map(reserved).collect())
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    operation: &'static str,
    agent_id: String,
    resources: String,
}

async fn convert(
    master: &Master,
    output: OutputArgs,
    agent: v1::AgentId,
    resources: &[v1::Resource],
    call: Call,
) -> Result<ExitCode, Failure> {
    let operation = call.r#type().as_str_name();
    master.call(call).await?;
    let done = Done { operation, agent_id: agent.value, resources: amounts::resources(resources) };
    output::print_change(output.output, &done, &format!("{} on {}", done.resources, done.agent_id));
    Ok(ExitCode::SUCCESS)
}

/// `mesos reserve`.
pub(crate) async fn reserve(args: ReserveArgs, master: Master) -> Result<ExitCode, Failure> {
    let agent_id = find::agent_id(&find::agent(&master, &args.agent).await?);
    let resources = args.reserved()?;
    let ask = call::ReserveResources { agent_id: agent_id.clone(), resources: resources.clone(), source: Vec::new() };
    let call =
        Call { r#type: Some(call::Type::ReserveResources.into()), reserve_resources: Some(ask), ..Call::default() };
    convert(&master, args.output, agent_id, &resources, call).await
}

/// `mesos unreserve`.
pub(crate) async fn unreserve(args: ReserveArgs, master: Master) -> Result<ExitCode, Failure> {
    let agent_id = find::agent_id(&find::agent(&master, &args.agent).await?);
    let resources = args.reserved()?;
    let ask = call::UnreserveResources { agent_id: agent_id.clone(), resources: resources.clone() };
    let call =
        Call { r#type: Some(call::Type::UnreserveResources.into()), unreserve_resources: Some(ask), ..Call::default() };
    convert(&master, args.output, agent_id, &resources, call).await
}

/// Options of `volume`.
#[derive(Args, Clone, Debug)]
pub(crate) struct VolumeArgs {
    #[command(subcommand)]
    what: Volume,
}

#[derive(Clone, Debug, Subcommand)]
enum Volume {
    /// Make a persistent volume of disk that is reserved for a role
    Create(CreateArgs),
    /// Remove a persistent volume and what is in it
    Destroy(DestroyArgs),
    /// Make a persistent volume larger
    Grow(ResizeArgs),
    /// Make a persistent volume smaller
    Shrink(ResizeArgs),
}

#[derive(Args, Clone, Debug)]
struct CreateArgs {
    /// Its id, unique among those of the role on the agent
    #[arg(value_name = "ID")]
    id: String,
    /// Which agent: id or hostname
    #[arg(long, value_name = "AGENT")]
    agent: String,
    #[command(flatten)]
    owner: Owner,
    /// How large, for example 10GB
    #[arg(long, value_name = "SIZE", value_parser = parse_mb)]
    size: f64,
    /// Where a task finds it, in its sandbox [default: the id]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
struct DestroyArgs {
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
    /// Which agent: id or hostname
    #[arg(long, value_name = "AGENT")]
    agent: String,
    /// For which role, if volumes of several roles have this id
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
struct ResizeArgs {
    /// By how much, for example 10GB
    #[arg(long, value_name = "SIZE", value_parser = parse_mb)]
    by: f64,
    #[command(flatten)]
    volume: DestroyArgs,
}

impl VolumeArgs {
    /// Which master is asked.
    pub(crate) fn client(&self) -> ClientArgs {
        match &self.what {
            Volume::Create(args) => args.client.clone(),
            Volume::Destroy(args) => args.client.clone(),
            Volume::Grow(args) | Volume::Shrink(args) => args.volume.client.clone(),
        }
    }
}

fn disk(size: f64, reservations: Vec<ReservationInfo>, info: Option<DiskInfo>) -> v1::Resource {
    v1::Resource {
        name: "disk".to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value: size }),
        reservations,
        disk: info,
        ..v1::Resource::default()
    }
}

impl CreateArgs {
    fn volume(&self) -> v1::Resource {
        let info = DiskInfo {
            persistence: Some(disk_info::Persistence { id: self.id.clone(), principal: self.owner.principal.clone() }),
            volume: Some(v1::Volume {
                mode: v1::volume::Mode::Rw.into(),
                container_path: self.path.clone().unwrap_or_else(|| self.id.clone()),
                ..v1::Volume::default()
            }),
            source: None,
        };
        disk(self.size, vec![self.owner.reservation()], Some(info))
    }
}

impl DestroyArgs {
    /// The volume, as its agent has it: it must be named with everything that belongs to it.
    fn on(&self, agent: &Agent) -> Result<v1::Resource, Failure> {
        let is_meant = |resource: &&v1::Resource| {
            let persistence = resource.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
            let role = resource.reservations.last().and_then(|reservation| reservation.role.as_deref());
            persistence.is_some_and(|persistence| persistence.id == self.id)
                && self.role.as_deref().is_none_or(|wanted| role == Some(wanted))
        };
        let found: Vec<&v1::Resource> = agent.total_resources.iter().filter(is_meant).collect();
        match found[..] {
            [only] => Ok(only.clone()),
            [] => Err(Failure::Wrong(format!("agent {} has no volume {}", self.agent, self.id))),
            _ => Err(Failure::Wrong(format!(
                "volumes of {} roles are called {}; say which with --role",
                found.len(),
                self.id
            ))),
        }
    }
}

/// `mesos volume`.
pub(crate) async fn volume(args: VolumeArgs, master: Master) -> Result<ExitCode, Failure> {
    match args.what {
        Volume::Create(args) => {
            let agent_id = find::agent_id(&find::agent(&master, &args.agent).await?);
            let volumes = vec![args.volume()];
            let ask = call::CreateVolumes { agent_id: agent_id.clone(), volumes: volumes.clone() };
            let call =
                Call { r#type: Some(call::Type::CreateVolumes.into()), create_volumes: Some(ask), ..Call::default() };
            convert(&master, args.output, agent_id, &volumes, call).await
        }
        Volume::Destroy(args) => {
            let agent = find::agent(&master, &args.agent).await?;
            let (agent_id, volumes) = (find::agent_id(&agent), vec![args.on(&agent)?]);
            let ask = call::DestroyVolumes { agent_id: agent_id.clone(), volumes: volumes.clone() };
            let call =
                Call { r#type: Some(call::Type::DestroyVolumes.into()), destroy_volumes: Some(ask), ..Call::default() };
            convert(&master, args.output, agent_id, &volumes, call).await
        }
        Volume::Grow(args) => {
            let agent = find::agent(&master, &args.volume.agent).await?;
            let (agent_id, volume) = (find::agent_id(&agent), args.volume.on(&agent)?);
            let addition = disk(args.by, volume.reservations.clone(), None);
            let changed = [addition.clone()];
            let ask = call::GrowVolume { agent_id: Some(agent_id.clone()), volume, addition };
            let call = Call { r#type: Some(call::Type::GrowVolume.into()), grow_volume: Some(ask), ..Call::default() };
            convert(&master, args.volume.output, agent_id, &changed, call).await
        }
        Volume::Shrink(args) => {
            let agent = find::agent(&master, &args.volume.agent).await?;
            let (agent_id, volume) = (find::agent_id(&agent), args.volume.on(&agent)?);
            let changed = [disk(args.by, volume.reservations.clone(), None)];
            let subtract = v1::value::Scalar { value: args.by };
            let ask = call::ShrinkVolume { agent_id: Some(agent_id.clone()), volume, subtract };
            let call =
                Call { r#type: Some(call::Type::ShrinkVolume.into()), shrink_volume: Some(ask), ..Call::default() };
            convert(&master, args.volume.output, agent_id, &changed, call).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    #[test]
    fn a_reservation_names_role_principal_and_labels() {
        let args: ReserveArgs =
            parse(&["--agent", "a", "--role", "ads", "--principal", "ops", "--label", "k=v", "cpus:2;disk:1GB"])
                .unwrap();
        let reserved = args.reserved().unwrap();
        assert_eq!(amounts::resources(&reserved), "cpus(ads):2; disk(ads):1024");
        let reservation = &reserved[0].reservations[0];
        assert_eq!(reservation.principal.as_deref(), Some("ops"));
        assert_eq!(reservation.labels.as_ref().unwrap().labels[0].key, "k");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for args in [
            &["--agent", "a", "cpus:2"][..],
            &["--role", "ads", "cpus:2"],
            &["--agent", "a", "--role", "ads"],
            &["--agent", "a", "--role", "ads", "gold"],
            &["--agent", "a", "--role", "ads", "cpus(eng):2"],
            &["--agent", "a", "--role", "ads", "--label", "k", "cpus:2"],
        ] {
            assert!(parse::<ReserveArgs>(args).is_err(), "{args:?}");
        }
        for args in [
            &["create", "v", "--agent", "a", "--role", "ads"][..],
            &["create", "v", "--agent", "a", "--role", "ads", "--size", "0"],
            &["grow", "v", "--agent", "a"],
            &["shrink", "v", "--by", "1GB"],
        ] {
            assert!(parse::<VolumeArgs>(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn a_volume_is_found_on_its_agent_by_its_id() {
        let volume = |role: &str| {
            let args = ["create", "v", "--agent", "a", "--role", role, "--size", "1GB"];
            let Volume::Create(args) = parse::<VolumeArgs>(&args).unwrap().what else { unreachable!() };
            args.volume()
        };
        assert_eq!(volume("ads").disk.unwrap().volume.unwrap().container_path, "v");
        let mut agent = Agent { total_resources: vec![disk(5.0, Vec::new(), None), volume("ads")], ..Agent::default() };
        let meant = |args: &[&str]| parse::<DestroyArgs>(args).unwrap();
        assert_eq!(meant(&["v", "--agent", "a"]).on(&agent).unwrap(), volume("ads"));
        assert!(meant(&["w", "--agent", "a"]).on(&agent).is_err());
        agent.total_resources.push(volume("eng"));
        assert!(meant(&["v", "--agent", "a"]).on(&agent).unwrap_err().to_string().contains("--role"));
        assert_eq!(meant(&["v", "--agent", "a", "--role", "eng"]).on(&agent).unwrap(), volume("eng"));
    }
}
