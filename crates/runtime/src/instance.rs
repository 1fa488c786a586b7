//! One process per role and work directory, and the end of it by `--terminate`.
//!
//! The process holds a lock on `<role>.pid`, so a file that was left behind means nothing, and a pid that
//! was given to another process meanwhile is told by its start time.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a process may take to end after SIGTERM.
const END_MAX: Duration = Duration::from_secs(20);

/// The right to run in a work directory; given back when dropped.
#[derive(Debug)]
pub struct Instance {
    _lock: Flock<File>,
}

fn file_of(dir: &Path, role: &str) -> PathBuf {
    dir.join(format!("{role}.pid"))
}

/// Takes the right to run as `role` in a work directory.
///
/// # Errors
/// Says who has it, or what is in the way.
pub fn claim(dir: &Path, role: &str) -> Result<Instance, String> {
    let path = file_of(dir, role);
    let file = File::options().create(true).read(true).write(true).truncate(false).open(&path);
    let file = file.map_err(|error| {
        format!("--work-dir {}: cannot be written: {error}; choose a folder that this user may write", dir.display())
    })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let me = std::process::id();
            let line = format!("{me} {}\n", started(me).unwrap_or_default());
            let written = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(line.as_bytes()));
            written.map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Instance { _lock: lock })
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let pid = read(&mut file).map(|(pid, _)| format!(" (pid {pid})")).unwrap_or_default();
            Err(format!(
                "--work-dir {}: its {role} runs already{pid}; choose another one, or end it with `mesos {role} --terminate --work-dir={}`",
                dir.display(),
                dir.display()
            ))
        }
        Err((_, error)) => Err(format!("{}: cannot be locked: {error}", path.display())),
    }
}

/// Carries out `--terminate`: [`end`], and says how it went.
pub fn terminate(dir: &Path, role: &str) -> ExitCode {
    match end(dir, role) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(line) => {
            eprintln!("mesos {role}: {line}");
            ExitCode::FAILURE
        }
    }
}

/// The process that runs as `role` in a work directory, if there is one.
#[must_use]
pub fn running(dir: &Path, role: &str) -> Option<u32> {
    let (pid, start) = read(&mut File::open(file_of(dir, role)).ok()?)?;
    (started(pid) == Some(start)).then_some(pid)
}

/// Ends the process that runs as `role` in a work directory and waits until it is gone. Says which it was.
///
/// # Errors
/// If none runs there, or it cannot be ended.
pub fn end(dir: &Path, role: &str) -> Result<String, String> {
    let nobody = || format!("no {role} runs on {}; name its --work-dir if it has another one", dir.display());
    let path = file_of(dir, role);
    let mut file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(nobody()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let found = read(&mut file);
    let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_) => return Err(nobody()),
        Err((file, _)) => file,
    };
    let (pid, start) = found.ok_or_else(|| format!("{} does not name a process; end it by hand", path.display()))?;
    if started(pid) != Some(start) {
        return Err(format!(
            "{} names process {pid}, which is another one by now; end the {role} by hand",
            path.display()
        ));
    }
    let number = i32::try_from(pid).map_err(|_| nobody())?;
    match kill(Pid::from_raw(number), Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => return Err(format!("process {pid} cannot be ended: {error}")),
    }
    let deadline = Instant::now() + END_MAX;
    // The lock is free when the process is gone, whoever its parent is and however late it is reaped.
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => return Ok(format!("the {role} on {} has ended (pid {pid})", dir.display())),
            Err((file, _)) => file,
        };
        if Instant::now() >= deadline {
            return Err(format!("process {pid} has not ended within {} s", END_MAX.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read(file: &mut File) -> Option<(u32, u64)> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// When a process was started, in the kernel's ticks since boot.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so count from its end: the start time is field 22.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_directory_has_one_process_per_role() {
        let dir = std::env::temp_dir().join(format!("mesos-instance-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(running(&dir, "master"), None);
        let master = claim(&dir, "master").unwrap();
        assert_eq!(running(&dir, "master"), Some(std::process::id()));
        let line = claim(&dir, "master").unwrap_err();
        assert!(line.contains(&format!("its master runs already (pid {})", std::process::id())), "{line}");
        let _agent = claim(&dir, "agent").unwrap();
        drop(master);
        assert!(end(&dir, "master").unwrap_err().starts_with("no master runs on "));
        claim(&dir, "master").unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
