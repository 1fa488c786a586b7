//! How a static binary looks up users and host names.

/// Keeps a static binary to the files in `/etc` and to DNS, which it has built in.
///
/// Whatever else `/etc/nsswitch.conf` names (systemd, sss, mdns …) glibc would load from the host at run time, which
/// only works on a host that has the very glibc that was linked in. So users from a directory service are not known to
/// the static binary by name; `cargo build` makes one that asks the host. Called before anything is looked up.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[allow(unsafe_code)]
pub(crate) fn settle() {
    use std::ffi::{CStr, c_char, c_int};

    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }
    const FROM: [(&CStr, &CStr); 5] = [
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"initgroups", c"files"),
        (c"hosts", c"files dns"),
        (c"services", c"files"),
    ];
    for (database, services) in FROM {
        // SAFETY: both strings end in NUL and live for ever, and glibc copies what it keeps; no other thread is there
        // yet. It fails only for a database that it does not know, which then stays as it was.
        unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
}

/// Any other binary asks what its host is set up to ask.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub(crate) fn settle() {}
