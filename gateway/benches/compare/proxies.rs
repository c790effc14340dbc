//! Starts what is compared: each proxy with one thread, in front of the same upstream.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::process::Process;

/// Name of the bare pingora proxy in the table.
pub(crate) const BARE: &str = "bare pingora";

/// A proxy under measurement.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) process: Process,
}

/// Starts the upstream; answers its port and the process.
pub(crate) fn start_upstream() -> Result<(u16, Process)> {
    let port = free_port()?;
    let process = Process::start(Command::new(env::current_exe()?).args(["upstream", &port.to_string()]))?;
    wait_for(port).context("upstream")?;
    Ok((port, process))
}

/// Starts every proxy that this machine has.
pub(crate) fn start_all(upstream: u16, folder: &Path) -> Result<Vec<Proxy>> {
    let mut proxies = vec![weir(upstream, folder)?, bare(upstream)?];
    for (name, program, start) in [
        ("nginx", env::var("NGINX").unwrap_or_else(|_| "nginx".into()), nginx as Start),
        ("Envoy", env::var("ENVOY").unwrap_or_else(|_| "envoy".into()), envoy as Start),
    ] {
        if Command::new(&program).arg("--version").output().is_err()
            && Command::new(&program).arg("-v").output().is_err()
        {
            eprintln!("{name}: left out, `{program}` is not there");
            continue;
        }
        proxies.push(start(&program, upstream, folder)?);
    }
    Ok(proxies)
}

type Start = fn(&str, u16, &Path) -> Result<Proxy>;

fn weir(upstream: u16, folder: &Path) -> Result<Proxy> {
    let (port, admin) = (free_port()?, free_port()?);
    let file = folder.join("gateway.toml");
    let text = format!(
        "version = 1\n[gateway]\nlisten = [\"127.0.0.1:{port}\"]\nthreads = 1\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [[worker]]\nname = \"upstream\"\nurl = \"http://127.0.0.1:{upstream}\"\n"
    );
    fs::write(&file, text)?;
    let process =
        Process::start(Command::new(env!("CARGO_BIN_EXE_weir-gateway")).arg("--config").arg(&file))?;
    wait_for(admin)?;
    wait_until_ready(port)?;
    Ok(Proxy { name: "Weir", port, process })
}

fn bare(upstream: u16) -> Result<Proxy> {
    let port = free_port()?;
    let args = ["bare-proxy", &port.to_string(), &upstream.to_string()].map(ToOwned::to_owned);
    let process = Process::start(Command::new(env::current_exe()?).args(args))?;
    wait_for(port)?;
    Ok(Proxy { name: BARE, port, process })
}

fn nginx(program: &str, upstream: u16, folder: &Path) -> Result<Proxy> {
    let port = free_port()?;
    let file = folder.join("nginx.conf");
    let at = folder.display();
    let text = format!(
        "worker_processes 1; master_process off; daemon off; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_max_body_size 0; client_body_buffer_size 256k; client_body_temp_path {at}/body;\n\
         proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
         upstream workers {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000; location / {{ proxy_pass http://workers;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    fs::write(&file, text)?;
    let process = Process::start(Command::new(program).arg("-c").arg(&file))?;
    wait_for(port)?;
    Ok(Proxy { name: "nginx", port, process })
}

fn envoy(program: &str, upstream: u16, folder: &Path) -> Result<Proxy> {
    let port = free_port()?;
    let file = folder.join("envoy.yaml");
    let address = |port: u16| format!("{{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}");
    let router = "{ name: router, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true } }";
    let text = format!(
        "static_resources:\n  listeners:\n  - address: {}\n    filter_chains:\n    - filters:\n      - name: hcm\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          stat_prefix: in\n          generate_request_id: false\n          http_filters: [{router}]\n          route_config: {{ virtual_hosts: [{{ name: all, domains: ['*'], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: workers }} }}] }}] }}\n  clusters:\n  - name: workers\n    connect_timeout: 1s\n    load_assignment: {{ cluster_name: workers, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {} }} }}] }}] }}\n",
        address(port),
        address(upstream),
    );
    fs::write(&file, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args([
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--use-dynamic-base-id",
    ]);
    let process = Process::start(&mut command)?;
    wait_for(port)?;
    Ok(Proxy { name: "Envoy", port, process })
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits up to 20 s for something to listen.
fn wait_for(port: u16) -> Result<()> {
    poll(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        .with_context(|| format!("nothing listens on port {port}"))
}

/// Waits up to 20 s for the gateway to have learned of the upstream's model.
fn wait_until_ready(port: u16) -> Result<()> {
    use std::io::{Read, Write};
    poll(|| {
        let mut answer = String::new();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok_and(|mut stream| {
            let request = "GET /v2/models/bench/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).is_ok() && stream.read_to_string(&mut answer).is_ok()
        }) && answer.starts_with("HTTP/1.1 200")
    })
    .context("the gateway did not become ready")
}

fn poll(mut done: impl FnMut() -> bool) -> Result<()> {
    for _ in 0..400 {
        if done() {
            return Ok(());
        }
        #[expect(clippy::disallowed_methods, reason = "a foreign process has no event to wait for")]
        thread::sleep(Duration::from_millis(50));
    }
    bail!("gave up after 20 s")
}
