//! Writing secrets, and reading them again when they change.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::Error;

/// How PEM is written.
pub(crate) const PEM: pem::EncodeConfig = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);

/// How often a file is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// The mode of a file that only its owner may read.
pub const SECRET: u32 = 0o600;
/// The mode of a file that anybody may read.
pub const PUBLIC: u32 = 0o644;

/// Writes a file as a whole: whoever reads it sees the old or the new one, and it is on disk afterwards.
///
/// # Errors
/// Names the file and what is wrong.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), Error> {
    put(path, contents, mode, |from| fs::rename(from, path))
}

/// The same, unless there is a file of that name.
///
/// # Errors
/// Names the file and what is wrong; also if there is one already.
pub fn write_new(path: &Path, contents: &[u8], mode: u32) -> Result<(), Error> {
    put(path, contents, mode, |from| {
        fs::hard_link(from, path)?;
        fs::remove_file(from)
    })
}

fn put(path: &Path, contents: &[u8], mode: u32, place: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.new"));
    let written = (|| {
        // What an earlier run left half done.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        place(&beside)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&beside);
        Error::new(format!("{} cannot be written: {error}", path.display()))
    })
}

/// Reads a text file.
///
/// # Errors
/// Names the file and what is wrong.
pub fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::new(format!("{} cannot be read: {error}", path.display())))
}

/// What tells one state of a file from another.
type Stamp = Option<(u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
}

type Read<T> = Box<dyn Fn(&[String]) -> Result<T, Error> + Send + Sync>;

/// What some files hold, read again when one of them changes. A new state that cannot be used is logged, and
/// the old one stays.
pub struct Reloaded<T> {
    paths: Vec<PathBuf>,
    read: Read<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    stamps: Vec<Stamp>,
    looked: Instant,
}

impl<T> Reloaded<T> {
    /// Reads the files for the first time. `read` gets their contents in order.
    ///
    /// # Errors
    /// If they cannot be read, or hold what is not expected; names the file.
    pub fn open(
        paths: Vec<PathBuf>,
        read: impl Fn(&[String]) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Reloaded<T>, Error> {
        let stamps = paths.iter().map(|path| stamp(path)).collect();
        let value = Arc::new(load(&paths, &read)?);
        let state = Mutex::new(State { value, stamps, looked: Instant::now() });
        Ok(Reloaded { paths, read: Box::new(read), state })
    }

    /// What the files hold now.
    pub fn get(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < LOOK {
            return state.value.clone();
        }
        state.looked = Instant::now();
        let stamps: Vec<Stamp> = self.paths.iter().map(|path| stamp(path)).collect();
        if stamps != state.stamps {
            state.stamps = stamps;
            match load(&self.paths, &self.read) {
                Ok(value) => {
                    tracing::info!(files = ?self.paths, "read again");
                    state.value = Arc::new(value);
                }
                Err(error) => {
                    tracing::error!(%error, "a changed file cannot be used; what it held before stays in force")
                }
            }
        }
        state.value.clone()
    }
}

fn load<T>(paths: &[PathBuf], make: impl Fn(&[String]) -> Result<T, Error>) -> Result<T, Error> {
    let texts = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    make(&texts).map_err(|error| {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        Error::new(format!("{}: {error}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_and_is_not_written_over_by_chance() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        fs::write(dir.path().join(".a.key.new"), "half").unwrap();
        write_new(&path, b"one", SECRET).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = write_new(&path, b"two", SECRET).unwrap_err().0;
        assert!(error.contains("a.key cannot be written: File exists"), "{error}");
        assert_eq!(read(&path).unwrap(), "one");
        write(&path, b"three", SECRET).unwrap();
        assert_eq!(read(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        fs::write(&path, "1").unwrap();
        let number = |texts: &[String]| texts[0].parse::<u32>().map_err(|error| Error::new(error.to_string()));
        let watched = Reloaded::open(vec![path.clone()], number).unwrap();
        let look = |watched: &Reloaded<u32>| {
            watched.state.lock().unwrap().looked -= LOOK;
            *watched.get()
        };
        assert_eq!(look(&watched), 1);
        write(&path, b"22", SECRET).unwrap();
        assert_eq!(*watched.get(), 1, "it is not looked at all the time");
        assert_eq!(look(&watched), 22);
        write(&path, b"x", SECRET).unwrap();
        assert_eq!(look(&watched), 22);
        fs::remove_file(&path).unwrap();
        assert_eq!(look(&watched), 22);
        write(&path, b"3", SECRET).unwrap();
        assert_eq!(look(&watched), 3);
        assert!(Reloaded::open(vec![dir.path().join("none")], number).err().unwrap().0.contains("none"));
    }
}
