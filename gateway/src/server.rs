//! Puts the parts together and runs them until a stop signal: the only place that knows all of them.
//!
//! Two runtimes: one of `[gateway] threads` that only serves clients, and a small one for the rest (the registry's
//! writer, probes, reload, admin), so that neither can starve the other. pingora's own `Server` is not used: it would
//! close listeners and cut connections on a fixed schedule, where a stop here waits for what is open
//! ([`crate::shutdown`]). Called by `main` with a checked configuration.

mod app;
mod listen;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use pingora::{
    apps::HttpServerOptions,
    listeners::ListenerConfig,
    protocols::{
        http::v2::server::{H2Options, default_h2_options},
        l4::stream::L4BufferSettings,
    },
    proxy::http_proxy,
    server::configuration::ServerConf,
    services::{Service as _, listening::Service},
};
use tokio::runtime::Runtime;
use weir_config::GatewayConfig;

pub use self::listen::ListenError;
use self::{
    app::App,
    listen::{Doors, Listeners, bind},
};
use crate::{
    admin::{self, Admin},
    fleet::Fleet,
    probe,
    proxy::Proxy,
    registry::Registry,
    registry::Writer,
    reload::{Loaded, Reload, Reloader},
    shutdown::{self, StopSignals, Stopped},
    task::Tasks,
    telemetry::Telemetry,
};

/// Threads beside the serving ones: two, so that a long `/metrics` page does not hold up probes.
const CONTROL_THREADS: usize = 2;
/// How long tasks and connections may take to end once nothing is open any more.
const LAST_GRACE: Duration = Duration::from_millis(500);
/// How often recorded durations are folded into histograms; at 20,000 requests/s about 2 MB pile up meanwhile.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Idle connections to workers kept per serving thread.
const UPSTREAM_IDLE_CONNECTIONS: usize = 1024;
/// Requests after which a client's connection is closed, so that its memory comes back and clients spread anew.
const REQUESTS_PER_CONNECTION: u32 = 100_000;
/// Read and write buffer of a client's connection: 42 KB per idle one instead of 97 KB with pingora's default.
const CONNECTION_BUFFER_BYTES: usize = 8 << 10;
/// What a client may send ahead on one HTTP/2 stream: with HTTP/2's own 64 KiB a message of megabytes would crawl, one
/// round trip for every 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for all streams of a connection together; bounds what one connection makes the gateway hold unread.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Calls at a time on one HTTP/2 connection; gRPC clients put all of theirs on one.
const STREAMS_PER_CONNECTION: u32 = 1024;
/// pingora's own bound on attempts: the largest `[limits] attempts`. The proxy counts by the current configuration.
const MAX_ATTEMPTS: usize = 10;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system refuses threads, signals or timers.
    #[error("cannot start {what}: {source}")]
    System {
        /// What was being started.
        what: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The metrics exporter refuses its settings.
    #[error("cannot start metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

impl StartError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Serves until SIGTERM or SIGINT, then stops in order. `file` is watched for changes.
///
/// # Errors
/// [`StartError`], before anything is served.
pub fn run(file: PathBuf, loaded: Loaded) -> Result<(), StartError> {
    let config = Arc::clone(&loaded.config);
    let Listeners { sockets, closing, doors } = Listeners::bind(&config.gateway.listen)?;
    let admin_listener = bind(config.admin.listen, "admin.listen")?;
    let telemetry = Arc::new(Telemetry::new()?);
    let control = runtime("weir-control", CONTROL_THREADS)?;
    let serving = runtime("weir-serve", config.gateway.threads)?;

    let (registry, writer) = Registry::new(Arc::clone(&config), telemetry);
    let (reload, reloader) = Reload::new(file, loaded, Arc::clone(&registry));
    let tasks = Tasks::new();
    let token = config.admin.token.clone();
    let fleet = Arc::new(Fleet::new(Arc::clone(&registry), tasks.clone(), control.handle().clone()));
    let proxy = Proxy::new(Arc::clone(&registry), Arc::clone(&fleet));
    let admin =
        Arc::new(Admin { registry: Arc::clone(&registry), fleet, reload, tasks: tasks.clone(), token });

    let mut service = service(proxy, &config);
    serving.spawn(async move { service.start_service(Some(sockets), closing, 1).await });
    let stopped = control.block_on(async {
        let mut signals = StopSignals::new().map_err(StartError::system("signal handling"))?;
        start_tasks(&registry, &tasks, writer, reloader);
        start_admin(admin_listener, admin, &tasks);
        started(&config);
        Ok::<_, StartError>(until_stopped(&registry, doors, &mut signals, &tasks).await)
    })?;
    serving.shutdown_timeout(LAST_GRACE);
    control.shutdown_timeout(LAST_GRACE);
    tracing::info!(outcome = ?stopped, "stopped");
    Ok(())
}

fn runtime(name: &'static str, threads: usize) -> Result<Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all();
    builder.build().map_err(StartError::system(name))
}

fn started(config: &GatewayConfig) {
    tracing::info!(
        listen = ?config.gateway.listen,
        admin = %config.admin.listen,
        generation = 1,
        workers = config.workers.len(),
        version = env!("CARGO_PKG_VERSION"),
        "weir-gateway is serving"
    );
}

/// The listening service over the proxy.
fn service(proxy: Proxy, config: &GatewayConfig) -> Service<App> {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
    options.h2_idle_timeout = Some(config.timeouts.keep_alive);
    let mut proxy = http_proxy(&Arc::new(server_conf(config)), proxy);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(h2_options(config));
    let mut service = Service::new("clients".to_owned(), App(Arc::new(proxy)));
    let buffers = L4BufferSettings::new(CONNECTION_BUFFER_BYTES, CONNECTION_BUFFER_BYTES);
    for address in &config.gateway.listen {
        service.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffers));
    }
    service
}

/// How clients may use an HTTP/2 connection.
fn h2_options(config: &GatewayConfig) -> H2Options {
    let mut options = default_h2_options();
    options.initial_window_size(STREAM_WINDOW_BYTES).initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    options.max_concurrent_streams(STREAMS_PER_CONNECTION);
    // HTTP/2 counts 32 bytes more for each field than the limit does, which is checked later with an answer that says so.
    let fields = u32::try_from(config.limits.header_fields).unwrap_or(u32::MAX);
    let header = u32::try_from(config.limits.header_bytes.0).unwrap_or(u32::MAX);
    options.max_header_list_size(header.saturating_add(fields.saturating_mul(32)));
    options
}

/// The part of pingora's settings that outlives its `Server`.
fn server_conf(config: &GatewayConfig) -> ServerConf {
    ServerConf {
        threads: config.gateway.threads,
        max_retries: MAX_ATTEMPTS,
        upstream_keepalive_pool_size: UPSTREAM_IDLE_CONNECTIONS,
        ..ServerConf::default()
    }
}

fn start_tasks(registry: &Arc<Registry>, tasks: &Tasks, writer: Writer, reloader: Reloader) {
    tasks.spawn("registry", writer.run(tasks.stop_signal()));
    tasks.spawn("probes", probe::run(Arc::clone(registry), tasks.clone()));
    tasks.spawn("reload", reloader.run(tasks.stop_signal()));
    tasks.spawn("upkeep", upkeep(Arc::clone(registry), tasks.clone()));
}

fn start_admin(listener: std::net::TcpListener, admin: Arc<Admin>, tasks: &Tasks) {
    let stop = tasks.stop_signal();
    tasks.spawn("admin", async move {
        if let Err(error) = admin::serve(listener, admin, stop).await {
            tracing::error!(%error, "the admin listener has ended");
        }
    });
}

async fn upkeep(registry: Arc<Registry>, tasks: Tasks) {
    let stop = tasks.stop_signal();
    let mut tick = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => registry.telemetry().upkeep(),
        }
    }
}

/// Waits for a stop signal and then until stopping is done, or a second signal cuts it short.
async fn until_stopped(
    registry: &Registry,
    doors: Doors,
    signals: &mut StopSignals,
    tasks: &Tasks,
) -> Stopped {
    let signal = signals.next().await;
    tracing::info!(signal, "stop asked for");
    let stopped = tokio::select! {
        stopped = shutdown::drain(registry, doors.close()) => stopped,
        _ = signals.next() => Stopped::Cut(registry.open_requests()),
    };
    match stopped {
        Stopped::Idle => {}
        Stopped::TimedOut(open) | Stopped::Cut(open) => {
            tracing::warn!(open, "stopping with requests still open; they are cut");
        }
    }
    tasks.finish(LAST_GRACE).await;
    stopped
}
