//! Builds the examples with the real compilers. What was built is kept in cargo's target directory under a
//! name that says from what, so that the next run takes it from there.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// One build at a time: tests run beside each other, and two may want the same example.
static BUILDING: Mutex<()> = Mutex::new(());

struct Example {
    directory: &'static str,
    sources: &'static [&'static str],
    program: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    /// What to do if the compiler is missing or fails.
    advice: &'static str,
}

const RUST: Example = Example {
    directory: "rust",
    sources: &["longest_waiting.rs"],
    program: "rustc",
    arguments: &[
        "--edition",
        "2024",
        "--target",
        "wasm32-unknown-unknown",
        "--crate-type",
        "cdylib",
        "-O",
        "-C",
        "strip=symbols",
        "longest_waiting.rs",
        "-o",
    ],
    environment: &[],
    advice: "The target is installed by scripts/setup, or by `rustup target add wasm32-unknown-unknown`.",
};

const GO: Example = Example {
    directory: "go",
    sources: &["hoarders.go", "go.mod"],
    program: "go",
    arguments: &["build", "-buildvcs=false", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"],
    environment: &[("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")],
    advice: "It needs Go 1.24 or later.",
};

const ASSEMBLYSCRIPT: Example = Example {
    directory: "assemblyscript",
    sources: &["priority-bands.ts", "package-lock.json"],
    program: "node",
    arguments: &[
        "node_modules/assemblyscript/bin/asc.js",
        "priority-bands.ts",
        "-O3",
        "--runtime",
        "stub",
        "--use",
        "abort=",
        "--outFile",
    ],
    environment: &[],
    advice: "The compiler is installed by scripts/setup, or by `npm ci` in that directory.",
};

pub(crate) fn rust() -> Vec<u8> {
    build(&RUST)
}

pub(crate) fn go() -> Vec<u8> {
    build(&GO)
}

pub(crate) fn assemblyscript() -> Vec<u8> {
    build(&ASSEMBLYSCRIPT)
}

fn build(example: &Example) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples-wasm").join(example.directory);
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "policy-{}-{:016x}.wasm",
        example.directory,
        fingerprint(example, &directory)
    ));
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Ok(module) = fs::read(&built) {
        return module;
    }
    // Under a name of its own until it is whole: another run of the tests may look for it.
    let partial = built.with_extension(format!("{}.wasm", std::process::id()));
    let output = Command::new(example.program)
        .args(example.arguments)
        .arg(&partial)
        // Cargo's settings for this build are not those of the example's.
        .env_remove("RUSTFLAGS")
        .envs(example.environment.iter().copied())
        .current_dir(&directory)
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "{} could not build {}: {}{}\n{}",
            example.program,
            directory.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            example.advice
        ),
        Err(error) => {
            panic!("{} is needed to build {} ({error}). {}", example.program, directory.display(), example.advice)
        }
    }
    fs::rename(&partial, &built).expect("the target directory is writable");
    fs::read(&built).expect("it was built")
}

fn fingerprint(example: &Example, directory: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    (example.program, example.arguments, example.environment).hash(&mut hasher);
    for source in example.sources {
        let path = directory.join(source);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).hash(&mut hasher);
    }
    hasher.finish()
}
