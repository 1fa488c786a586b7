//! Config files: JSON, YAML or TOML by their suffix, with the names of the options as keys.
//!
//! `work_dir` and `work-dir` are the same, and so are `{"log": {"level": …}}` and `"log.level": …`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Command;
use serde_json::Value;

use super::{
    Role, Surroundings,
    args::{self, Mesos},
    message::nearest,
    options_of,
};

const SUFFIXES: [&str; 4] = ["json", "yaml", "yml", "toml"];

/// The file to read: what `--config` or `MESOS_CONFIG` names, or the first of the role's own that is there.
pub(super) fn find(
    command: &Command,
    role: Role,
    args: &[OsString],
    around: &Surroundings,
) -> Result<Option<PathBuf>, String> {
    if args::find(command, "config").is_none() {
        return Ok(None);
    }
    let named =
        named_by_flag(args).or_else(|| around.env.get("MESOS_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from));
    if let Some(path) = named {
        return if path.is_file() {
            Ok(Some(path))
        } else {
            Err(format!("{}: --config {}: there is no such file", role.display, path.display()))
        };
    }
    let etc = around.root.join("etc");
    let below_etc = role.files.iter().filter(|name| name.starts_with("mesos-")).map(|name| etc.join(name));
    let below_mesos = role.files.iter().map(|name| etc.join("mesos").join(name));
    let with_suffixes = |path: PathBuf| SUFFIXES.map(|suffix| path.with_added_extension(suffix));
    Ok(below_etc.chain(below_mesos).flat_map(with_suffixes).find(|path| path.is_file()))
}

fn named_by_flag(args: &[OsString]) -> Option<PathBuf> {
    let mut words = args.iter().take_while(|word| *word != "--");
    let mut named = None;
    while let Some(word) = words.next() {
        if word == "--config" {
            named = words.next().map(PathBuf::from);
        } else if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            named = Some(PathBuf::from(path));
        }
    }
    named
}

/// What a file sets: the argument's id, the key and the values.
pub(super) fn read(
    command: &Command,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, String, Vec<String>)>, String> {
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    if !SUFFIXES.contains(&suffix) {
        return Err(format!("{}: a config file ends in .json, .yaml, .yml or .toml", path.display()));
    }
    let content: Value = config::Config::builder()
        .add_source(config::File::from(path))
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| format!("{}: {}", path.display(), reason(&error, path)))?;
    let mut found = Vec::new();
    let mut reader = Reader { command, path, warnings, found: &mut found };
    let Value::Object(keys) = content else {
        return Err(format!("{}: expected keys and values", path.display()));
    };
    for (key, value) in keys {
        reader.key(&key, &value)?;
    }
    Ok(found)
}

/// What is wrong, without the path, which `config` appends relative to the current directory.
fn reason(error: &config::ConfigError, path: &Path) -> String {
    let text = match error {
        config::ConfigError::FileParse { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").replace(&path.display().to_string(), "the file")
}

struct Reader<'a> {
    command: &'a Command,
    path: &'a Path,
    warnings: &'a mut Vec<String>,
    found: &'a mut Vec<(String, String, Vec<String>)>,
}

impl Reader<'_> {
    fn key(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let long = key.replace(['.', '_'], "-");
        let argument = args::find(self.command, &long).filter(|argument| !argument.is_hide_set());
        match (argument, value) {
            (_, Value::Null) => Ok(()),
            (Some(argument), value) => {
                let id = argument.get_id().to_string();
                if long == "containerizers" {
                    return self.containerizers(id, key, value);
                }
                let values = self.values(key, value)?;
                self.found.push((id, key.to_owned(), values));
                Ok(())
            }
            (None, Value::Object(inner)) if !inner.is_empty() => {
                inner.iter().try_for_each(|(name, value)| self.key(&format!("{key}.{name}"), value))
            }
            (None, value) => self.unknown(key, &long, value),
        }
    }

    /// `[{"name": "docker", "params": {"socket": …}}]`: the parameters are the options `docker_<parameter>`.
    fn containerizers(&mut self, id: String, key: &str, value: &Value) -> Result<(), String> {
        let Value::Array(list) = value else {
            let values = self.values(key, value)?;
            self.found.push((id, key.to_owned(), values));
            return Ok(());
        };
        let mut names = Vec::new();
        for (at, entry) in list.iter().enumerate() {
            let key = format!("{key}[{at}]");
            let Value::Object(fields) = entry else {
                names.extend(self.values(&key, entry)?);
                continue;
            };
            let Some(Value::String(name)) = fields.get("name") else {
                return Err(self.wrong(&key, "a containerizer needs a name, for example {\"name\": \"docker\"}"));
            };
            names.push(name.clone());
            if let Some(strange) = fields.keys().find(|field| !matches!(field.as_str(), "name" | "params")) {
                return Err(self.wrong(&format!("{key}.{strange}"), "unknown key; allowed: name, params"));
            }
            match fields.get("params") {
                None | Some(Value::Null) => {}
                Some(Value::Object(params)) => {
                    for (param, value) in params {
                        self.parameter(&format!("{key}.params.{param}"), name, param, value)?;
                    }
                }
                Some(_) => return Err(self.wrong(&format!("{key}.params"), "expected keys and values")),
            }
        }
        self.found.push((id, key.to_owned(), vec![names.join(",")]));
        Ok(())
    }

    fn parameter(&mut self, key: &str, containerizer: &str, param: &str, value: &Value) -> Result<(), String> {
        let param = param.replace(['.', '_'], "-");
        let prefix = format!("{containerizer}-");
        let long = if param.starts_with(&prefix) { param } else { format!("{prefix}{param}") };
        let Some(argument) = args::find(self.command, &long) else {
            let known: Vec<String> = options_of(self.command)
                .filter_map(|argument| argument.get_long()?.strip_prefix(&prefix))
                .map(|name| name.replace('-', "_"))
                .collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(self.wrong(key, &format!("unknown parameter of {containerizer}; allowed: {known}")));
        };
        let values = self.values(key, value)?;
        self.found.push((argument.get_id().to_string(), key.to_owned(), values));
        Ok(())
    }

    /// A value as the command line would have it. Keys and values (`{"cpus": 2, "mem": "8GB"}`) are
    /// written as lists of resources and attributes are.
    fn values(&self, key: &str, value: &Value) -> Result<Vec<String>, String> {
        match value {
            Value::String(text) => Ok(vec![text.clone()]),
            Value::Number(number) => Ok(vec![number.to_string()]),
            Value::Bool(flag) => Ok(vec![flag.to_string()]),
            Value::Array(list) => {
                let mut values = Vec::new();
                for (at, entry) in list.iter().enumerate() {
                    if matches!(entry, Value::Array(_) | Value::Object(_) | Value::Null) {
                        return Err(self.wrong(&format!("{key}[{at}]"), "expected text or a number"));
                    }
                    values.extend(self.values(key, entry)?);
                }
                Ok(vec![values.join(",")])
            }
            Value::Object(fields) => {
                let mut parts = Vec::new();
                for (name, value) in fields {
                    for value in self.values(&format!("{key}.{name}"), value)? {
                        parts.push(format!("{name}:{value}"));
                    }
                }
                Ok(vec![parts.join(";")])
            }
            Value::Null => Ok(Vec::new()),
        }
    }

    fn unknown(&mut self, key: &str, long: &str, value: &Value) -> Result<(), String> {
        match args::of_mesos(long, self.values(key, value)?.first().map(String::as_str)) {
            Some(Mesos::Ignored(why)) => {
                self.warnings.push(format!("{}: {key} is ignored: {why}", self.path.display()));
                return Ok(());
            }
            Some(Mesos::Instead(advice)) => return Err(self.wrong(key, advice)),
            None => {}
        }
        let allowed: Vec<String> = options_of(self.command)
            .filter(|argument| !argument.is_hide_set())
            .filter(|argument| !matches!(argument.get_id().as_str(), "config" | "dump_config" | "terminate"))
            .filter_map(|argument| Some(argument.get_long()?.replace('-', "_")))
            .collect();
        let plain = long.replace('-', "_");
        let hint = nearest(&plain, allowed.iter().map(String::as_str));
        let hint = hint.map(|name| format!(", did you mean {name}?")).unwrap_or_default();
        Err(self.wrong(key, &format!("unknown key{hint} (allowed: {})", allowed.join(", "))))
    }

    fn wrong(&self, key: &str, what: &str) -> String {
        format!("{}: {key}: {what}", self.path.display())
    }
}
