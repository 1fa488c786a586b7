//! The few system calls that neither the standard library nor `nix` offers safely.

// Each block is one system call on values that this module owns or was lent for the call, or `fork` in
// the shim, which never has a second thread.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal},
    unistd::ForkResult,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Forks. Only the shim calls this: it is single-threaded, so the child may allocate and lock.
pub(crate) fn fork() -> io::Result<ForkResult> {
    // SAFETY: the process has one thread, so no lock can be held by a thread that the child lacks.
    unsafe { nix::unistd::fork() }.map_err(Into::into)
}

/// A handle on a process that no reuse of its number can redirect.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed; a non-negative answer is a descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}

/// Sends a signal to the process behind a handle.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, and a null siginfo is allowed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as i32,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Watches a descriptor for being readable.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, and so is open for as long as it is watched.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}

/// Gives every signal its default action and empties the mask, as a program expects to find them.
pub(crate) fn reset_signals() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        // SAFETY: the default action runs no code of ours. SIGKILL and SIGSTOP refuse, which is right.
        let _ = unsafe { nix::sys::signal::sigaction(signal, &default) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Marks all descriptors from 3 on to be closed by the next `exec`.
pub(crate) fn close_others_on_exec() {
    // SAFETY: only flags of descriptors change; none is closed while something here still uses it.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
}
