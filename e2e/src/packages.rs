//! What is shipped, made of the binary that the other tests run: the image and the Debian package.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::backends::{mesos_binary, repository};

/// The Debian package in a revision of its own, for upgrades from one to the next. Built once for all tests.
pub fn deb(revision: u32) -> Result<PathBuf> {
    static BUILT: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = built.iter().find(|(known, _)| *known == revision) {
        return Ok(path.clone());
    }
    let binary = mesos_binary()?;
    let out = binary.parent().context("the binary is in no folder")?.join("packages");
    let out = out.to_str().context("the path is not UTF-8")?;
    let path = PathBuf::from(script("deb", &["--revision", &revision.to_string(), "--out", out])?);
    built.push((revision, path.clone()));
    Ok(path)
}

/// The image, under a tag.
pub fn image(tag: &str) -> Result<()> {
    script("image", &["--tag", tag]).map(drop)
}

/// Runs one of `scripts/` on the binary under test; what it printed.
fn script(name: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(repository().join("scripts").join(name))
        .arg("--binary")
        .arg(mesos_binary()?.canonicalize()?)
        .args(args)
        .output()
        .with_context(|| format!("scripts/{name} did not start"))?;
    if !output.status.success() {
        bail!("scripts/{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
