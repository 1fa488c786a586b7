//! Brings the URIs of a task into its sandbox: `http`, `https`, `file` and plain paths.
//!
//! What comes from outside is not trusted: addresses of the link and of cloud metadata are refused after
//! resolution and at every redirect, sizes are capped, archives cannot write outside of the sandbox, and
//! a file of the host is given only to a user who may read it.
//!
//! # Layout
//! - `fetcher`: the fetcher and its downloads.
//! - `fetcher/guard`: which addresses, paths and host files are allowed.
//! - `fetcher/extract`: archives.

mod extract;
mod guard;

use std::{
    error::Error,
    fs,
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::unistd::User;
use reqwest::{Client, ClientBuilder, Url, redirect::Policy};
use tokio::{io::AsyncWriteExt, task::spawn_blocking, time::timeout};

/// One thing to fetch, as in Mesos's `CommandInfo.URI`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    /// `http://…`, `https://…`, `file:///…` or an absolute path.
    pub value: String,
    /// Makes the file executable; it is then not extracted.
    pub executable: bool,
    /// Extracts archives that their suffix names as such.
    pub extract: bool,
    /// Where it goes below the sandbox; by default the last part of the URI's path.
    pub output_file: Option<String>,
}

/// Bounds of a fetch.
#[derive(Clone, Debug)]
pub struct FetcherOptions {
    /// Largest file to fetch, bytes.
    pub max_bytes: u64,
    /// Most that one archive may hold when extracted, bytes.
    pub max_extracted_bytes: u64,
    /// A download without a byte for this long has failed.
    pub stall_timeout: Duration,
    /// For one URI as a whole.
    pub deadline: Duration,
}

impl Default for FetcherOptions {
    fn default() -> Self {
        FetcherOptions {
            max_bytes: 10 << 30,
            max_extracted_bytes: 20 << 30,
            stall_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(3600),
        }
    }
}

/// Why a URI could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch {uri}: {message}")]
pub struct FetchError {
    /// The URI as given.
    pub uri: String,
    /// What went wrong.
    pub message: String,
}

/// Fetches. Holds one HTTP client for all tasks.
pub struct Fetcher {
    client: Client,
    options: FetcherOptions,
}

const MAX_REDIRECTS: usize = 10;

impl Fetcher {
    /// The error is the TLS library's and does not depend on any URI.
    pub fn new(options: FetcherOptions) -> Result<Fetcher, String> {
        let redirects = Policy::custom(|attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if let Err(why) = guard::check_url(attempt.url()) {
                attempt.error(why)
            } else {
                attempt.follow()
            }
        });
        let builder = Client::builder()
            .no_proxy()
            .redirect(redirects)
            .dns_resolver(Arc::new(guard::Resolver))
            .connect_timeout(options.stall_timeout);
        Ok(Fetcher { client: with_tls(builder)?, options })
    }

    /// Fetches one after the other into a sandbox and gives all that is in it to `owner`. Dropping the
    /// future ends it; what was fetched so far stays.
    pub async fn fetch(&self, uris: &[Uri], sandbox: &Path, owner: Option<&str>) -> Result<(), FetchError> {
        for uri in uris {
            let failed = |message| FetchError { uri: uri.value.clone(), message };
            let limit = self.options.deadline;
            let fetched = timeout(limit, self.fetch_one(uri, sandbox, owner)).await;
            fetched.unwrap_or_else(|_| Err(format!("not done within {limit:?}"))).map_err(failed)?;
        }
        Ok(())
    }

    async fn fetch_one(&self, uri: &Uri, sandbox: &Path, owner: Option<&str>) -> Result<(), String> {
        let source = Source::of(&uri.value)?;
        let name = uri.output_file.as_deref().map_or_else(|| source.file_name(), |name| Ok(name.to_string()))?;
        let target = guard::below(sandbox, Path::new(&name))?;
        let cancelled = Cancelled::default();
        match source {
            Source::Url(url) => self.download(url, &target).await?,
            Source::Path(path) => {
                let (target, limit, owner) = (target.clone(), self.options.max_bytes, owner.map(String::from));
                blocking(move || guard::copy_file(&path, &target, limit, owner.as_deref())).await?;
            }
        }
        let (limit, sandbox, uri, flag) =
            (self.options.max_extracted_bytes, sandbox.to_path_buf(), uri.clone(), cancelled.flag());
        let owner = owner.map(String::from);
        blocking(move || {
            if uri.executable {
                fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
            } else if uri.extract {
                extract::extract(&target, &sandbox, limit, &flag)?;
            }
            owner.map_or(Ok(()), |owner| give(&sandbox, &owner))
        })
        .await
    }

    async fn download(&self, url: Url, target: &Path) -> Result<(), String> {
        guard::check_url(&url)?;
        let stall = self.options.stall_timeout;
        let stalled = |_| format!("nothing came for {stall:?}");
        let response = timeout(stall, self.client.get(url).send()).await.map_err(stalled)?;
        let mut response = response.map_err(|error| deepest(&error))?;
        if !response.status().is_success() {
            return Err(format!("the server answered {}", response.status()));
        }
        let too_large = || format!("it is larger than {} bytes", self.options.max_bytes);
        if response.content_length().is_some_and(|length| length > self.options.max_bytes) {
            return Err(too_large());
        }
        let file = guard::create(target)?;
        let mut file = tokio::io::BufWriter::with_capacity(1 << 18, tokio::fs::File::from_std(file));
        let mut written = 0u64;
        while let Some(chunk) =
            timeout(stall, response.chunk()).await.map_err(stalled)?.map_err(|error| deepest(&error))?
        {
            written += chunk.len() as u64;
            if written > self.options.max_bytes {
                return Err(too_large());
            }
            file.write_all(&chunk).await.map_err(|error| error.to_string())?;
        }
        file.flush().await.map_err(|error| error.to_string())
    }
}

enum Source {
    Url(Url),
    Path(PathBuf),
}

impl Source {
    fn of(value: &str) -> Result<Source, String> {
        match value.split_once("://") {
            Some(("http" | "https", _)) => Url::parse(value).map(Source::Url).map_err(|error| error.to_string()),
            Some(("file", path)) if path.starts_with('/') => Ok(Source::Path(path.into())),
            Some(("file", _)) => Err("a file URI needs an absolute path: file:///…".into()),
            Some((scheme, _)) => Err(format!("unknown scheme {scheme}; known are http, https, file and plain paths")),
            None if value.starts_with('/') => Ok(Source::Path(value.into())),
            None => Err("a plain path must be absolute".into()),
        }
    }

    fn file_name(&self) -> Result<String, String> {
        let name = match self {
            Source::Url(url) => url.path().rsplit('/').next().map(String::from),
            Source::Path(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
        };
        name.filter(|name| !name.is_empty() && name != "..").ok_or_else(|| "it names no file; set output_file".into())
    }
}

/// Tells blocking work that its caller went away.
#[derive(Default)]
struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn blocking(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Gives a sandbox and all in it to a user.
fn give(sandbox: &Path, owner: &str) -> Result<(), String> {
    let user = User::from_name(owner).ok().flatten().ok_or_else(|| format!("no such user: {owner}"))?;
    let mut open = vec![sandbox.to_path_buf()];
    while let Some(path) = open.pop() {
        lchown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    Ok(())
}

/// Builds a client with `ring`. On a host without root certificates, `https` fails at the handshake and
/// `http` works.
pub(crate) fn with_tls(builder: ClientBuilder) -> Result<Client, String> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that the process has installed one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let none: [reqwest::Certificate; 0] = [];
    if rustls_roots_exist() { builder } else { builder.tls_certs_only(none) }.build().map_err(|error| deepest(&error))
}

fn rustls_roots_exist() -> bool {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let usual = ["/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"];
    named.chain(usual.map(PathBuf::from)).any(|path| match path.is_dir() {
        true => fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()),
        false => path.exists(),
    })
}

/// The last reason of a chain, which names the cause: `connection refused` rather than `request failed`.
pub(crate) fn deepest(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
