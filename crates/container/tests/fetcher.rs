//! The fetcher and the checks against a small HTTP server.

use std::{
    fs,
    io::{Cursor, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use mesos_container::{
    MockContainerizer,
    checks::{Check, Checker},
    fetcher::{Fetcher, FetcherOptions, Uri},
};
use mesos_ports::containerizer::{Command, ContainerSpec, Containerizer};
use tempfile::TempDir;

/// Serves `/<name>` by a function; an empty answer says nothing for as long as the client stays.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut request = vec![0; 4096];
                let count = stream.read(&mut request).unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..count]).into_owned();
                let bytes = answer(text.split(' ').nth(1).unwrap_or_default());
                if bytes.is_empty() {
                    let _ = stream.read(&mut request);
                }
                let _ = stream.write_all(&bytes);
            });
        }
    });
    address
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn head(status: &str, header: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

fn uri(value: impl Into<String>) -> Uri {
    Uri { value: value.into(), extract: true, ..Uri::default() }
}

fn sandbox() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn options() -> FetcherOptions {
    FetcherOptions {
        max_bytes: 1 << 20,
        max_extracted_bytes: 1 << 20,
        stall_timeout: Duration::from_millis(500),
        deadline: Duration::from_secs(20),
    }
}

async fn fetch(uri: Uri, sandbox: &Path) -> Result<(), String> {
    let fetcher = Fetcher::new(options()).expect("a client");
    fetcher.fetch(&[uri], sandbox, None).await.map_err(|error| error.to_string())
}

/// Appends an entry whose path the `tar` crate itself would refuse to write.
fn entry(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, link: &str, body: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(body.len() as u64);
    header.set_mode(mode);
    let old = header.as_gnu_mut().expect("made as such");
    old.name[..path.len()].copy_from_slice(path.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    tar.append(&header, body).expect("written");
}

fn good_tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, tar::EntryType::Directory, "app/", "", b"", 0o755);
    entry(&mut tar, tar::EntryType::Regular, "./app/run.sh", "", b"#!/bin/sh\n", 0o4755);
    entry(&mut tar, tar::EntryType::Symlink, "app/link", "../app/run.sh", b"", 0o777);
    entry(&mut tar, tar::EntryType::Link, "app/hard", "app/run.sh", b"", 0o755);
    tar.into_inner().expect("written")
}

fn packed(mut encoder: impl Write, finish: impl FnOnce()) {
    encoder.write_all(&good_tar()).expect("written");
    drop(encoder);
    finish();
}

#[tokio::test]
async fn downloads_are_named_and_made_executable() {
    let server = serve(|_| ok(b"content"));
    let dir = sandbox();
    fetch(uri(format!("http://{server}/a/tool?x=1")), dir.path()).await.expect("fetched");
    assert_eq!(fs::read(dir.path().join("tool")).expect("there"), b"content");
    let renamed = Uri { output_file: Some("sub/named".into()), executable: true, ..uri(format!("http://{server}/a")) };
    fetch(renamed, dir.path()).await.expect("fetched");
    let mode = fs::metadata(dir.path().join("sub/named")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[tokio::test]
async fn every_kind_of_archive_is_extracted() {
    let mut archives: Vec<(&str, Vec<u8>)> = vec![("a.tar", good_tar())];
    let mut gz = Vec::new();
    packed(flate2::write::GzEncoder::new(&mut gz, flate2::Compression::fast()), || {});
    archives.extend([("a.tar.gz", gz.clone()), ("a.tgz", gz)]);
    let mut bz = Vec::new();
    packed(bzip2::write::BzEncoder::new(&mut bz, bzip2::Compression::fast()), || {});
    archives.push(("a.tar.bz2", bz));
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&good_tar()).expect("written");
    archives.push(("a.tar.xz", xz.finish().expect("written")));
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mode = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("app/run.sh", mode).expect("started");
    zip.write_all(b"#!/bin/sh\n").expect("written");
    archives.push(("a.zip", zip.finish().expect("written").into_inner()));
    for (name, bytes) in archives {
        let server = serve(move |_| ok(&bytes));
        let dir = sandbox();
        fetch(uri(format!("http://{server}/{name}")), dir.path()).await.expect(name);
        let program = dir.path().join("app/run.sh");
        assert_eq!(fs::read(&program).expect(name), b"#!/bin/sh\n");
        assert_eq!(fs::metadata(&program).expect(name).permissions().mode() & 0o7777, 0o755, "{name}");
        let kept = sandbox();
        let plain = Uri { extract: false, ..uri(format!("http://{server}/{name}")) };
        fetch(plain, kept.path()).await.expect(name);
        assert!(!kept.path().join("app").exists());
    }
}

#[tokio::test]
async fn f76_archives_that_climb_out_are_refused() {
    use tar::EntryType as Is;
    for (kind, path, link) in [
        (Is::Regular, "../evil", ""),
        (Is::Regular, "/tmp/mesos-evil", ""),
        (Is::Regular, "a/../../evil", ""),
        (Is::Symlink, "l", "/etc"),
        (Is::Symlink, "l", "../.."),
        (Is::Symlink, "a/l", "b/../../.."),
        (Is::Link, "h", "../../etc/passwd"),
        (Is::Char, "device", ""),
        (Is::Fifo, "pipe", ""),
    ] {
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, kind, path, link, b"", 0o644);
        let bytes = tar.into_inner().expect("written");
        let server = serve(move |_| ok(&bytes));
        let outer = sandbox();
        let dir = outer.path().join("inner");
        fs::create_dir(&dir).expect("made");
        let error = fetch(uri(format!("http://{server}/x.tar")), &dir).await.expect_err(path);
        assert!(error.contains(&format!("cannot fetch http://{server}/x.tar: cannot extract it")), "{error}");
        assert!(!outer.path().join("evil").exists());
        assert!(dir.join("l").symlink_metadata().is_err() && dir.join("pipe").symlink_metadata().is_err());
    }
    // Through a link that is fine by itself.
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, Is::Directory, "d/", "", b"", 0o755);
    entry(&mut tar, Is::Symlink, "s", "d", b"", 0o777);
    entry(&mut tar, Is::Regular, "s/file", "", b"x", 0o644);
    let bytes = tar.into_inner().expect("written");
    let server = serve(move |_| ok(&bytes));
    assert!(fetch(uri(format!("http://{server}/x.tar")), sandbox().path()).await.is_err());
}

#[tokio::test]
async fn f76_sizes_are_capped() {
    let bomb = {
        let mut tar = tar::Builder::new(Vec::new());
        entry(&mut tar, tar::EntryType::Regular, "zeros", "", &vec![0; 3 << 20], 0o644);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(&tar.into_inner().expect("written")).expect("written");
        gz.finish().expect("written")
    };
    let server = serve(move |path| match path {
        "/bomb.tgz" => ok(&bomb),
        "/told" => ok(&vec![0; 2 << 20]),
        // Without a length, it is found out on the way.
        _ => [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &vec![0; 2 << 20]].concat(),
    });
    let dir = sandbox();
    let error = fetch(uri(format!("http://{server}/bomb.tgz")), dir.path()).await.expect_err("a bomb");
    assert!(error.contains("more than 1048576 bytes when extracted"), "{error}");
    for path in ["told", "untold"] {
        let error = fetch(uri(format!("http://{server}/{path}")), dir.path()).await.expect_err("too large");
        assert!(error.contains("larger than 1048576 bytes"), "{error}");
    }
}

#[tokio::test]
async fn servers_that_fail_stall_or_loop_are_told_with_the_uri() {
    let server = serve(|path| match path {
        "/missing" => head("404 Not Found", ""),
        "/loop" => head("302 Found", "Location: /loop\r\n"),
        "/metadata" => head("302 Found", "Location: http://169.254.169.254/latest/\r\n"),
        "/file" => head("302 Found", "Location: file:///etc/passwd\r\n"),
        "/moved" => head("302 Found", "Location: /there\r\n"),
        "/there" => ok(b"found"),
        _ => Vec::new(),
    });
    let dir = sandbox();
    for (path, expected) in [
        ("missing", "404"),
        ("loop", "too many redirects"),
        ("metadata", "the address 169.254.169.254 is not allowed"),
        ("file", "302"),
        ("stall", "nothing came for 500ms"),
    ] {
        let value = format!("http://{server}/{path}");
        let error = fetch(uri(value.clone()), dir.path()).await.expect_err(path);
        assert!(error.starts_with(&format!("cannot fetch {value}: ")) && error.contains(expected), "{error}");
    }
    fetch(uri(format!("http://{server}/moved")), dir.path()).await.expect("followed");
    assert_eq!(fs::read(dir.path().join("moved")).expect("there"), b"found");
}

#[tokio::test]
async fn f72_addresses_of_the_link_and_of_metadata_are_not_asked_also_after_a_redirect() {
    let server = serve(|_| head("302 Found", "Location: http://[fe80::1]/latest/\r\n"));
    let dir = sandbox();
    for value in [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/latest",
        "http://100.100.100.200/latest",
        "http://2852039166/latest",
        &format!("http://{server}/moved"),
    ] {
        let error = fetch(uri(value), dir.path()).await.expect_err(value);
        assert!(error.contains("is not allowed"), "{error}");
    }
}

#[tokio::test]
async fn wrong_uris_are_refused() {
    let dir = sandbox();
    for value in [
        "http://169.254.169.254/latest/meta-data",
        "ftp://a/b",
        "relative/path",
        "file://a/b",
        "http://127.0.0.1:1/",
        "/no/such/file",
        "/etc",
    ] {
        let error = fetch(uri(value), dir.path()).await.expect_err(value);
        assert!(error.starts_with(&format!("cannot fetch {value}: ")), "{error}");
    }
    let outside = Uri { output_file: Some("../x".into()), ..uri("/etc/passwd") };
    assert!(fetch(outside, dir.path()).await.expect_err("outside").contains("out of the sandbox"));
}

#[tokio::test]
async fn files_of_the_host_are_copied_if_the_user_may_read_them() {
    let (dir, host) = (sandbox(), sandbox());
    fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let (open, closed) = (host.path().join("open"), host.path().join("closed"));
    for (path, mode) in [(&open, 0o644), (&closed, 0o600)] {
        fs::write(path, "text").expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    }
    fetch(uri(format!("file://{}", open.display())), dir.path()).await.expect("copied");
    assert_eq!(fs::read(dir.path().join("open")).expect("there"), b"text");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let fetcher = Fetcher::new(options()).expect("a client");
    let as_nobody =
        async |path: &Path| fetcher.fetch(&[uri(path.display().to_string())], dir.path(), Some("nobody")).await;
    as_nobody(&open).await.expect("copied");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir.path().join("open")).expect("there"));
    assert_eq!(owner, 65534);
    let error = as_nobody(&closed).await.expect_err("not readable").to_string();
    assert!(error.contains("user nobody may not read it"), "{error}");
}

#[tokio::test]
async fn checks_tell_what_they_found() {
    let server = serve(|path| match path {
        "/ok" => ok(b""),
        "/redirect" => head("302 Found", "Location: /ok\r\n"),
        "/bad" => head("503 Service Unavailable", ""),
        _ => Vec::new(),
    });
    let mock = MockContainerizer::new();
    let command = |value: &str| Command { value: Some(value.into()), shell: true, ..Command::default() };
    let spec =
        ContainerSpec { container_id: "c".into(), command: command("sleep infinity"), ..ContainerSpec::default() };
    mock.launch(spec).await.expect("starts");
    let checker = Checker::new().expect("a client");
    let run = async |check: Check| checker.run(&mock, "c", &check, Duration::from_millis(400)).await;
    let http = |path: &str| Check::Http {
        scheme: "http".into(),
        address: server.ip(),
        port: server.port(),
        path: path.into(),
    };
    assert_eq!(run(http("/ok")).await, Ok(()));
    assert_eq!(run(http("redirect")).await, Ok(()));
    assert!(run(http("/bad")).await.expect_err("503").contains("503"));
    assert!(run(http("/hang")).await.expect_err("hangs").contains("no answer within 400ms"));
    assert_eq!(run(Check::Tcp { address: server.ip(), port: server.port() }).await, Ok(()));
    let closed = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    let error = run(Check::Tcp { address: closed.ip(), port: closed.port() }).await.expect_err("closed");
    assert!(error.contains("cannot connect to 127.0.0.1"), "{error}");
    assert_eq!(run(Check::Command(command("exit 0"))).await, Ok(()));
    assert_eq!(run(Check::Command(command("exit 2"))).await, Err("the command exited with 2".into()));
    assert!(run(Check::Command(command("sleep 60"))).await.expect_err("slow").contains("timed out"));
}
