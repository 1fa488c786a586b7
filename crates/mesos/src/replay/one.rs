//! One entry of a recording: what the allocator was told, what it did, and why.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use mesos_allocator::record::Reader;
use mesos_core::{
    allocation::{Allocator, Options, Output},
    message::{Explanation, Query, StreamEvent},
    recording::{Came, Divergence, Input, Part, parts, relive},
    row::RowChange,
};
use mesos_model::{FrameworkId, Role, Time};
use serde::Serialize;

use super::{difference, time_text, words};
use crate::client::output::{self, Format};

/// How many entries of the same batch are shown before the one that was asked for.
const BATCH_SHOWN: usize = 10;

/// A machine that stands right before an entry.
struct Before {
    machine: Allocator,
    at: Time,
    input: Input,
    came: Came,
    /// The entries since the last settling: their numbers and what they were.
    batch: Vec<(u64, String)>,
}

/// Lives a recording again up to an entry, without it.
fn before(path: &Path, wanted: u64) -> Result<Before, String> {
    let mut reader = Reader::open(path).map_err(|error| error.to_string())?;
    let mut machine = Allocator::new(Options::default());
    let (mut batch, mut last) = (Vec::new(), 0);
    for part in parts(reader.by_ref()) {
        match part {
            Part::Begin(begin) => {
                machine = Allocator::new(Options { loader: mesos_allocator::options::loader(), ..begin.options });
                batch.clear();
            }
            Part::Call { number, at, input, came } => {
                if number == wanted {
                    return Ok(Before { machine, at, input, came, batch });
                }
                match input {
                    Input::Settle => batch.clear(),
                    _ if wanted - number <= BATCH_SHOWN as u64 => batch.push((number, words::input(&input))),
                    _ => {}
                }
                relive(&mut machine, number, at, input, came);
                last = number;
            }
            Part::End { .. } => {}
        }
    }
    Err(format!("there is no entry {wanted}: the last one that can be read is {last}"))
}

#[derive(Serialize)]
struct Shown<'a> {
    entry: u64,
    time_ms: u64,
    time: String,
    input: &'a Input,
    input_text: String,
    /// What else there was in the batch before it.
    batch: &'a [(u64, String)],
    changes: &'a [RowChange],
    outputs: &'a [Output],
    effects_text: Vec<String>,
    why: &'a [Explanation],
    divergence: Option<Divergence>,
}

/// Prints an entry; says whether the same came of it as was recorded.
pub(super) fn show(path: &Path, number: u64, format: Format, mut write: impl FnMut(&str)) -> Result<bool, String> {
    let Before { mut machine, at, input, came, batch } = before(path, number)?;
    let kept = input.clone();
    let lived = relive(&mut machine, number, at, input, came);
    let queries = queries(&lived.effects);
    let mut explained = Vec::new();
    if !queries.is_empty() {
        // Whose turn it was is seen in the machine that has not decided yet.
        let undecided = before(path, number)?.machine;
        explained.extend(queries.iter().filter_map(|query| why(&undecided, at, query)));
    }
    let shown = Shown {
        entry: number,
        time_ms: at.0,
        time: time_text(at),
        input: &kept,
        input_text: words::input(&kept),
        batch: &batch,
        changes: &lived.effects.changes,
        outputs: &lived.effects.outputs,
        effects_text: words::effects(&lived.effects),
        why: &explained,
        divergence: lived.divergence,
    };
    match format {
        Format::Json => write(&output::json(&shown)),
        Format::Quiet => write(&shown.effects_text.iter().map(|line| format!("{line}\n")).collect::<String>()),
        Format::Table | Format::Wide => write(&text(&shown, path)),
    }
    Ok(shown.divergence.is_none())
}

/// To whom offers were made, each once.
fn queries(effects: &words::Effects) -> Vec<Query> {
    let offered = effects.outputs.iter().filter_map(|output| match output {
        Output::Stream { event, .. } => match &event.event {
            StreamEvent::Offers(offers) => Some(offers.iter().map(|offer| (&event.framework, &offer.role))),
            _ => None,
        },
        _ => None,
    });
    let clients: BTreeSet<(&FrameworkId, &Role)> = offered.flatten().collect();
    clients
        .into_iter()
        .map(|(framework, role)| Query {
            framework: Some(framework.clone()),
            role: Some(role.clone()),
            ..Query::default()
        })
        .collect()
}

fn why(machine: &Allocator, now: Time, query: &Query) -> Option<Explanation> {
    machine.explain(now, query).ok()
}

fn text(shown: &Shown<'_>, path: &Path) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "entry {} at {}", shown.entry, shown.time);
    if !shown.batch.is_empty() {
        let _ = writeln!(text, "before it in its batch");
    }
    for (number, input) in shown.batch {
        let _ = writeln!(text, "  {number}: {input}");
    }
    let _ = writeln!(text, "told\n  {}", shown.input_text);
    let _ = writeln!(text, "did");
    if shown.effects_text.is_empty() {
        let _ = writeln!(text, "  nothing");
    }
    for line in &shown.effects_text {
        let _ = writeln!(text, "  {line}");
    }
    if !shown.why.is_empty() {
        let _ = writeln!(text, "why");
    }
    for explanation in shown.why {
        explain(&mut text, explanation);
    }
    if let Some(divergence) = &shown.divergence {
        let _ = writeln!(text, "{}", difference(divergence, path));
    }
    text
}

fn explain(text: &mut String, explanation: &Explanation) {
    let who = match &explanation.framework {
        Some(framework) => format!("{framework} in {}", explanation.role),
        None => explanation.role.to_string(),
    };
    let _ = writeln!(text, "  {who}: {}", explanation.summary);
    for (at, turn) in explanation.turns.iter().enumerate() {
        let share = turn.share_ppm as f64 / 10_000.0;
        let weight = turn.weight as f64 / 1000.0;
        let _ = writeln!(
            text,
            "    turn {}: {} in {} with {share:.2} % of the cluster, weight {weight}, priority {}",
            at + 1,
            turn.framework,
            turn.role,
            turn.priority
        );
    }
    for blocker in &explanation.blockers {
        let _ = writeln!(text, "    {} ({} agents)", blocker.detail, blocker.agents);
    }
}
