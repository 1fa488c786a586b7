//! From a `ContainerSpec` to a runtime directory with a shim started in it.

use std::{
    ffi::{CString, OsString},
    fs, io,
    os::unix::fs::chown,
    path::{Component, Path},
    process::Stdio,
};

use mesos_model::planted::{self, Bug, is_planted};
use mesos_ports::containerizer::{Command, ContainerError, ContainerSpec, Volume};
use nix::unistd::{User, geteuid, getgrouplist};
use tokio::process::Child;

use super::{Failure, Host};
use crate::{
    procfs,
    records::{self, Bind, Identity, Program, Spec},
};

impl Host {
    /// Makes directory and cgroup and starts the shim, which does the rest. Blocks.
    pub(super) fn start_shim(&self, dir: &Path, spec: ContainerSpec) -> Result<Child, Failure> {
        if spec.docker.is_some() {
            return Err(Failure::Invalid("a Docker image cannot be run as a plain process".into()));
        }
        let program = program(&spec.command)?;
        let binds = spec.volumes.iter().map(|volume| bind(volume, &spec.sandbox)).collect::<Result<_, _>>()?;
        if let Some(identity) = &program.identity {
            chown(&spec.sandbox, Some(identity.uid), Some(identity.gid))
                .map_err(|error| launch("sandbox", &spec.sandbox, &error))?;
        }
        fs::create_dir(dir).map_err(|error| launch("runtime directory", dir, &error))?;
        let mut warnings = self.warnings.clone();
        let own_group = self.cgroups.as_ref().filter(|_| !is_planted(Bug::TaskInAgentsGroup));
        let group = own_group.and_then(|cgroups| {
            let made = cgroups.create(&spec.container_id, &spec.limits);
            made.map_err(|error| warnings.push(format!("no resource limits are enforced: {error}"))).ok()
        });
        let record = Spec {
            agent_id: spec.agent_id,
            framework_id: spec.framework_id,
            task_id: spec.task_id,
            boot_id: procfs::boot_id().to_string(),
            program,
            sandbox: spec.sandbox,
            group,
            namespaces: self.options.namespaces,
            binds,
            warnings,
            log_bytes: self.options.log_bytes,
        };
        records::write(dir, records::SPEC, &record).map_err(|error| launch("runtime directory", dir, &error))?;
        shim_command(&self.options.shim)
            .arg(dir)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| Failure::Launch(format!("cannot start the shim {:?}: {error}", self.options.shim)))
    }
}

fn launch(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Launch(format!("{what} {}: {error}", path.display()))
}

/// The shim with nothing of the agent's environment, in which there may be secrets.
pub(super) fn shim_command(shim: &[OsString]) -> tokio::process::Command {
    let (program, args) = shim
        .split_first()
        .map_or((OsString::from("/proc/self/exe"), &[][..]), |(program, args)| (program.clone(), args));
    let mut command = tokio::process::Command::new(program);
    command.args(args).env_clear().envs(planted::for_child()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// An id becomes the name of a directory and of cgroups, so it must be nothing but a name.
pub(super) fn check_id(id: &str) -> Result<(), ContainerError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 200 || id.starts_with('.') || !id.bytes().all(fine) {
        return Err(ContainerError::Invalid(format!("{id:?} cannot be the id of a container")));
    }
    Ok(())
}

/// What a command means on this host.
pub(super) fn program(command: &Command) -> Result<Program, Failure> {
    let Some(value) = command.value.clone() else {
        return Err(Failure::Invalid("the task has no command".into()));
    };
    let (file, argv) = if command.shell {
        ("/bin/sh".to_string(), vec!["sh".to_string(), "-c".to_string(), value])
    } else if command.arguments.is_empty() {
        (value.clone(), vec![value])
    } else {
        (value, command.arguments.clone())
    };
    let identity = command.user.as_deref().map(identity).transpose()?.flatten();
    Ok(Program { file, argv, environment: command.environment.clone(), identity })
}

/// The user to switch to; `None` if that is who runs here already.
pub(crate) fn identity(name: &str) -> Result<Option<Identity>, Failure> {
    let wrong = |why: &str| Failure::Invalid(format!("cannot run as user {name}: {why}"));
    let user = User::from_name(name).map_err(|errno| wrong(errno.desc()))?.ok_or_else(|| wrong("no such user"))?;
    if user.uid == geteuid() {
        return Ok(None);
    }
    if !geteuid().is_root() {
        return Err(wrong("the agent does not run as root"));
    }
    let c_name = CString::new(name).map_err(|_| wrong("no such user"))?;
    let groups = getgrouplist(&c_name, user.gid).map_err(|errno| wrong(errno.desc()))?;
    Ok(Some(Identity {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(|gid| gid.as_raw()).collect(),
    }))
}

fn bind(volume: &Volume, sandbox: &Path) -> Result<Bind, Failure> {
    let wrong = |why: &str| {
        let (from, to) = (volume.host_path.display(), volume.container_path.display());
        Failure::Invalid(format!("volume {from}:{to}: {why}"))
    };
    let climbs = |path: &Path| path.components().any(|part| part == Component::ParentDir);
    if climbs(&volume.host_path) || climbs(&volume.container_path) {
        return Err(wrong("`..` is not allowed"));
    }
    if volume.container_path.is_absolute() && !volume.container_path.exists() {
        return Err(wrong("without an image, an absolute path must exist on the host"));
    }
    let from = sandbox.join(&volume.host_path);
    if volume.host_path.is_relative() {
        fs::create_dir_all(&from).map_err(|error| wrong(&error.to_string()))?;
    } else if !from.exists() {
        return Err(wrong("no such file or directory on this host"));
    }
    Ok(Bind { from, to: sandbox.join(&volume.container_path), read_only: volume.read_only })
}
