//! Builds the operator's page if `npm` is at hand and the page is absent or older than its sources.
//!
//! The program works without the page, so whatever goes wrong here is a warning. `MESOS_SKIP_WEB=1` leaves
//! the page as it is.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::SystemTime,
};

const SOURCES: [&str; 6] = ["src", "public", "index.html", "package.json", "package-lock.json", "vite.config.ts"];

fn main() {
    let web = Path::new("../../web");
    println!("cargo:rerun-if-env-changed=MESOS_SKIP_WEB");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", web.join(source).display());
    }
    // rust-embed wants the folder even if nothing is in it.
    if let Err(error) = fs::create_dir_all(web.join("dist")) {
        println!("cargo:warning=web/dist cannot be made: {error}");
    }
    if env::var_os("MESOS_SKIP_WEB").is_some_and(|value| value == "1") {
        return;
    }
    let is_there = is_fresh(web)
        || match build(web) {
            Ok(()) => true,
            Err(why) => {
                println!("cargo:warning=the operator's page was not built ({why}); the program works without it");
                false
            }
        };
    // Only then: a file that is not there would run this again with every build.
    if is_there {
        println!("cargo:rerun-if-changed={}", web.join("dist/index.html").display());
    }
}

fn is_fresh(web: &Path) -> bool {
    let Some(built) = changed(&web.join("dist/index.html")) else { return false };
    SOURCES.iter().filter_map(|source| newest(&web.join(source))).all(|source| source <= built)
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn newest(path: &Path) -> Option<SystemTime> {
    let Ok(entries) = fs::read_dir(path) else { return changed(path) };
    entries.flatten().filter_map(|entry| newest(&entry.path())).max()
}

fn build(web: &Path) -> Result<(), String> {
    for arguments in [&["ci", "--no-audit", "--no-fund", "--loglevel=error"][..], &["run", "build", "--silent"]] {
        let run = Command::new("npm").args(arguments).current_dir(web).stdin(Stdio::null()).output();
        let output = run.map_err(|error| format!("npm cannot be run: {error}"))?;
        if !output.status.success() {
            // The compiler of the page speaks on standard output, npm on the other one.
            let text = [&output.stdout[..], &output.stderr[..]].concat();
            let text = String::from_utf8_lossy(&text);
            let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(format!("npm {} failed: {last}", arguments[0]));
        }
    }
    Ok(())
}
