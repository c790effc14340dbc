//! Sessions over a real loopback connection, for tests of what the proxy reads from clients.

use pingora::{protocols::l4::stream::Stream, proxy::Session};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

/// A session whose request header was read, and the client's end of its connection with nothing of a body sent.
pub(super) async fn session(head: &str) -> (Session, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    let mut session = Session::new_h1(Box::new(Stream::from(server)));
    assert!(session.read_request().await.unwrap(), "no request was read");
    (session, client)
}
