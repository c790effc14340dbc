//! Takes the addresses of the configuration before anything else starts, so that a port in use is one clear line
//! and not a panic in a serving thread.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::fd::IntoRawFd as _,
    sync::Arc,
    time::Duration,
};

use pingora::server::{Fds, ListenFds};
use socket2::{SockFilter, SockRef};
use tokio::sync::watch;

/// Where the configuration names the client addresses.
const CLIENTS: &str = "gateway.listen";
/// From holding off new connections to closing: longer than the round trip of a client that was half connected.
const LAST_ACCEPTS: Duration = Duration::from_millis(200);

/// An address that is not to be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}): {source}{help}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Where the configuration names it.
    pub key: &'static str,
    /// What the system said.
    pub source: io::Error,
    help: String,
}

impl ListenError {
    fn new(address: SocketAddr, key: &'static str, source: io::Error) -> Self {
        let help = match source.kind() {
            ErrorKind::AddrInUse => format!("; `ss -ltnp 'sport = :{}'` shows who does", address.port()),
            ErrorKind::PermissionDenied => "; ports below 1024 need privileges".to_owned(),
            ErrorKind::AddrNotAvailable => "; no interface of this machine has this address".to_owned(),
            _ => String::new(),
        };
        Self { address, key, source, help }
    }
}

/// Listens on one address.
pub(super) fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).map_err(|source| ListenError::new(address, key, source))
}

/// The client listeners: taken at start, closed once.
pub(super) struct Listeners {
    /// In the form in which pingora takes sockets over.
    pub(super) sockets: ListenFds,
    /// Says true when connections are to be accepted no more.
    pub(super) closing: watch::Receiver<bool>,
    /// What closes them.
    pub(super) doors: Doors,
}

/// Closes the client listeners without turning anybody away who was let in.
pub(super) struct Doors {
    close: watch::Sender<bool>,
    same_sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Listens on every client address.
    pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let mut sockets = Fds::new();
        let mut same_sockets = Vec::new();
        for address in addresses {
            let listener = bind(*address, CLIENTS)?;
            let shared = listener.set_nonblocking(true).and_then(|()| listener.try_clone());
            same_sockets.push(shared.map_err(|source| ListenError::new(*address, CLIENTS, source))?);
            // pingora finds the socket by the text that the listener is added with, and owns it from then on.
            sockets.add(address.to_string(), listener.into_raw_fd());
        }
        let (close, closing) = watch::channel(false);
        let doors = Doors { close, same_sockets };
        Ok(Self { sockets: Arc::new(sockets.into()), closing, doors })
    }
}

impl Doors {
    /// Lets in who is at the door, then closes.
    ///
    /// When a listener closes, the kernel resets connections that it has made and that nobody accepted yet, with the
    /// requests that clients have sent on them. So new connections are held off first: their first packet is
    /// dropped, and when the client repeats it a second later it is told that nobody listens.
    pub(super) async fn close(self) {
        for socket in &self.same_sockets {
            if let Err(error) = SockRef::from(socket).attach_filter(&drop_first_packets()) {
                tracing::warn!(%error, "connections that are just being made may be reset");
            }
        }
        tokio::time::sleep(LAST_ACCEPTS).await;
        self.close.send_replace(true);
    }
}

/// A packet filter (classic BPF, docs.kernel.org/networking/filter.html) over TCP segments: drops those that ask for
/// a new connection, which carry SYN without ACK, and passes all others.
fn drop_first_packets() -> [SockFilter; 5] {
    const FLAGS_OFFSET: u32 = 13; // RFC 9293, section 3.1
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K: the bytes to keep of the packet
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[test]
    fn an_address_in_use_is_named_with_its_key_and_a_way_to_find_the_owner() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, "admin.listen").unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("admin.listen"), "{error}");
        assert!(error.contains(&format!("sport = :{}", address.port())), "{error}");
    }

    #[test]
    fn every_client_address_is_handed_over_under_its_own_text() {
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::bind(&[any]).unwrap();
        assert!(listeners.sockets.lock().get("127.0.0.1:0").is_some());
    }

    #[tokio::test]
    async fn closing_lets_in_who_is_connected_and_keeps_out_who_comes_later() {
        let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let accepting = listeners.doors.same_sockets[0].try_clone().unwrap();
        let address = accepting.local_addr().unwrap();
        let closing = listeners.closing;
        let mut early = TcpStream::connect(address).await.unwrap();
        early.write_all(b"request").await.unwrap();

        let held_off = async {
            // The filter is on from the first poll of `close` on: this packet must go unanswered.
            let late = TcpStream::connect(address);
            tokio::time::timeout(LAST_ACCEPTS / 2, late).await.is_err()
        };
        let (held_off, ()) = tokio::join!(biased; async { tokio::task::yield_now().await; held_off.await }, listeners.doors.close());
        assert!(held_off && *closing.borrow());

        let accepting = tokio::net::TcpListener::from_std(accepting).unwrap();
        let (mut accepted, _) = accepting.accept().await.unwrap();
        let mut request = [0; 7];
        accepted.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"request");
    }
}
