//! Free ports for servers under test.
//!
//! Asking the kernel for "any port" gives one of its ephemeral range, from which it also takes the source ports of
//! outgoing connections: between asking and the server's bind, or between a worker's kill and its restart, a load
//! client could take it. So ports come from below that range, each tried once, never given twice by one process.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Result, bail};

/// Ports handed out: above the well-known services, below Linux's ephemeral range, which begins at 32,768.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Ports given out so far by this process.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A loopback address with a free port.
///
/// # Errors
/// None is free.
pub fn free() -> Result<SocketAddr> {
    // Programs that run at the same time begin at different places.
    let begin = (std::process::id() * 97 % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (begin + given % COUNT) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port from {FIRST} to {}", FIRST + COUNT - 1)
}
