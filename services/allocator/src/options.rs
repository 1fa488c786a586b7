//! What an operator can set about allocation.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use mesos_core::{allocation, message::Placement};
use mesos_model::{Resources, Role, resources_text};
use mesos_runtime::config::parse_duration;

use crate::record::Recorder;

/// Options of the allocator.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// An agent that is silent for so long is unreachable
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub agent_timeout: Duration,

    /// How many of the agents, in percent, may become unreachable in one minute (at least one may)
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub unreachable_limit: u32,

    /// A framework that sits on an offer for so long loses it; 0 is for ever
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub offer_timeout: Duration,

    /// How long a refused offer is not made again if the framework does not say
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub refuse_timeout: Duration,

    /// What an offer must contain at least: one of several, with | between
    #[arg(long, value_name = "RESOURCES", default_value = "cpus:0.01|mem:32", value_parser = parse_alternatives)]
    pub min_allocatable_resources: Alternatives,

    /// Weights of roles, for example web=2,batch=0.5; a role without one has 1
    #[arg(long, value_name = "ROLE=WEIGHT,…", value_parser = parse_weights)]
    pub weights: Option<Weights>,

    /// Whose turn it is: drf, fifo, drc, random, or the name of a module that was loaded
    #[arg(long, value_name = "POLICY", default_value = "drf")]
    pub policy: String,

    /// Which agents are offered first: spread (the emptiest), binpack (the fullest) or random
    #[arg(long, value_name = "PLACEMENT", default_value = "spread")]
    pub placement: Placement,

    /// Resources that do not count for shares, for example gpus
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub fair_sharing_excluded_resource_names: Vec<String>,

    /// Agents with GPUs are only offered to frameworks with the capability GPU_RESOURCES
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub filter_gpu_resources: bool,

    /// A request that room is gathered for takes it from work of lower priority in its own role
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub preemption: bool,

    /// The region of this cluster's control plane: agents elsewhere are only offered to frameworks that are region-aware
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// Record all that the allocator is told in this file, for `mesos replay`; a recording that is there is continued
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Recording stops when the file is as large, for example 512MB or 4GB (a bare number is megabytes)
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = parse_bytes)]
    pub record_limit: u64,
}

/// Gateways confirm offers within a quarter of a second.
const OFFER_DELIVERY: Duration = Duration::from_secs(3);
/// What `--record-limit` is if nobody says.
const RECORD_LIMIT: u64 = 1 << 30;

impl Default for Options {
    fn default() -> Self {
        let machine = allocation::Options::default();
        Options {
            agent_timeout: machine.agent_timeout,
            unreachable_limit: machine.unreachable_per_minute_percent,
            offer_timeout: machine.offer_timeout.unwrap_or_default(),
            refuse_timeout: machine.refuse_default,
            min_allocatable_resources: Alternatives(machine.min_allocatable),
            weights: None,
            policy: machine.policy.to_string(),
            placement: machine.placement,
            fair_sharing_excluded_resource_names: Vec::new(),
            filter_gpu_resources: machine.filter_gpus,
            preemption: machine.preemption,
            region: None,
            record: None,
            record_limit: RECORD_LIMIT,
        }
    }
}

impl Options {
    /// Opens the recording that is asked for, if one is.
    ///
    /// # Errors
    /// Says what is wrong with the file, in one line.
    pub fn recorder(&self) -> Result<Option<Recorder>, String> {
        let open = |path: &PathBuf| {
            Recorder::open(path, self.record_limit).map_err(|error| format!("--record {}: {error}", path.display()))
        };
        self.record.as_ref().map(open).transpose()
    }

    /// As the machine takes them. `seed` decides between agents that are equally good.
    #[must_use]
    pub fn machine(&self, seed: u64) -> allocation::Options {
        allocation::Options {
            agent_timeout: self.agent_timeout,
            unreachable_per_minute_percent: self.unreachable_limit,
            offer_timeout: (!self.offer_timeout.is_zero()).then_some(self.offer_timeout),
            offer_delivery: Some(OFFER_DELIVERY),
            refuse_default: self.refuse_timeout,
            min_allocatable: self.min_allocatable_resources.0.clone(),
            weights: self.weights.clone().unwrap_or_default().0,
            policy: self.policy.as_str().into(),
            placement: self.placement,
            unfair: self.fair_sharing_excluded_resource_names.clone(),
            filter_gpus: self.filter_gpu_resources,
            preemption: self.preemption,
            loader: loader(),
            region: self.region.clone(),
            seed,
        }
    }
}

/// Makes policies of WebAssembly modules.
#[must_use]
pub fn loader() -> allocation::ModuleLoader {
    allocation::ModuleLoader(Arc::new(mesos_policy_wasm::WasmLoader::default()))
}

/// Resources of which one is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alternatives(pub Vec<Resources>);

/// Weights of roles, in thousandths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(pub BTreeMap<Role, u64>);

fn parse_bytes(text: &str) -> Result<u64, String> {
    let milli_megabytes = resources_text::parse_megabytes(text).and_then(|milli| u64::try_from(milli).ok());
    milli_megabytes
        .and_then(|milli| milli.checked_mul(1 << 20))
        .map(|bytes| bytes / 1000)
        .ok_or_else(|| "expected an amount such as 512MB or 4GB (a bare number is megabytes)".to_owned())
}

fn parse_alternatives(text: &str) -> Result<Alternatives, String> {
    let parts = text.split('|').filter(|part| !part.trim().is_empty());
    parts.map(|part| resources_text::parse(part, "*")).collect::<Result<_, _>>().map(Alternatives)
}

fn parse_weights(text: &str) -> Result<Weights, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(parse_weight).collect::<Result<_, _>>().map(Weights)
}

fn parse_weight(part: &str) -> Result<(Role, u64), String> {
    let expected = || format!("'{part}' is no weight; expected ROLE=WEIGHT with a weight above 0, for example web=2");
    let (role, weight) = part.split_once('=').ok_or_else(expected)?;
    let milli = resources_text::parse_milli(weight.trim()).and_then(|milli| u64::try_from(milli).ok());
    let milli = milli.filter(|milli| *milli > 0 && !role.trim().is_empty()).ok_or_else(expected)?;
    Ok((Role::new(role.trim()), milli))
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        let command = Options::augment_args(Command::new("x"));
        let matches = command.try_get_matches_from(std::iter::once("x").chain(args.iter().copied()))?;
        Options::from_arg_matches(&matches)
    }

    #[test]
    fn what_nobody_sets_is_as_the_machine_has_it() {
        let machine = allocation::Options::default();
        // The machine by itself runs no modules, and waits for no gateway.
        let bare = |options: allocation::Options| {
            assert_eq!(options.offer_delivery, Some(OFFER_DELIVERY));
            let loader = allocation::ModuleLoader::default();
            format!("{:?}", allocation::Options { loader, offer_delivery: None, ..options })
        };
        assert_eq!(bare(parse(&[]).unwrap().machine(0)), format!("{machine:?}"));
        assert_eq!(bare(Options::default().machine(0)), format!("{machine:?}"));
    }

    #[test]
    fn weights_are_kept_in_thousandths() {
        let options = parse(&["--weights", "web=2, batch=0.5"]).unwrap().machine(0);
        let weights: Vec<(String, u64)> = options.weights.into_iter().map(|(role, w)| (role.to_string(), w)).collect();
        assert_eq!(weights, [("batch".to_owned(), 500), ("web".to_owned(), 2000)]);
    }

    #[test]
    fn no_offer_timeout_is_for_ever() {
        assert_eq!(parse(&["--offer-timeout", "0"]).unwrap().machine(0).offer_timeout, None);
    }

    #[test]
    fn a_recording_ends_at_a_gigabyte_if_nobody_says() {
        assert_eq!(parse(&[]).unwrap().record_limit, RECORD_LIMIT);
        assert_eq!(parse(&["--record-limit", "2MB"]).unwrap().record_limit, 2 << 20);
        assert_eq!(Options::default().record_limit, RECORD_LIMIT);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for args in [
            ["--weights", "web"],
            ["--weights", "web=0"],
            ["--weights", "web=-1"],
            ["--weights", "=1"],
            ["--agent-timeout", "soon"],
            ["--unreachable-limit", "0"],
            ["--min-allocatable-resources", "cpus"],
            ["--record-limit", "much"],
        ] {
            assert!(parse(&args).is_err(), "{args:?}");
        }
    }
}
