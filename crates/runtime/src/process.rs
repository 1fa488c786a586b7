//! A process in one role: signals, an orderly end with a deadline, exit status.

use std::{ffi::OsString, future::Future, process::ExitCode, time::Duration};

use clap::{Args, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Resolved, Role, Stop, Surroundings},
    telemetry::{self, Metrics, TelemetryOptions},
};

/// How long an orderly end may take.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Exit status for options that cannot be used.
const USAGE: u8 = 2;
/// Exit status after a second Ctrl-C, as shells count it.
const INTERRUPTED: i32 = 130;

/// Finds a role's options, by the whole ladder.
///
/// # Errors
/// With the exit status, where the process is to end instead: after `--help`, `--version`, `--dump-config`
/// and what is wrong, all of which was printed.
pub fn options<O: Args>(role: Role, about: &'static str, args: &[OsString]) -> Result<(O, Resolved), ExitCode> {
    let command = O::augment_args(Command::new(role.display).about(about).version(env!("CARGO_PKG_VERSION")));
    let command = command.after_help(
        "Each option is also read from a config file and from the environment: --work-dir is work_dir there \
         and MESOS_WORK_DIR here. Flags count most, then the environment, then the file.",
    );
    let resolved = config::resolve(command, role, args, &Surroundings::of_this_process());
    let resolved = resolved.map_err(|stop| match stop {
        Stop::Print(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Stop::Wrong(line) => {
            eprintln!("{line}");
            ExitCode::from(USAGE)
        }
    })?;
    for warning in &resolved.warnings {
        eprintln!("{}: {warning}", role.display);
    }
    if resolved.matches.try_get_one::<bool>("dump_config").ok().flatten() == Some(&true) {
        println!("{}", resolved.dump());
        return Err(ExitCode::SUCCESS);
    }
    match O::from_arg_matches(&resolved.matches) {
        Ok(options) => Ok((options, resolved)),
        Err(error) => {
            eprintln!("{}: {}", role.display, config::one_line(&error));
            Err(ExitCode::from(USAGE))
        }
    }
}

/// Runs `main` until it ends or, after SIGTERM or SIGINT, until it has stopped. A second SIGINT ends the
/// process at once. An error is one line on stderr behind `display`, and exit status 1.
pub fn run<F>(
    display: &str,
    telemetry: &TelemetryOptions,
    threads: Option<usize>,
    main: impl FnOnce(Metrics, CancellationToken) -> F,
) -> ExitCode
where
    F: Future<Output = Result<ExitCode, String>>,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(display, &format!("cannot start threads: {error}")),
    };
    let outcome = runtime.block_on(async {
        let telemetry = telemetry::start(telemetry)?;
        let cancel = CancellationToken::new();
        watch_signals(cancel.clone())?;
        let outcome = with_deadline(main(Metrics::default(), cancel.clone()), cancel).await;
        telemetry.stop();
        outcome
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome.unwrap_or_else(|error| failed(display, &error))
}

fn failed(display: &str, error: &str) -> ExitCode {
    eprintln!("{display}: {error}");
    ExitCode::FAILURE
}

async fn with_deadline(
    main: impl Future<Output = Result<ExitCode, String>>,
    cancel: CancellationToken,
) -> Result<ExitCode, String> {
    let deadline = async {
        cancel.cancelled().await;
        tokio::time::sleep(STOP_MAX).await;
    };
    tokio::select! {
        outcome = main => outcome,
        () = deadline => Err(format!("did not stop within {} s and was ended", STOP_MAX.as_secs())),
    }
}

/// Cancels at SIGTERM or SIGINT.
fn watch_signals(cancel: CancellationToken) -> Result<(), String> {
    let listen = |kind| -> Result<Signal, String> { signal(kind).map_err(|error| format!("no signals: {error}")) };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("interrupted: stopping (once more to end at once)"),
        }
        cancel.cancel();
        interrupt.recv().await;
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}
