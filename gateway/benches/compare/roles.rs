//! What the benchmark's executable plays when started with a role: the upstream behind every proxy, and the bare
//! pingora proxy that shows what the gateway adds to the library it is built on.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use pingora::{
    modules::http::HttpModules,
    proxy::{ProxyHttp, Session, http_proxy},
    server::{Server, configuration::ServerConf},
    services::listening::Service,
    upstreams::peer::HttpPeer,
};
use weir_protocol::{
    Bytes, Lifecycle, LoadReport,
    load::{DeviceLoad, FORMAT, ReplicaLoad},
};

/// Body of the upstream's answer to an infer request.
const ANSWER: &str = r#"{"model_name":"bench","model_version":"1","outputs":[{"name":"y","datatype":"FP32","shape":[1,4],"data":[0.25,0.5,0.75,1.0]}]}"#;

/// Serves load reports and instant answers, one blocking thread per connection.
pub(crate) fn upstream(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let report = serde_json::to_string(&report()?)?;
    let report: Arc<str> = report.into();
    for stream in listener.incoming() {
        let (stream, report) = (stream?, report.clone());
        // A connection ends in an error whenever its proxy goes away; there is nobody to tell.
        thread::spawn(move || serve(&stream, &report).ok());
    }
    Ok(())
}

fn serve(stream: &TcpStream, report: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(128 * 1024, stream);
    let mut body = Vec::new();
    while let Some((first, length)) = read_head(&mut reader)? {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        let answer = if first.starts_with("GET /v2/load") { report } else { ANSWER };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        (&*stream).write_all([head.as_bytes(), answer.as_bytes()].concat().as_slice())?;
    }
    Ok(())
}

/// The request line and the body's length; `None` at the end of the connection.
fn read_head(reader: &mut impl BufRead) -> Result<Option<(String, usize)>> {
    let (mut first, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(Some((first, length)));
        }
        if first.is_empty() {
            text.clone_into(&mut first);
        } else if let Some((name, value)) = text.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                bail!("the upstream understands Content-Length only");
            }
        }
    }
}

fn report() -> Result<LoadReport> {
    let model = ReplicaLoad {
        id: 1,
        model: "bench".parse()?,
        version: "1".parse()?,
        versioned: true,
        state: Lifecycle::Serving,
        reason: None,
        device: 0,
        size: Bytes(0),
        max_batch_size: 1,
        queued: 0,
        in_flight: 0,
        arrivals: 0,
        estimate: None,
    };
    let device =
        DeviceLoad { id: 0, name: "cpu".to_owned(), total: Bytes::mib(1024), free: Bytes::mib(1024) };
    Ok(LoadReport {
        format: FORMAT,
        worker: "upstream".parse()?,
        epoch: 1,
        seq: 1,
        accepting: true,
        devices: vec![device],
        models: vec![model],
    })
}

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// Runs the least that pingora needs to be a proxy, with one thread.
pub(crate) fn bare_proxy(port: u16, upstream: u16) -> Result<()> {
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = http_proxy(&server.configuration, Bare((Ipv4Addr::LOCALHOST, upstream).into()));
    let mut service = Service::new("bare".to_owned(), proxy);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run(pingora::server::RunArgs::default());
    None.context("the bare proxy stopped")
}
