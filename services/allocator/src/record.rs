//! What the machine is told, in a file: `--record` writes it, `mesos replay` reads it.
//!
//! A file is frames: four bytes of length (big-endian), then a record in the common envelope. The first one is a
//! [`Header`], all others are entries of `mesos_core::recording`. A section begins with each machine, that is
//! with each process and each lost term, and names the machine's options; so a process that is started again
//! goes on in the same file.
//!
//! # Layout
//! - this file: frames, and reading them.
//! - [`writer`]: the queue and the thread that write them.

pub mod writer;

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read},
    path::Path,
};

use bytes::Bytes;
use mesos_core::recording::Entry;
use mesos_model::envelope::{self, EnvelopeError};
use serde::{Deserialize, Serialize};

pub use writer::Recorder;

/// Version of the frames and of what they mean; a file of a later one is not read.
pub const VERSION: u32 = 1;

const HEADER: &str = "allocator-recording";
const ENTRY: &str = "recorded";
const LENGTH: u64 = 4;

/// How a file begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The file's [`VERSION`].
    pub version: u32,
    /// Version of the program that began the file.
    pub program: String,
}

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is nothing in it.
    #[error("the file is empty: nothing was recorded")]
    Empty,
    /// It is something else.
    #[error("the file is no recording of an allocator (option --record makes one)")]
    Foreign,
    /// A later program has made it.
    #[error("the recording has version {0}, and this program reads up to {VERSION}: use the program that recorded it")]
    Version(u32),
}

/// How a recording ended, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole entry.
    Whole,
    /// In the middle of an entry, as when the process is killed; that entry is left out.
    Torn {
        /// Where the entry begins.
        at: u64,
        /// How many bytes of it are there.
        bytes: u64,
    },
    /// An entry cannot be read, and what follows it is left out too.
    Damaged {
        /// Where the entry begins.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// A value as a frame.
fn frame<T: Serialize>(kind: &'static str, value: &T) -> Result<Bytes, EnvelopeError> {
    let sealed = envelope::seal(kind, value)?;
    let length = u32::try_from(sealed.len()).map_err(|_| EnvelopeError::Encode("longer than 4 GiB".to_owned()))?;
    Ok([&length.to_be_bytes()[..], &sealed].concat().into())
}

/// An entry as a frame.
fn frame_of(entry: &Entry) -> Result<Bytes, EnvelopeError> {
    frame(ENTRY, entry)
}

/// The first frame of a file.
fn frame_of_header() -> Result<Bytes, EnvelopeError> {
    frame(HEADER, &Header { version: VERSION, program: env!("CARGO_PKG_VERSION").to_owned() })
}

/// The entries of a recording, in order. It ends where the file cannot be read any more; [`tail`](Self::tail)
/// says why.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    at: u64,
    length: u64,
    tail: Option<Tail>,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no recording that this program knows.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Reader::new(BufReader::with_capacity(1 << 18, file), length)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header of what is `length` bytes long.
    ///
    /// # Errors
    /// If it cannot be read, or is no recording that this program knows.
    pub fn new(source: R, length: u64) -> Result<Self, ReadError> {
        let header = Header { version: 0, program: String::new() };
        let mut reader = Reader { source, header, at: 0, length, tail: None };
        if length == 0 {
            return Err(ReadError::Empty);
        }
        // A foreign file's first bytes are no length that fits it, or what follows them is no envelope.
        let first = reader.frame().map_err(|stop| stop.io().map_or(ReadError::Foreign, ReadError::Io))?;
        let header: Header = match envelope::open(HEADER, &first.ok_or(ReadError::Foreign)?) {
            Ok(header) => header,
            Err(_) => return Err(ReadError::Foreign),
        };
        if header.version > VERSION {
            return Err(ReadError::Version(header.version));
        }
        reader.header = header;
        Ok(reader)
    }

    /// How the file began.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where the entry begins that would be read next.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// How the recording ended; `None` as long as not all of it was read.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// The next frame; `None` at the end.
    fn frame(&mut self) -> Result<Option<Vec<u8>>, Stop> {
        let left = self.length.saturating_sub(self.at);
        if left == 0 {
            return Ok(None);
        }
        let torn = Stop::At(Tail::Torn { at: self.at, bytes: left });
        if left < LENGTH {
            return Err(torn);
        }
        let mut length = [0; LENGTH as usize];
        self.source.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if left < LENGTH + u64::from(length) {
            return Err(torn);
        }
        let mut bytes = vec![0; length as usize];
        self.source.read_exact(&mut bytes)?;
        self.at += LENGTH + u64::from(length);
        Ok(Some(bytes))
    }

    fn entry(&mut self) -> Result<Option<Entry>, Stop> {
        let at = self.at;
        let Some(bytes) = self.frame()? else { return Ok(None) };
        envelope::open(ENTRY, &bytes).map(Some).map_err(|error| {
            let cut = matches!(error, EnvelopeError::Checksum | EnvelopeError::Foreign) && self.at == self.length;
            let tail =
                if cut { Tail::Torn { at, bytes: self.at - at } } else { Tail::Damaged { at, why: error.to_string() } };
            self.at = at;
            Stop::At(tail)
        })
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.tail.is_some() {
            return None;
        }
        match self.entry() {
            Ok(Some(entry)) => return Some(entry),
            Ok(None) => self.tail = Some(Tail::Whole),
            Err(Stop::At(tail)) => self.tail = Some(tail),
            Err(Stop::Io(error)) => self.tail = Some(Tail::Damaged { at: self.at, why: error.to_string() }),
        }
        None
    }
}

/// Why no frame comes.
#[derive(Debug)]
enum Stop {
    At(Tail),
    Io(io::Error),
}

impl Stop {
    fn io(self) -> Option<io::Error> {
        match self {
            Stop::Io(error) if error.kind() != ErrorKind::UnexpectedEof => Some(error),
            Stop::Io(_) | Stop::At(_) => None,
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

#[cfg(test)]
mod tests;
