//! Archives into the sandbox and nowhere else.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path},
    sync::atomic::{AtomicBool, Ordering},
};

use super::guard;

/// Entries of one archive.
const MAX_ENTRIES: usize = 1_000_000;

/// Extracts an archive that its suffix names as one; any other file stays as it is.
pub(super) fn extract(archive: &Path, sandbox: &Path, limit: u64, cancelled: &AtomicBool) -> Result<(), String> {
    let name = archive.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let is = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    let open = || File::open(archive).map(BufReader::new).map_err(|error| error.to_string());
    let mut out = Out { sandbox, left: limit, limit, entries: 0, cancelled };
    let done = if is(&[".tar.gz", ".tgz"]) {
        out.tar(flate2::read::MultiGzDecoder::new(open()?))
    } else if is(&[".tar.bz2", ".tbz2", ".tbz"]) {
        out.tar(bzip2::read::MultiBzDecoder::new(open()?))
    } else if is(&[".tar.xz", ".txz"]) {
        out.tar(liblzma::read::XzDecoder::new_multi_decoder(open()?))
    } else if is(&[".tar"]) {
        out.tar(open()?)
    } else if is(&[".zip"]) {
        out.zip(open()?)
    } else if is(&[".gz"]) {
        let plain = archive.file_stem().unwrap_or_default();
        out.file(Path::new(plain), &mut flate2::read::MultiGzDecoder::new(open()?), None)
    } else {
        return Ok(());
    };
    done.map_err(|error| format!("cannot extract it: {error}"))
}

struct Out<'a> {
    sandbox: &'a Path,
    left: u64,
    limit: u64,
    entries: usize,
    cancelled: &'a AtomicBool,
}

impl Out<'_> {
    fn tar(&mut self, reader: impl Read) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(told)? {
            let mut entry = entry.map_err(told)?;
            self.count()?;
            let path = entry.path().map_err(told)?.into_owned();
            let link = entry.link_name().map_err(told)?.map(|link| link.into_owned());
            let mode = entry.header().mode().ok();
            use tar::EntryType as Is;
            match (entry.header().entry_type(), link) {
                (Is::Directory, _) => self.dir(&path)?,
                (Is::Regular | Is::Continuous | Is::GNUSparse, _) => self.file(&path, &mut entry, mode)?,
                (Is::Symlink, Some(to)) => self.link(&path, &to)?,
                (Is::Link, Some(to)) => self.hard_link(&path, &to)?,
                (Is::XGlobalHeader | Is::XHeader, _) => {}
                (other, _) => return Err(format!("{} is of the kind {other:?}", path.display())),
            }
        }
        Ok(())
    }

    fn zip(&mut self, reader: impl Read + io::Seek) -> Result<(), String> {
        let mut archive = zip::ZipArchive::new(reader).map_err(|error| error.to_string())?;
        for index in 0..archive.len() {
            self.count()?;
            let mut entry = archive.by_index(index).map_err(|error| error.to_string())?;
            let path =
                entry.name().map(|name| Path::new(name.as_ref()).to_path_buf()).map_err(|error| error.to_string())?;
            let mode = entry.unix_mode();
            if entry.is_dir() {
                self.dir(&path)?;
            } else if entry.is_symlink() {
                let mut to = String::new();
                entry.by_ref().take(4096).read_to_string(&mut to).map_err(|error| error.to_string())?;
                self.link(&path, Path::new(&to))?;
            } else {
                self.file(&path, &mut entry, mode)?;
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), String> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES { Err(format!("more than {MAX_ENTRIES} entries")) } else { Ok(()) }
    }

    fn dir(&mut self, path: &Path) -> Result<(), String> {
        if path.components().all(|part| part == Component::CurDir) {
            return Ok(());
        }
        let path = guard::below(self.sandbox, path)?;
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(format!("{} is there and no directory", path.display())),
            Err(_) => fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display())),
        }
    }

    fn file(&mut self, path: &Path, from: &mut dyn Read, mode: Option<u32>) -> Result<(), String> {
        let path = guard::below(self.sandbox, path)?;
        let told = |error: io::Error| format!("{}: {error}", path.display());
        let mut file = guard::create(&path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err("cancelled".into());
            }
            let count = from.read(&mut buffer).map_err(told)?;
            if count == 0 {
                break;
            }
            self.left = self
                .left
                .checked_sub(count as u64)
                .ok_or_else(|| format!("more than {} bytes when extracted", self.limit))?;
            file.write_all(&buffer[..count]).map_err(told)?;
        }
        if let Some(mode) = mode {
            // Never set-user-id: the file may come to belong to another user than its author thinks of.
            file.set_permissions(fs::Permissions::from_mode(mode & 0o777)).map_err(told)?;
        }
        Ok(())
    }

    /// A symbolic link that stays inside: relative, and climbing only at its start, where every directory
    /// is known to be no link itself.
    fn link(&mut self, path: &Path, to: &Path) -> Result<(), String> {
        let place = guard::below(self.sandbox, path)?;
        let depth = path.components().filter(|part| *part != Component::CurDir).count().saturating_sub(1);
        let climbs = to.components().take_while(|part| *part == Component::ParentDir).count();
        let rest_is_plain =
            to.components().skip(climbs).all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if climbs > depth || !rest_is_plain {
            return Err(format!("the link {} to {} leads out of the sandbox", path.display(), to.display()));
        }
        let _ = fs::remove_file(&place);
        symlink(to, &place).map_err(|error| format!("{}: {error}", place.display()))
    }

    fn hard_link(&mut self, path: &Path, to: &Path) -> Result<(), String> {
        let (place, to) = (guard::below(self.sandbox, path)?, guard::below(self.sandbox, to)?);
        let told = |error: io::Error| format!("{}: {error}", place.display());
        if !to.symlink_metadata().map_err(told)?.is_file() {
            return Err(format!("the hard link {} is not to a file", path.display()));
        }
        let _ = fs::remove_file(&place);
        fs::hard_link(&to, &place).map_err(told)
    }
}
