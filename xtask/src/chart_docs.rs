//! The table of values in the chart's README, made of the comments in its `values.yaml`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::finding::Finding;

const VALUES: &str = "charts/mesos/values.yaml";
const README: &str = "charts/mesos/README.md";
/// What is between these lines is ours to write.
const MARKS: (&str, &str) = ("<!-- values: cargo xtask chart-docs -->\n", "<!-- end of values -->\n");

/// A value that can be set.
#[derive(Debug, PartialEq, Eq)]
struct Value {
    key: String,
    default: String,
    about: String,
}

/// Checks that every value has a description, and that the README's table is what they say.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let values = match read(&text(root, VALUES)?) {
        Ok(values) => values,
        Err(finding) => return Ok(vec![finding]),
    };
    let readme = text(root, README)?;
    let fresh = with_table(&readme, &values)? == readme;
    let stale = || Finding::new(README, 1, "is not what values.yaml says", "run `cargo xtask chart-docs`");
    Ok((!fresh).then(stale).into_iter().collect())
}

/// Writes the table.
pub(crate) fn write(root: &Path) -> Result<bool> {
    let values = match read(&text(root, VALUES)?) {
        Ok(values) => values,
        Err(finding) => bail!("{finding}"),
    };
    let readme = with_table(&text(root, README)?, &values)?;
    fs::write(root.join(README), readme).with_context(|| format!("{README} cannot be written"))?;
    Ok(true)
}

fn text(root: &Path, file: &str) -> Result<String> {
    fs::read_to_string(root.join(file)).with_context(|| format!("{file} cannot be read"))
}

/// Reads values and the comments above them. It knows as much of YAML as the file needs: maps of two blanks' depth, and
/// values that begin and end on the line of their key.
fn read(yaml: &str) -> Result<Vec<Value>, Finding> {
    let mut values = Vec::new();
    let mut parents: Vec<&str> = Vec::new();
    let mut about = String::new();
    for (line, number) in yaml.lines().zip(1..) {
        let trimmed = line.trim();
        let depth = (line.len() - line.trim_start().len()) / 2;
        if let Some(comment) = trimmed.strip_prefix('#') {
            about = format!("{about} {}", comment.trim()).trim().to_owned();
            continue;
        }
        let Some((key, default)) = trimmed.split_once(':') else {
            // An empty line ends what is said of the file as a whole.
            about.clear();
            continue;
        };
        parents.truncate(depth);
        parents.push(key);
        let default = default.trim();
        if !default.is_empty() {
            let key = parents.join(".");
            if about.is_empty() {
                let wrong = format!("{key} has no description");
                return Err(Finding::new(VALUES, number, wrong, "say above it what it is for"));
            }
            values.push(Value { key, default: default.to_owned(), about: std::mem::take(&mut about) });
        }
        about.clear();
    }
    Ok(values)
}

fn with_table(readme: &str, values: &[Value]) -> Result<String> {
    let missing = || format!("{README} lacks the lines between which the table is:\n{}{}", MARKS.0, MARKS.1);
    let (before, rest) = readme.split_once(MARKS.0).with_context(missing)?;
    let (_, after) = rest.split_once(MARKS.1).with_context(missing)?;
    let mut table = String::from("| value | default | what it is |\n|---|---|---|\n");
    for Value { key, default, about } in values {
        let _ = writeln!(table, "| `{key}` | `{default}` | {} |", about.replace('|', "\\|"));
    }
    Ok(format!("{before}{}{table}{}{after}", MARKS.0, MARKS.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "# Of the file.\n\n# One.\na: 1\nb:\n  # Two,\n  # three.\n  c: {d: e}\n";

    #[test]
    fn values_have_their_path_their_default_and_the_comment_above_them() {
        let value = |key: &str, default: &str, about: &str| Value {
            key: key.to_owned(),
            default: default.to_owned(),
            about: about.to_owned(),
        };
        assert_eq!(read(YAML).unwrap(), [value("a", "1", "One."), value("b.c", "{d: e}", "Two, three.")]);
    }

    #[test]
    fn a_value_that_nothing_is_said_of_is_found() {
        let finding = read("# One.\na: 1\nb: 2\n").unwrap_err();
        assert_eq!((finding.line, finding.wrong.as_str()), (3, "b has no description"));
    }

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let readme = format!("x\n{}old\n{}y\n", MARKS.0, MARKS.1);
        let written = with_table(&readme, &read(YAML).unwrap()).unwrap();
        assert!(written.contains("| `b.c` | `{d: e}` | Two, three. |\n") && !written.contains("old"), "{written}");
        assert_eq!(with_table(&written, &read(YAML).unwrap()).unwrap(), written);
        assert!(with_table("x", &[]).is_err());
    }
}
