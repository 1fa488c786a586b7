//! The file: a header, then checksummed records.
//!
//! Header (24 bytes): `MESOSTOR`, `version: u32`, `snapshot end: u64`, `crc32: u32` of the bytes before.
//! Record: `MREC`, `length: u32`, `synced: u64`, `crc32: u32` of length, synced and payload; then the
//! payload. Numbers are little-endian. `synced` is how far the file was known to be on the disk when the
//! record was written. That tells a tail that a crash tore, which is cut off, from damage to what the
//! disk had taken, which is refused.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mesos_model::planted::{Bug, is_planted};
use mesos_ports::store::StoreError;

use super::event::Event;
use super::state::State;

const MAGIC: &[u8; 8] = b"MESOSTOR";
const VERSION: u32 = 1;
const HEADER: u64 = 24;
const RECORD_MAGIC: &[u8; 4] = b"MREC";
const RECORD_HEADER: usize = 20;

/// A file below this size is not worth writing anew.
const REWRITE_MIN: u64 = 16 << 20;

/// The open file. Only the writer's thread has it; the syncing thread has a handle of the same file.
pub(super) struct LogFile {
    path: PathBuf,
    file: Arc<File>,
    len: u64,
    /// How far the file is known to be on the disk.
    synced: u64,
    /// Write the file anew when it has grown to this.
    rewrite_at: u64,
}

/// What became of a damaged file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Where it is now.
    pub kept_as: PathBuf,
    /// How many bytes of it could not be read.
    pub lost: u64,
    /// In how many places.
    pub places: u64,
}

impl LogFile {
    /// Opens or creates the file and replays it into `state`.
    pub(super) fn open(path: &Path, state: &mut State) -> Result<Self, StoreError> {
        let file = open_locked(path)?;
        let failed = |error: io::Error| unusable(path, &error.to_string());
        let len = file.metadata().map_err(failed)?.len();
        let mut log = LogFile { path: path.to_owned(), file: Arc::new(file), len, synced: 0, rewrite_at: REWRITE_MIN };
        if log.is_unfinished().map_err(failed)? {
            log.file.set_len(0).map_err(failed)?;
            log.file.write_all_at(&header(HEADER), 0).map_err(failed)?;
            log.len = HEADER;
        } else {
            log.replay(state)?;
        }
        log.file.sync_all().and_then(|()| sync_folder(path)).map_err(failed)?;
        log.synced = log.len;
        Ok(log)
    }

    /// The same, but reads on behind what is damaged.
    pub(super) fn open_or_salvage(path: &Path, state: &mut State) -> Result<(Self, Option<Salvaged>), StoreError> {
        let refused = match LogFile::open(path, state) {
            Ok(log) => return Ok((log, None)),
            Err(error) => error,
        };
        let file = open_locked(path)?;
        let failed = |error: io::Error| unusable(path, &error.to_string());
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(failed)?;
        // What another version wrote is not damaged.
        if is_planted(Bug::DamageIsTheEnd) || other_version(&bytes) {
            return Err(refused);
        }
        *state = State::default();
        let mut salvaged = Salvaged { kept_as: with_suffix(path, ".damaged"), lost: 0, places: 0 };
        // A header that is whole is not lost.
        let mut at = if read_header(&mut &bytes[..], path).is_ok() { HEADER as usize } else { 0 };
        while at < bytes.len() {
            if let Some((event, length)) = whole_event(&bytes[at..]) {
                state.apply(event, None);
                at += length;
                continue;
            }
            let next = (at + 1..bytes.len()).find(|from| whole_event(&bytes[*from..]).is_some());
            let next = next.unwrap_or(bytes.len());
            salvaged.lost += (next - at) as u64;
            salvaged.places += 1;
            at = next;
        }
        state.forget_entries();
        let mut log = LogFile {
            path: path.to_owned(),
            file: Arc::new(file),
            len: bytes.len() as u64,
            synced: 0,
            rewrite_at: REWRITE_MIN,
        };
        // The one before is not worth more than this one, and they must not pile up.
        match std::fs::remove_file(&salvaged.kept_as) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::hard_link(path, &salvaged.kept_as).and_then(|()| log.rewrite(state)).map_err(failed)?;
        Ok((log, Some(salvaged)))
    }

    /// A second handle for the thread that syncs.
    pub(super) fn handle(&self) -> Arc<File> {
        self.file.clone()
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Notes what a finished sync covers.
    pub(super) fn set_synced(&mut self, synced: u64) {
        self.synced = self.synced.max(synced);
    }

    /// Adds an event to a buffer that goes to the file as a whole.
    pub(super) fn frame(&self, event: &Event, out: &mut Vec<u8>) {
        put_record(out, self.synced, event);
    }

    /// Appends what was framed, all or nothing: what a failed write left behind is cut off again.
    pub(super) fn append(&mut self, framed: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(framed, self.len) {
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += framed.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.len;
        Ok(())
    }

    pub(super) fn wants_rewrite(&self) -> bool {
        self.len >= self.rewrite_at
    }

    /// Writes the state to a new file and puts it in the old one's place. When that fails, the old one
    /// stays in use and the next try comes when it has doubled.
    pub(super) fn rewrite(&mut self, state: &State) -> io::Result<()> {
        self.rewrite_at = self.len.saturating_mul(2);
        let new_path = with_suffix(&self.path, ".new");
        let written = write_snapshot(&new_path, state).and_then(|(file, len)| {
            // Locked before it has the name, so that no other process can open it in between.
            file.try_lock()?;
            std::fs::rename(&new_path, &self.path)?;
            sync_folder(&self.path)?;
            Ok((file, len))
        });
        match written {
            Ok((file, len)) => {
                self.file = Arc::new(file);
                (self.len, self.synced) = (len, len);
                self.rewrite_at = REWRITE_MIN.max(len.saturating_mul(3));
                Ok(())
            }
            Err(error) => {
                // A rest of it is only in the way of the next try, which starts it anew.
                let _ = std::fs::remove_file(&new_path);
                Err(error)
            }
        }
    }

    /// Whether the file is new, or its creation was cut short.
    fn is_unfinished(&self) -> io::Result<bool> {
        if self.len >= HEADER {
            return Ok(false);
        }
        let mut start = vec![0; self.len as usize];
        self.file.read_exact_at(&mut start, 0)?;
        Ok(header(HEADER).starts_with(&start))
    }

    fn replay(&mut self, state: &mut State) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |error: io::Error| unusable(&path, &error.to_string());
        let mut reader = BufReader::with_capacity(1 << 20, &*self.file);
        let snapshot_end = read_header(&mut reader, &path)?;
        let mut at = HEADER;
        while at < self.len {
            let Some(payload) = read_record(&mut reader, self.len - at).map_err(failed)? else {
                break;
            };
            at += (RECORD_HEADER + payload.len()) as u64;
            let event = Event::decode(payload)
                .ok_or_else(|| unusable(&path, "it was written by a newer version; start that version again"))?;
            state.apply(event, None);
        }
        if at == self.len {
            return Ok(());
        }
        if at < snapshot_end || self.synced_past(at).map_err(failed)? {
            return Err(unusable(
                &path,
                &format!(
                    "it is damaged at byte {at} of {}, before its end; restore a copy, or move it away to start empty",
                    self.len
                ),
            ));
        }
        tracing::warn!(path = %path.display(), at, dropped = self.len - at, "cut off a record that a crash tore");
        self.file.set_len(at).map_err(failed)?;
        self.len = at;
        Ok(())
    }

    /// Whether a whole record after `at` says that the disk had taken what is at `at`.
    fn synced_past(&self, at: u64) -> io::Result<bool> {
        let mut rest = vec![0; (self.len - at) as usize];
        self.file.read_exact_at(&mut rest, at)?;
        let starts = (1..rest.len()).filter(|&from| rest[from..].starts_with(RECORD_MAGIC));
        Ok(starts.into_iter().any(|from| whole_record(&rest[from..]).is_some_and(|synced| synced > at)))
    }
}

fn open_locked(path: &Path) -> Result<File, StoreError> {
    let failed = |error: io::Error| unusable(path, &error.to_string());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(unusable(path, "another process has it open; stop that one or use another --work-dir"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Its holder may have put a new file in its place between our open and our lock.
        let ours = file.metadata().map_err(failed)?;
        let named = std::fs::metadata(path).map_err(failed)?;
        if (ours.dev(), ours.ino()) == (named.dev(), named.ino()) {
            return Ok(file);
        }
    }
}

fn write_snapshot(path: &Path, state: &State) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    writer.write_all(&[0; HEADER as usize])?;
    let (mut len, mut record) = (HEADER, Vec::new());
    for event in state.events() {
        record.clear();
        put_record(&mut record, 0, &event);
        writer.write_all(&record)?;
        len += record.len() as u64;
    }
    let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header(len))?;
    file.sync_all()?;
    Ok((file, len))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether a file of ours says that it is of another version.
fn other_version(bytes: &[u8]) -> bool {
    let header_is_whole = |found: &[u8]| crc32fast::hash(&found[..20]) == number32(&found[20..]);
    bytes
        .get(..HEADER as usize)
        .is_some_and(|found| found.starts_with(MAGIC) && header_is_whole(found) && number32(&found[8..]) != VERSION)
}

/// The event of a whole record that the bytes start with, and the record's length.
fn whole_event(bytes: &[u8]) -> Option<(Event, usize)> {
    if !bytes.starts_with(RECORD_MAGIC) {
        return None;
    }
    whole_record(bytes)?;
    let length = RECORD_HEADER + number32(&bytes[4..]) as usize;
    let event = Event::decode(Bytes::copy_from_slice(&bytes[RECORD_HEADER..length]))?;
    Some((event, length))
}

fn header(snapshot_end: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&snapshot_end.to_le_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn read_header(reader: &mut impl Read, path: &Path) -> Result<u64, StoreError> {
    let mut found = [0; HEADER as usize];
    let read = reader.read_exact(&mut found);
    if read.is_err() || !found.starts_with(MAGIC) {
        return Err(unusable(path, "it is not a store; name another file or --work-dir"));
    }
    let version = number32(&found[8..]);
    if version != VERSION {
        return Err(unusable(path, &format!("its format is version {version}, this program reads version {VERSION}")));
    }
    let snapshot_end = number64(&found[12..]);
    if header(snapshot_end) != found {
        return Err(unusable(path, "its header is damaged; restore a copy, or move it away to start empty"));
    }
    Ok(snapshot_end)
}

fn put_record(out: &mut Vec<u8>, synced: u64, event: &Event) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER]);
    event.encode(out);
    let len = (out.len() - start - RECORD_HEADER) as u32;
    out[start..start + 4].copy_from_slice(RECORD_MAGIC);
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&synced.to_le_bytes());
    let crc = record_crc(&out[start..start + RECORD_HEADER], &out[start + RECORD_HEADER..]);
    out[start + 16..start + 20].copy_from_slice(&crc.to_le_bytes());
}

fn record_crc(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[4..16]);
    hasher.update(payload);
    hasher.finalize()
}

/// The next record's payload, or `None` when what is there is not a whole one.
fn read_record(reader: &mut impl Read, left: u64) -> io::Result<Option<Bytes>> {
    if left < RECORD_HEADER as u64 {
        return Ok(None);
    }
    let mut header = [0; RECORD_HEADER];
    reader.read_exact(&mut header)?;
    let len = number32(&header[4..]);
    if !header.starts_with(RECORD_MAGIC) || u64::from(len) > left - RECORD_HEADER as u64 {
        return Ok(None);
    }
    let mut payload = vec![0; len as usize];
    reader.read_exact(&mut payload)?;
    let whole = record_crc(&header, &payload) == number32(&header[16..]);
    Ok(whole.then(|| Bytes::from(payload)))
}

/// The `synced` of the record that the bytes start with, if it is whole.
fn whole_record(bytes: &[u8]) -> Option<u64> {
    let (header, rest) = bytes.split_at_checked(RECORD_HEADER)?;
    let payload = rest.get(..number32(&header[4..]) as usize)?;
    (record_crc(header, payload) == number32(&header[16..])).then(|| number64(&header[8..]))
}

/// The caller has at least four bytes.
fn number32(bytes: &[u8]) -> u32 {
    bytes[..4].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The caller has at least eight bytes.
fn number64(bytes: &[u8]) -> u64 {
    bytes[..8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Makes a new name in the folder survive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn unusable(path: &Path, why: &str) -> StoreError {
    StoreError::Unusable(format!("{}: {why}", path.display()))
}
