//! Tasks and resources with few words.

use mesos_proto::v1::{self, TaskState, offer, value};

/// A scalar resource that belongs to everybody.
#[must_use]
pub fn scalar(name: &str, amount: f64) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: amount }),
        ..v1::Resource::default()
    }
}

/// CPUs; fractions are shares of one.
#[must_use]
pub fn cpus(amount: f64) -> v1::Resource {
    scalar("cpus", amount)
}

/// Memory in MB.
#[must_use]
pub fn mem(megabytes: f64) -> v1::Resource {
    scalar("mem", megabytes)
}

/// Disk in MB.
#[must_use]
pub fn disk(megabytes: f64) -> v1::Resource {
    scalar("disk", megabytes)
}

/// Whole GPUs.
#[must_use]
pub fn gpus(count: u32) -> v1::Resource {
    scalar("gpus", f64::from(count))
}

/// Ports, both ends included.
#[must_use]
pub fn ports(ranges: impl IntoIterator<Item = (u64, u64)>) -> v1::Resource {
    let range = ranges.into_iter().map(|(begin, end)| value::Range { begin, end }).collect();
    v1::Resource {
        name: "ports".to_owned(),
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges { range }),
        ..v1::Resource::default()
    }
}

/// How much of a scalar an offer has, whoever it is reserved for.
#[must_use]
pub fn amount(offer: &v1::Offer, name: &str) -> f64 {
    let of = |resource: &v1::Resource| resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
    offer.resources.iter().filter(|resource| resource.name == name).map(of).sum()
}

/// Whether an offer has as much as is wanted. Amounts count in thousandths, as the master's do.
#[must_use]
pub fn fits(offer: &v1::Offer, wanted: &[v1::Resource]) -> bool {
    wanted.iter().all(|want| match (&want.scalar, &want.ranges) {
        (Some(scalar), _) => (amount(offer, &want.name) * 1000.0).round() >= (scalar.value * 1000.0).round(),
        (None, Some(ranges)) => ranges.range.iter().all(|range| has_range(offer, &want.name, range)),
        (None, None) => false,
    })
}

fn has_range(offer: &v1::Offer, name: &str, wanted: &value::Range) -> bool {
    let named = offer.resources.iter().filter(|resource| resource.name == name);
    named
        .filter_map(|resource| resource.ranges.as_ref())
        .flat_map(|ranges| &ranges.range)
        .any(|range| range.begin <= wanted.begin && wanted.end <= range.end)
}

/// A command that runs in a shell.
#[must_use]
pub fn shell(command: &str) -> v1::CommandInfo {
    v1::CommandInfo { shell: Some(true), value: Some(command.to_owned()), ..v1::CommandInfo::default() }
}

/// A program with its arguments, without a shell; the first argument is its name.
#[must_use]
pub fn program(path: &str, arguments: impl IntoIterator<Item = String>) -> v1::CommandInfo {
    v1::CommandInfo {
        shell: Some(false),
        value: Some(path.to_owned()),
        arguments: arguments.into_iter().collect(),
        ..v1::CommandInfo::default()
    }
}

/// A task on an offer's agent that runs a shell command. Its name is its id.
#[must_use]
pub fn command_task(id: &str, offer: &v1::Offer, command: &str, resources: Vec<v1::Resource>) -> v1::TaskInfo {
    v1::TaskInfo {
        name: id.to_owned(),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: offer.agent_id.clone(),
        resources,
        command: Some(shell(command)),
        ..v1::TaskInfo::default()
    }
}

/// The operation that launches tasks.
#[must_use]
pub fn launch(tasks: Vec<v1::TaskInfo>) -> offer::Operation {
    offer::Operation {
        r#type: Some(offer::operation::Type::Launch.into()),
        launch: Some(offer::operation::Launch { task_infos: tasks }),
        ..offer::Operation::default()
    }
}

/// Whether nothing more will come of a task in this state. UNREACHABLE is no end: the task may come back.
#[must_use]
pub fn is_terminal(state: TaskState) -> bool {
    matches!(
        state,
        TaskState::TaskFinished
            | TaskState::TaskFailed
            | TaskState::TaskKilled
            | TaskState::TaskError
            | TaskState::TaskLost
            | TaskState::TaskDropped
            | TaskState::TaskGone
            | TaskState::TaskGoneByOperator
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_fits_if_it_has_all_that_is_wanted() {
        let offer = v1::Offer {
            resources: vec![cpus(0.1), cpus(0.2), mem(64.0), ports([(10, 20), (30, 40)])],
            ..v1::Offer::default()
        };
        for (wanted, expected) in [
            (vec![cpus(0.3)], true),
            (vec![cpus(0.301)], false),
            (vec![cpus(0.3), mem(65.0)], false),
            (vec![ports([(12, 14), (40, 40)])], true),
            (vec![ports([(20, 21)])], false),
            (vec![gpus(1)], false),
            (vec![], true),
        ] {
            assert_eq!(fits(&offer, &wanted), expected, "{wanted:?}");
        }
    }
}
