//! Sessions over a real loopback connection, for tests of what the proxy reads from clients.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pingora::{
    Result,
    apps::{HttpServerOptions, ServerApp as _},
    protocols::l4::stream::Stream,
    proxy::{HttpProxy, ProxyHttp, Session},
    server::configuration::ServerConf,
    upstreams::peer::HttpPeer,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

use crate::task::Tasks;

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

/// What a test does with the session of an HTTP/2 request.
pub(super) type Look<T> = Box<dyn for<'a> FnOnce(&'a mut Session) -> BoxFuture<'a, T> + Send>;

/// Serves one HTTP/2 request by letting a test look at it.
struct Looking<T> {
    look: Mutex<Option<(Look<T>, oneshot::Sender<T>)>>,
}

#[async_trait]
impl<T: Send + 'static> ProxyHttp for Looking<T> {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut ()) -> Result<bool> {
        let (look, seen) = self.look.lock().unwrap().take().expect("one request");
        let found = look(session).await;
        assert!(seen.send(found).is_ok(), "the test has ended");
        session.respond_error(500).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        unreachable!("the request was answered")
    }
}

/// What `look` finds of an HTTP/2 request whose body comes in these pieces, each at least a frame of its own; the body
/// goes on after them unless it `ends`.
pub(super) async fn look_over_h2<T: Send + 'static>(pieces: Vec<Bytes>, ends: bool, look: Look<T>) -> T {
    let tasks = Tasks::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (seen, found) = oneshot::channel();
    let mut proxy =
        HttpProxy::new(Looking { look: Mutex::new(Some((look, seen))) }, Arc::new(ServerConf::default()));
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    proxy.server_options = Some(options);
    tasks.spawn("server", async move {
        let (_stop, shutdown) = watch::channel(false);
        _ = Arc::new(proxy).process_new(Box::new(Stream::from(server)), &shutdown).await;
    });
    let (mut sending, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tasks.spawn("client", async move { _ = connection.await });
    let frames = stream::iter(pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
    let rest = if ends { stream::empty().left_stream() } else { stream::pending().right_stream() };
    let request = Request::post("http://gateway/x").body(StreamBody::new(frames.chain(rest))).unwrap();
    tasks.spawn("request", async move { _ = sending.send_request(request).await });
    found.await.expect("the request was served")
}
