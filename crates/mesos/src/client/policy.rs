//! `policy`, `needs`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use mesos_proto::services::v1::{GetNeedsRequest, GetPolicyRequest, NeedView, PolicyView, SetPolicyRequest};
use serde::Serialize;

use super::{
    ClientArgs, Failure, Master, amounts,
    output::{self, Format, Line, OutputArgs},
    request::call_id,
};

/// Options of `policy`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    what: Policy,
}

#[derive(Clone, Debug, Subcommand)]
enum Policy {
    /// Show the policy in force and the modules that are loaded
    Get(PolicyGetArgs),
    /// Choose a policy: drf, fifo, drc, random or a module that is loaded
    Set(PolicySetArgs),
    /// Load a WebAssembly module that is a policy
    Load(PolicyLoadArgs),
}

#[derive(Args, Clone, Debug)]
struct PolicyGetArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
struct PolicySetArgs {
    /// drf, fifo, drc, random or the name of a module
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
struct PolicyLoadArgs {
    /// The module
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its name from now on [default: the file's without .wasm]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Put it in force too
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl PolicyArgs {
    /// Which master is asked.
    pub(crate) fn client(&self) -> ClientArgs {
        match &self.what {
            Policy::Get(args) => args.client.clone(),
            Policy::Set(args) => args.client.clone(),
            Policy::Load(args) => args.client.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    policy: String,
    modules: Vec<String>,
    trouble: Option<String>,
}

impl Shown {
    fn new(view: PolicyView) -> Shown {
        Shown { policy: view.policy, modules: view.modules, trouble: view.trouble }
    }

    fn text(&self) -> String {
        let mut text = format!("policy   {}\n", self.policy);
        let modules = if self.modules.is_empty() { "none".to_owned() } else { self.modules.join(", ") };
        text.push_str(&format!("modules  {modules}\n"));
        if let Some(trouble) = &self.trouble {
            text.push_str(&format!("trouble  {trouble}\n"));
        }
        text
    }
}

/// `mesos policy`.
pub(crate) async fn policy(args: PolicyArgs, master: Master) -> Result<ExitCode, Failure> {
    let mut client = master.allocation();
    let (view, output) = match args.what {
        Policy::Get(args) => (client.get_policy(GetPolicyRequest {}).await?, args.output),
        Policy::Set(args) => {
            let request = SetPolicyRequest { policy: args.name, call_id: call_id(), ..SetPolicyRequest::default() };
            (client.set_policy(request).await?, args.output)
        }
        Policy::Load(args) => {
            let module = std::fs::read(&args.file)
                .map_err(|error| Failure::Wrong(format!("{} cannot be read: {error}", args.file.display())))?;
            let request = SetPolicyRequest {
                policy: module_name(&args)?,
                module: Some(module.into()),
                load_only: !args.activate,
                call_id: call_id(),
            };
            (client.set_policy(request).await?, args.output)
        }
    };
    let shown = Shown::new(view.into_inner());
    match output.output {
        Format::Json => output::write(&output::json(&shown)),
        Format::Quiet => output::write(&format!("{}\n", shown.policy)),
        Format::Table | Format::Wide => output::write(&shown.text()),
    }
    Ok(ExitCode::SUCCESS)
}

fn module_name(args: &PolicyLoadArgs) -> Result<String, Failure> {
    let of_file = || args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    args.name.clone().or_else(of_file).ok_or_else(|| Failure::Wrong("the module needs a name: --name NAME".to_owned()))
}

/// Options of `needs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct NeedsArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Serialize)]
struct NeedLine {
    name: String,
    framework_id: String,
    role: String,
    resources: String,
    count: u32,
    gathered: u32,
    held_on: Vec<String>,
    left_seconds: f64,
    waits_for: String,
}

impl NeedLine {
    fn new(view: NeedView, now_ms: u64) -> NeedLine {
        NeedLine {
            name: view.name,
            framework_id: view.framework_id.map(|id| id.value).unwrap_or_default(),
            role: view.role,
            resources: amounts::resources(&view.resources),
            count: view.count,
            gathered: view.gathered,
            held_on: view.held.into_iter().filter_map(|held| Some(held.agent_id?.value)).collect(),
            left_seconds: view.deadline_ms.saturating_sub(now_ms) as f64 / 1000.0,
            waits_for: view.waits_for,
        }
    }
}

impl Line for NeedLine {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "ROLE", "EACH", "GATHERED", "LEFT", "WAITS FOR", "FRAMEWORK", "HELD ON"];
    const NARROW: usize = 6;

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.role.clone(),
            self.resources.clone(),
            format!("{}/{}", self.gathered, self.count),
            format!("{:.0}s", self.left_seconds),
            self.waits_for.clone(),
            self.framework_id.clone(),
            self.held_on.join(","),
        ]
    }

    fn id(&self) -> &str {
        &self.name
    }
}

/// `mesos needs`.
pub(crate) async fn needs(args: NeedsArgs, master: Master) -> Result<ExitCode, Failure> {
    let needs = master.allocation().get_needs(GetNeedsRequest {}).await?.into_inner().needs;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let lines: Vec<NeedLine> = needs.into_iter().map(|need| NeedLine::new(need, now_ms)).collect();
    output::print(args.output.output, &lines);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parse, *};

    fn load(args: &[&str]) -> PolicyLoadArgs {
        parse(args).unwrap()
    }

    #[test]
    fn a_module_is_named_by_its_file_unless_somebody_says_otherwise() {
        assert_eq!(module_name(&load(&["/a/mine.wasm"])).unwrap(), "mine");
        assert_eq!(module_name(&load(&["/a/mine.wasm", "--name", "other", "--activate"])).unwrap(), "other");
    }

    #[test]
    fn trouble_with_a_policy_is_shown() {
        let view = PolicyView { policy: "drf".into(), modules: Vec::new(), trouble: Some("it trapped".into()) };
        assert_eq!(Shown::new(view).text(), "policy   drf\nmodules  none\ntrouble  it trapped\n");
    }
}
