//! Which addresses, paths and host files the fetcher may touch.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use mesos_model::planted::{Bug, is_planted};
use nix::{libc, unistd::User};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Whether an address is one of the link or of a cloud's metadata service, where credentials are.
fn is_refused(address: IpAddr) -> bool {
    if is_planted(Bug::FetchFromAnywhere) {
        return false;
    }
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_link_local() || address.octets() == [100, 100, 100, 200] || address.is_unspecified()
        }
        IpAddr::V6(address) => {
            let segments = address.segments();
            segments[0] & 0xffc0 == 0xfe80 || segments == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// Refuses what is wrong without a look-up: the scheme, and addresses that stand for themselves.
pub(super) fn check_url(url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("a redirect to {} is not followed", url.scheme()));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(address) if is_refused(address) => Err(format!("the address {address} is not allowed")),
        _ => Ok(()),
    }
}

/// Resolves names and refuses those that lead to a forbidden address. The connection goes to what was
/// checked, so a second answer of the name server changes nothing.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().find(|found| is_refused(found.ip())) {
                Some(found) => {
                    let text = format!("{} leads to the address {}, which is not allowed", name.as_str(), found.ip());
                    Err(io::Error::new(io::ErrorKind::PermissionDenied, text).into())
                }
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

/// A path below a directory, whose parents are made. No part of it climbs or is a link.
pub(super) fn below(root: &Path, relative: &Path) -> Result<PathBuf, String> {
    if is_planted(Bug::ArchiveClimbsOut) {
        return Ok(root.join(relative));
    }
    let outside = || format!("{} leads out of the sandbox", relative.display());
    let mut path = root.to_path_buf();
    let mut parts = relative.components().filter(|part| *part != Component::CurDir).peekable();
    if parts.peek().is_none() {
        return Err(outside());
    }
    while let Some(part) = parts.next() {
        let Component::Normal(part) = part else {
            return Err(outside());
        };
        path.push(part);
        if parts.peek().is_none() {
            break;
        }
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(outside()),
            Err(_) => fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?,
        }
    }
    Ok(path)
}

/// Makes a new file in place of what was there.
pub(super) fn create(path: &Path) -> Result<File, String> {
    let told = |error: io::Error| format!("{}: {error}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(told(error)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(told)
}

/// Copies a file of the host, if the owner-to-be may read it. The agent may read all of them.
pub(super) fn copy_file(from: &Path, to: &Path, limit: u64, owner: Option<&str>) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    // Not to hang on a named pipe.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(from).map_err(told)?;
    let found = file.metadata().map_err(told)?;
    if !found.is_file() {
        return Err("it is not a file".into());
    }
    if let Some(owner) = owner {
        let user = User::from_name(owner).ok().flatten().ok_or_else(|| format!("no such user: {owner}"))?;
        let real = fs::canonicalize(from).map_err(told)?;
        let through = real.ancestors().skip(1).map(|dir| fs::metadata(dir).map(|found| allows(&found, &user, 1)));
        let reaches = through.collect::<io::Result<Vec<bool>>>().map_err(told)?.into_iter().all(|one| one);
        if !(reaches && allows(&found, &user, 4)) {
            return Err(format!("user {owner} may not read it"));
        }
    }
    if found.len() > limit {
        return Err(format!("it is larger than {limit} bytes"));
    }
    let mut target = create(to)?;
    io::copy(&mut file.take(limit), &mut target).map(drop).map_err(told)
}

/// Whether the mode of a file gives a user this right: 4 to read, 1 to pass through.
fn allows(found: &fs::Metadata, user: &User, right: u32) -> bool {
    let mode = found.mode();
    let shift = if found.uid() == user.uid.as_raw() {
        6
    } else if found.gid() == user.gid.as_raw() {
        3
    } else {
        0
    };
    user.uid.is_root() || (mode >> shift) & right == right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_and_of_metadata_are_refused() {
        for text in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200"] {
            assert!(is_refused(text.parse().expect("an address")), "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "::1", "1.1.1.1"] {
            assert!(!is_refused(text.parse().expect("an address")), "{text}");
        }
        for url in ["http://169.254.169.254/x", "http://[fe80::1]/", "http://2852039166/", "ftp://a/"] {
            assert!(check_url(&Url::parse(url).expect("a URL")).is_err(), "{url}");
        }
    }

    #[test]
    fn paths_stay_below() {
        let root = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc", root.path().join("link")).expect("made");
        for bad in ["../x", "/etc/x", "a/../../x", "link/x", "", "."] {
            assert!(below(root.path(), Path::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(below(root.path(), Path::new("./a/b")).expect("fine"), root.path().join("a/b"));
        assert!(root.path().join("a").is_dir());
    }
}
