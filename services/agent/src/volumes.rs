//! Directories of persistent volumes: `<work_dir>/volumes/roles/<role>/<persistence id>`, as in Mesos; on a
//! PATH disk the same below its root, and on a MOUNT disk its root itself.
//!
//! A volume lives from the operation that creates it to the one that destroys it; tasks come and go.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use mesos_model::{Resource, Resources};
use mesos_proto::v1::{
    self,
    resource::{DiskInfo, disk_info::source::Type},
};
use nix::unistd::User;
use prost::Message;
use uuid::Uuid;

/// What is to be removed waits here, so that a volume of the same name can be made at once.
const TRASH: &str = "volumes/trash";

/// Where a volume's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    dir: PathBuf,
    /// The whole disk is the volume: it is emptied, and not removed.
    mount: bool,
}

/// A volume as a task sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskVolume {
    /// On the host.
    pub(crate) dir: PathBuf,
    /// In the container; a relative one is below the sandbox.
    pub(crate) container_path: PathBuf,
    pub(crate) read_only: bool,
    /// Several tasks, and so several users, may use it.
    pub(crate) shared: bool,
}

/// Makes and removes directories, as far as `made` and `removed` are volumes. What cannot be done is told,
/// and stands in the way of the tasks that need it.
pub(crate) fn carry_out(work_dir: &Path, made: &Resources, removed: &Resources) {
    for (resource, remove) in
        removed.iter().map(|resource| (resource, true)).chain(made.iter().map(|resource| (resource, false)))
    {
        let place = match of_resource(work_dir, resource) {
            Ok(Some(place)) => place,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(error, "a volume has no place on this host");
                continue;
            }
        };
        let dir = place.dir.display().to_string();
        let done = if remove { remove_volume(work_dir, &place) } else { std::fs::create_dir_all(&place.dir) };
        match done {
            Ok(()) if remove => tracing::info!(dir, "a volume was removed"),
            Ok(()) => tracing::debug!(dir, "a volume is there"),
            Err(error) if remove => tracing::error!(dir, %error, "a volume cannot be removed"),
            Err(error) => tracing::error!(dir, %error, "a volume cannot be made"),
        }
    }
}

/// Deletes what an earlier run of the agent did not come to delete.
pub(crate) fn empty_trash(work_dir: &Path) {
    delete_later(work_dir.join(TRASH));
}

fn of_resource(work_dir: &Path, resource: &Resource) -> Result<Option<Place>, String> {
    let Some(qualifier) = resource.qualifier.as_deref().filter(|qualifier| !qualifier.disk.is_empty()) else {
        return Ok(None);
    };
    let disk = DiskInfo::decode(qualifier.disk.as_slice()).map_err(|error| format!("a DiskInfo: {error}"))?;
    let role = resource.reserved_for().map_or("*", |role| role.as_str());
    place(work_dir, role, &disk)
}

fn place(work_dir: &Path, role: &str, disk: &DiskInfo) -> Result<Option<Place>, String> {
    let Some(persistence) = &disk.persistence else { return Ok(None) };
    // A slash would put the volumes of a role into those of another one.
    let role = role.replace('/', " ");
    for name in [&role, &persistence.id] {
        mesos_model::id::validate(name).map_err(|error| format!("'{}': {error}", name.escape_debug()))?;
    }
    let source = disk.source.as_ref();
    let root = |root: Option<&String>| {
        root.map(|root| work_dir.join(root)).ok_or_else(|| "the disk of the volume has no root".to_owned())
    };
    let base = match source.map(v1::resource::disk_info::Source::r#type) {
        None => work_dir.to_owned(),
        Some(Type::Path) => root(source.and_then(|source| source.path.as_ref()?.root.as_ref()))?,
        Some(Type::Mount) => {
            let dir = root(source.and_then(|source| source.mount.as_ref()?.root.as_ref()))?;
            return Ok(Some(Place { dir, mount: true }));
        }
        Some(other) => return Err(format!("there can be no volume on a {} disk", other.as_str_name())),
    };
    Ok(Some(Place { dir: base.join("volumes").join("roles").join(role).join(&persistence.id), mount: false }))
}

fn remove_volume(work_dir: &Path, place: &Place) -> io::Result<()> {
    if place.mount {
        for entry in std::fs::read_dir(&place.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        return Ok(());
    }
    // Below the disk's own root: nothing can be renamed to another disk.
    let root = place.dir.ancestors().nth(4).unwrap_or(work_dir);
    let trash = root.join(TRASH).join(Uuid::new_v4().to_string());
    std::fs::create_dir_all(&trash)?;
    match std::fs::rename(&place.dir, trash.join("volume")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    delete_later(trash);
    Ok(())
}

/// A large volume takes long, and nobody waits for it.
fn delete_later(dir: PathBuf) {
    std::thread::spawn(move || match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "what is left of a volume cannot be deleted");
        }
        _ => {}
    });
}

/// The volumes that a task's resources name.
///
/// # Errors
/// Says which volume cannot be used, and why.
pub(crate) fn of_task(work_dir: &Path, resources: &[v1::Resource]) -> Result<Vec<TaskVolume>, String> {
    let mut volumes = Vec::new();
    for resource in resources {
        let Some(disk) = &resource.disk else { continue };
        let role = match resource.reservations.last() {
            Some(last) => last.role(),
            None => resource.role(),
        };
        let Some(place) = place(work_dir, role, disk)? else { continue };
        let Some(how) = &disk.volume else { continue };
        volumes.push(TaskVolume {
            dir: place.dir,
            container_path: PathBuf::from(&how.container_path),
            read_only: how.mode() == v1::volume::Mode::Ro,
            shared: resource.shared.is_some(),
        });
    }
    Ok(volumes)
}

/// Gives a volume to the user whose task uses it, unless others may use it too; an agent that is not root
/// leaves it as it is.
pub(crate) fn hand_over(volume: &TaskVolume, owner: Option<&User>) -> Result<(), String> {
    let at = |error: io::Error| format!("volume {}: {error}", volume.dir.display());
    if !std::fs::metadata(&volume.dir).map_err(at)?.is_dir() {
        return Err(format!("volume {} is no directory", volume.dir.display()));
    }
    match owner.filter(|_| !volume.shared) {
        Some(owner) => {
            std::os::unix::fs::chown(&volume.dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).map_err(at)
        }
        None => Ok(()),
    }
}

/// Lets a volume be seen in a sandbox of a plain process, by a symbolic link.
///
/// # Errors
/// If the path leads out of the sandbox, or something else is there.
pub(crate) fn link(sandbox: &Path, volume: &TaskVolume) -> Result<(), String> {
    let path = &volume.container_path;
    let wrong = |why: &str| format!("volume {}: {why}", path.display());
    if path.is_absolute() {
        return Err(wrong("without an image, the path must be relative to the sandbox"));
    }
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !path.components().all(is_name) || path.file_name().is_none() {
        return Err(wrong("the path must lead to a name below the sandbox"));
    }
    let at = sandbox.join(path);
    if let Some(parent) = at.parent() {
        std::fs::create_dir_all(parent).map_err(|error| wrong(&error.to_string()))?;
    }
    match std::os::unix::fs::symlink(&volume.dir, &at) {
        // From before a restart of the agent.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match std::fs::read_link(&at) {
            Ok(there) if there == volume.dir => Ok(()),
            _ => Err(wrong("there is something else at that path in the sandbox")),
        },
        done => done.map_err(|error| wrong(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesos_model::{Reservation, ReservationKind, resources::Qualifier};
    use v1::resource::disk_info::{Persistence, Source, source};

    use super::*;

    fn disk_info(id: &str, source: Option<Source>) -> DiskInfo {
        let how = v1::Volume { container_path: "data/db".into(), mode: 1, ..Default::default() };
        let persistence = Persistence { id: id.into(), principal: None };
        DiskInfo { persistence: Some(persistence), volume: Some(how), source }
    }

    fn volume(role: &str, disk: &DiskInfo) -> Resources {
        let reservation =
            Reservation { kind: ReservationKind::Dynamic, role: role.into(), principal: None, labels: Vec::new() };
        let qualifier =
            Qualifier { reservations: vec![reservation], disk: disk.encode_to_vec(), ..Qualifier::default() };
        let mut out = Resources::new();
        out.add_entry(Resource { qualifier: Some(Arc::new(qualifier)), ..Resource::scalar("disk", 1000) });
        out
    }

    fn nothing() -> Resources {
        Resources::new()
    }

    #[test]
    fn a_volume_is_made_once_and_keeps_its_data_until_it_is_removed() {
        let work = tempfile::tempdir().unwrap();
        let made = volume("ads/web", &disk_info("v1", None));
        carry_out(work.path(), &made, &nothing());
        let file = work.path().join("volumes/roles/ads web/v1/file");
        std::fs::write(&file, "data").unwrap();
        carry_out(work.path(), &made, &nothing());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "data");
        carry_out(work.path(), &nothing(), &made);
        assert!(!file.parent().unwrap().exists());
        carry_out(work.path(), &nothing(), &made);
        carry_out(work.path(), &made, &nothing());
        assert!(file.parent().unwrap().is_dir() && !file.exists(), "a new one of the same name is empty");
    }

    #[test]
    fn a_volume_is_on_the_disk_that_it_is_made_of() {
        let work = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let root = Some(other.path().display().to_string());
        let path =
            Source { r#type: Type::Path.into(), path: Some(source::Path { root: root.clone() }), ..Default::default() };
        let made = volume("ads", &disk_info("v", Some(path)));
        carry_out(work.path(), &made, &nothing());
        assert!(other.path().join("volumes/roles/ads/v").is_dir());
        carry_out(work.path(), &nothing(), &made);
        assert!(!other.path().join("volumes/roles/ads/v").exists());
        let mount = Source { r#type: Type::Mount.into(), mount: Some(source::Mount { root }), ..Default::default() };
        let made = volume("ads", &disk_info("v", Some(mount)));
        std::fs::write(other.path().join("file"), "data").unwrap();
        carry_out(work.path(), &nothing(), &made);
        assert!(other.path().is_dir() && !other.path().join("file").exists());
    }

    #[test]
    fn no_volume_leads_out_of_its_place() {
        let work = tempfile::tempdir().unwrap();
        for (role, id) in [("ads", "../../x"), ("ads", ".."), ("..", "v"), ("ads", "")] {
            assert!(place(work.path(), role, &disk_info(id, None)).is_err(), "{role} {id}");
        }
        assert_eq!(place(work.path(), "ads", &DiskInfo::default()), Ok(None));
    }

    #[test]
    fn a_plain_process_sees_its_volume_by_a_link_in_its_sandbox() {
        let (work, sandbox) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let info = disk_info("v", None);
        carry_out(work.path(), &volume("ads", &info), &nothing());
        let resource = v1::Resource { role: Some("ads".into()), disk: Some(info), ..Default::default() };
        let volume = of_task(work.path(), &[resource]).unwrap().remove(0);
        hand_over(&volume, None).unwrap();
        link(sandbox.path(), &volume).unwrap();
        link(sandbox.path(), &volume).unwrap();
        std::fs::write(sandbox.path().join("data/db/file"), "data").unwrap();
        assert!(work.path().join("volumes/roles/ads/v/file").is_file());
        for path in ["/etc", "../x", "a/../../x", "", "."] {
            let bad = TaskVolume { container_path: path.into(), ..volume.clone() };
            assert!(link(sandbox.path(), &bad).is_err(), "{path}");
        }
        let other = TaskVolume { dir: "/elsewhere".into(), ..volume };
        assert!(link(sandbox.path(), &other).unwrap_err().contains("something else"));
        assert!(hand_over(&other, None).is_err(), "a volume that is not there stands in the task's way");
    }
}
