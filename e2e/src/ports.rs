//! Free ports that stay free while a service is down.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use anyhow::{Result, bail};

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those
/// takes the port of a service while a test has it killed.
const RANGE: std::ops::Range<u16> = 18_000..31_000;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A loopback port on which nothing listens and which no other call in this process was given.
pub fn free() -> Result<u16> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let width = RANGE.end - RANGE.start;
    // Test processes that run side by side start their search at different places.
    let start = u16::try_from(std::process::id() % u32::from(width)).unwrap_or(0);
    for offset in 0..width {
        let port = RANGE.start + (start + offset) % width;
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port in {RANGE:?}")
}
