//! What an operator can set about frameworks and their tasks.

use std::time::Duration;

use clap::Args;
use mesos_core::registry;
use mesos_runtime::config::parse_duration;

/// Options of the registry.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Options {
    /// How many removed frameworks are kept to be shown
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub max_completed_frameworks: usize,

    /// How long the stream of a framework may take to come back that was lost with its gateway, before its
    /// failover timeout starts
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub stream_grace: Duration,

    /// A gateway that is silent for so long is taken for lost
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = parse_duration)]
    pub gateway_timeout: Duration,

    /// How long an acknowledgement is waited for before a status is sent again; doubles with each repeat
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub status_update_retry_interval_min: Duration,

    /// How long an acknowledgement is waited for at most
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub status_update_retry_interval_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let machine = registry::Options::default();
        Options {
            max_completed_frameworks: machine.max_completed_frameworks,
            stream_grace: machine.stream_grace,
            gateway_timeout: machine.gateway_silence,
            status_update_retry_interval_min: machine.retry_min,
            status_update_retry_interval_max: machine.retry_max,
        }
    }
}

impl Options {
    /// As the machine takes them.
    #[must_use]
    pub fn machine(&self) -> registry::Options {
        registry::Options {
            max_completed_frameworks: self.max_completed_frameworks,
            stream_grace: self.stream_grace,
            gateway_silence: self.gateway_timeout,
            retry_min: self.status_update_retry_interval_min,
            retry_max: self.status_update_retry_interval_max.max(self.status_update_retry_interval_min),
            ..registry::Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    #[test]
    fn what_nobody_sets_is_as_the_machine_has_it() {
        let matches = Options::augment_args(Command::new("x")).try_get_matches_from(["x"]).unwrap();
        let (parsed, machine) = (Options::from_arg_matches(&matches).unwrap().machine(), registry::Options::default());
        assert_eq!(format!("{parsed:?}"), format!("{machine:?}"));
        assert_eq!(format!("{:?}", Options::default().machine()), format!("{machine:?}"));
    }
}
