//! `mesos replay`: a recording of the allocator, lived again.
//!
//! # Layout
//! - this file: the command, and all of a recording at once.
//! - [`one`]: one entry of it, and why.
//! - [`words`]: calls and what comes of them, for people.

mod one;
mod words;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, UNIX_EPOCH},
};

use clap::Args;
use mesos_allocator::record::{Reader, Tail};
use mesos_core::{
    allocation::{Allocator, Options},
    recording::{Begin, Digest, Divergence, Input, Part, parts, relive},
};
use mesos_model::Time;
use serde::Serialize;

use crate::client::output::{self, Format, OutputArgs};

/// Options of the command.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReplayArgs {
    /// What `mesos master --record FILE` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Show this entry: what the allocator was told, what it did, and why
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["to", "check", "list"])]
    at: Option<u64>,

    /// Go no further than this entry
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,

    /// Say only whether the same comes of all entries as was recorded
    #[arg(long, conflicts_with = "list")]
    check: bool,

    /// Print a line for each decision, with the number of its entry
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Carries the command out. Exit status 1 if something else comes of an entry than was recorded, or the file
/// cannot be read to its end.
pub(crate) fn run(args: &ReplayArgs) -> ExitCode {
    let done = match args.at {
        Some(number) => one::show(&args.file, number, args.output.output, output::write),
        None => all(args, output::write),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mesos replay: {}: {error}", args.file.display());
            ExitCode::FAILURE
        }
    }
}

/// A call on its way through a machine.
struct Step<'a> {
    number: u64,
    at: Time,
    input: &'a Input,
    effects: &'a words::Effects,
    divergence: Option<Divergence>,
}

/// What there is besides calls.
#[derive(Default)]
struct Around {
    /// The programs that recorded, each once.
    programs: Vec<String>,
    sections: u64,
    /// Why recording ended while the allocator went on.
    ended: Option<String>,
    /// How the file ended; `None` if it was not read to its end.
    tail: Option<Tail>,
}

impl Around {
    fn begin(&mut self, begin: &Begin) {
        self.sections += 1;
        if !self.programs.contains(&begin.program) {
            self.programs.push(begin.program.clone());
        }
    }
}

/// Lives a recording again up to and with an entry.
fn live(path: &Path, to: Option<u64>, mut seen: impl FnMut(Step<'_>)) -> Result<Around, String> {
    let mut reader = Reader::open(path).map_err(|error| error.to_string())?;
    let mut around = Around::default();
    let mut machine = Allocator::new(Options::default());
    for part in parts(reader.by_ref()) {
        match part {
            Part::Begin(begin) => {
                around.begin(&begin);
                around.ended = None;
                machine = Allocator::new(Options { loader: mesos_allocator::options::loader(), ..begin.options });
            }
            Part::Call { number, at, input, came } => {
                // The call consumes what it is told.
                let kept = input.clone();
                let lived = relive(&mut machine, number, at, input, came);
                let divergence = lived.divergence;
                seen(Step { number, at, input: &kept, effects: &lived.effects, divergence });
                if to == Some(number) {
                    break;
                }
            }
            Part::End { why } => around.ended = Some(why),
        }
    }
    around.tail = reader.tail().cloned();
    Ok(around)
}

/// All of a recording.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Calls.
    entries: u64,
    /// Machines that were made.
    sections: u64,
    /// Terms that they led in.
    terms: u64,
    offers_made: u64,
    offers_rescinded: u64,
    launches_accepted: u64,
    calls_refused: u64,
    from_ms: u64,
    to_ms: u64,
    entries_per_second: u64,
    programs: Vec<String>,
    divergences: u64,
    first_divergence: Option<Divergence>,
    /// What else there is to know, for people.
    notes: Vec<String>,
}

impl Summary {
    fn count(&mut self, step: &Step<'_>) {
        self.entries += 1;
        self.terms += u64::from(matches!(step.input, Input::Lead(_)));
        if step.at.0 > 0 {
            self.from_ms = if self.from_ms == 0 { step.at.0 } else { self.from_ms };
            self.to_ms = step.at.0;
        }
        self.divergences += u64::from(step.divergence.is_some());
        self.first_divergence = self.first_divergence.or(step.divergence);
        words::decisions(step.input, step.effects, |decision| match decision.kind {
            words::Kind::Offer => self.offers_made += 1,
            words::Kind::Rescind => self.offers_rescinded += 1,
            words::Kind::Launch => self.launches_accepted += 1,
            words::Kind::Refuse => self.calls_refused += 1,
            _ => {}
        });
    }

    fn note(&mut self, around: Around) {
        let mine = env!("CARGO_PKG_VERSION");
        for other in around.programs.iter().filter(|program| *program != mine) {
            self.notes.push(format!(
                "recorded by version {other}, lived again by {mine}: where they decide differently they diverge"
            ));
        }
        self.notes.extend(around.ended.map(|why| format!("recording ended before the allocator did: {why}")));
        match around.tail {
            Some(Tail::Torn { at, bytes }) => {
                self.notes.push(format!("the tail is torn: {bytes} bytes from byte {at} on are left out"));
            }
            Some(Tail::Damaged { at, why }) => {
                self.notes.push(format!("damaged at byte {at} ({why}): what follows is left out"));
            }
            Some(Tail::Whole) | None => {}
        }
        (self.programs, self.sections) = (around.programs, around.sections);
    }
}

/// Lives all that is wanted again and prints it; says whether the same came of it, and all could be read.
fn all(args: &ReplayArgs, mut write: impl FnMut(&str)) -> Result<bool, String> {
    let started = Instant::now();
    let mut summary = Summary::default();
    let mut listed = Vec::new();
    let mut lines = String::new();
    let json = args.output.output == Format::Json;
    let around = live(&args.file, args.to, |step| {
        summary.count(&step);
        if args.list {
            words::decisions(step.input, step.effects, |decision| {
                let decision = Listed { entry: step.number, time: time_text(step.at), decision };
                match args.output.output {
                    Format::Json => listed.push(decision),
                    Format::Quiet => _ = writeln!(lines, "{}", decision.entry),
                    Format::Table | Format::Wide => lines.push_str(&decision.line()),
                }
            });
            if lines.len() > 1 << 16 {
                write(&std::mem::take(&mut lines));
            }
        }
    })?;
    let whole = !matches!(around.tail, Some(Tail::Damaged { .. }));
    summary.entries_per_second = (summary.entries as f64 / started.elapsed().as_secs_f64().max(1e-6)) as u64;
    summary.note(around);
    if !lines.is_empty() {
        write(&lines);
    }
    match (json, args.list) {
        (true, true) => write(&output::json(&listed)),
        (true, false) => write(&output::json(&summary)),
        (false, true) => summary.notes.iter().for_each(|note| eprintln!("mesos replay: {note}")),
        (false, false) if args.check => write(&verdict(&summary, &args.file)),
        (false, false) => write(&text(&summary, &args.file)),
    }
    if args.list
        && let Some(first) = summary.first_divergence
    {
        eprintln!("mesos replay: {}", difference(&first, &args.file));
    }
    Ok(summary.first_divergence.is_none() && whole)
}

/// A decision in a list.
#[derive(Debug, Serialize)]
struct Listed {
    entry: u64,
    time: String,
    #[serde(flatten)]
    decision: words::Decision,
}

impl Listed {
    fn line(&self) -> String {
        let kind = self.decision.kind.name();
        format!("{:>9}  {}  {kind:<11} {}\n", self.entry, self.time, self.decision.text)
    }
}

fn verdict(summary: &Summary, file: &Path) -> String {
    let notes: String = summary.notes.iter().map(|note| format!("note: {note}\n")).collect();
    match &summary.first_divergence {
        None => format!("the same comes of all {} entries\n{notes}", summary.entries),
        Some(first) => format!("{}\n{notes}", difference(first, file)),
    }
}

fn difference(first: &Divergence, file: &Path) -> String {
    format!(
        "entry {} diverges first: recorded was {}, and now comes {} (mesos replay {} --at {0} shows it)",
        first.number,
        digest_text(first.recorded),
        digest_text(first.replayed),
        file.display(),
    )
}

fn digest_text(digest: Option<Digest>) -> String {
    match digest {
        None => "nothing".to_owned(),
        Some(Digest { hash, changes, outputs }) => {
            format!("{changes} row changes and {outputs} outputs with hash {hash:016x}")
        }
    }
}

fn text(summary: &Summary, file: &Path) -> String {
    let span = humantime::format_duration(Duration::from_millis(summary.to_ms.saturating_sub(summary.from_ms)));
    let mut text = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<12}{value}");
    line("entries", format!("{} (lived again at {} per second)", summary.entries, summary.entries_per_second));
    line("machines", format!("{}, leading in {} terms", summary.sections, summary.terms));
    if summary.to_ms > 0 {
        let (from, to) = (time_text(Time(summary.from_ms)), time_text(Time(summary.to_ms)));
        line("time", format!("{from} to {to} ({span})"));
    }
    line("offers", format!("{} made, {} rescinded", summary.offers_made, summary.offers_rescinded));
    line("launches", summary.launches_accepted.to_string());
    line("refused", format!("{} calls", summary.calls_refused));
    text + &verdict(summary, file)
}

/// A time of the store, for people.
fn time_text(at: Time) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}

#[cfg(test)]
mod tests;
