//! Tables for people, JSON for programs.

use std::io::{IsTerminal, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Attribute, Cell, Color, Table, presets};
use mesos_model::resources_text::milli_text;
use mesos_proto::v1;
use serde::Serialize;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// One JSON document.
    Json,
    /// Ids only, one a line.
    Quiet,
}

/// The option every command has that prints.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,
}

/// What can be a line of a table.
pub(crate) trait Line: Serialize {
    /// Names of the columns; the ones from [`NARROW`](Self::NARROW) on are for wide tables.
    const COLUMNS: &'static [&'static str];
    /// How many columns a narrow table has.
    const NARROW: usize;

    /// Its cells, as many as there are columns.
    fn cells(&self) -> Vec<String>;
    /// What names it.
    fn id(&self) -> &str;
    /// The colour of its first cell's state, where there is something to see.
    fn colour(&self) -> Option<Color> {
        None
    }
}

/// Prints lines as wanted.
pub(crate) fn print<L: Line>(format: Format, lines: &[L]) {
    let text = match format {
        Format::Json => json(&lines),
        Format::Quiet => lines.iter().map(|line| format!("{}\n", line.id())).collect(),
        Format::Table | Format::Wide => table(format == Format::Wide, lines),
    };
    write(&text);
}

/// Says what was changed: a line for people, JSON for programs, nothing for those who only want the status.
pub(crate) fn print_change<T: Serialize>(format: Format, done: &T, line: &str) {
    match format {
        Format::Json => write(&json(done)),
        Format::Table | Format::Wide => write(&format!("{line}\n")),
        Format::Quiet => {}
    }
}

/// A value as indented JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Writes to stdout; a reader that has gone is no error.
pub(crate) fn write(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn table<L: Line>(wide: bool, lines: &[L]) -> String {
    let columns = if wide { L::COLUMNS.len() } else { L::NARROW };
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let heads = L::COLUMNS[..columns].iter().map(|name| {
        let cell = Cell::new(name);
        if colours { cell.add_attribute(Attribute::Bold) } else { cell }
    });
    table.set_header(heads.collect::<Vec<_>>());
    for line in lines {
        let colour = line.colour().filter(|_| colours);
        let cells = line.cells().into_iter().take(columns).map(|text| {
            let cell = Cell::new(text);
            match colour {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        });
        table.add_row(cells.collect::<Vec<_>>());
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned() + "\n").collect();
    lines.concat()
}

/// The amount of a scalar resource, as people write it.
pub(crate) fn amount(resources: &[v1::Resource], name: &str) -> f64 {
    let named = resources.iter().filter(|resource| resource.name == name);
    let sum: f64 = named.filter_map(|resource| Some(resource.scalar.as_ref()?.value)).sum();
    // An empty sum is -0, which JSON would show.
    (sum * 1000.0).round() / 1000.0 + 0.0
}

/// A number without needless zeros.
pub(crate) fn number(amount: f64) -> String {
    // Amounts of a cluster are far below what the cast would cut.
    milli_text((amount * 1000.0).round() as i64)
}

/// How long ago something was, roughly.
pub(crate) fn ago(seconds: Option<f64>) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let Some(then) = seconds.filter(|then| *then > 0.0) else { return "-".to_owned() };
    let past = (now - then).max(0.0) as u64;
    match past {
        0..120 => format!("{past}s"),
        120..7200 => format!("{}m", past / 60),
        7200..172_800 => format!("{}h", past / 3600),
        _ => format!("{}d", past / 86_400),
    }
}
