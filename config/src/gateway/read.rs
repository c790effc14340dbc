//! The keys of `gateway.toml`, with their ranges and defaults.
//!
//! Reads everything even after a problem, so that all are told at once; what spans several keys is checked beside
//! the last of them. Called by [`super::GatewayConfig::parse`]; `route` reads `[[route]]`.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, time::Duration};

use weir_protocol::{Bytes, ModelName, WorkerId};

use super::{
    AdminSection, GatewayConfig, GatewaySection, Health, Limits, ModelDoor, ModelSection, PolicyName,
    Timeouts, Worker, WorkerKind, route,
};
use crate::{
    reader::{Item, Read, Table, Unique, version},
    value::{
        Upstream, choice, duration, flag, integer, labels, list, name, positive, secret, size,
        socket_address, upstream, version_labels,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Waits for one event on the network.
const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
/// Anything that is held or streamed, from one byte to a tebibyte.
const BODY: RangeInclusive<Bytes> = Bytes(1)..=Bytes(1 << 40);
/// Most workers that one gateway is built for is 10,000; a weight beyond this is a mistake.
const MAX_WEIGHT: f64 = 1000.0;

/// Reads the root table.
pub(super) fn gateway(root: &mut Table<'_>) -> Read<GatewayConfig> {
    version(root)?;
    let gateway = root.section("gateway", gateway_section);
    let listen = gateway.as_ref().map(|g| g.listen.clone()).unwrap_or_default();
    let admin = root.section("admin", |table| admin_section(table, &listen));
    let limits = root.section("limits", limits);
    let timeouts = root.section("timeouts", timeouts);
    let health = root.section("health", health);
    let workers = workers(root, &listen);
    let models = models(root);
    let door = gateway.as_ref().map_or(ModelDoor::Any, |g| g.models);
    let routes = route::routes(root, door, &models);
    Ok(GatewayConfig {
        gateway: gateway?,
        admin: admin?,
        limits: limits?,
        timeouts: timeouts?,
        health: health?,
        workers,
        routes,
        models,
    })
}

/// `policy = ".."`
pub(super) fn policy(item: &Item<'_>) -> Read<PolicyName> {
    choice(&PolicyName::ALL.map(|policy| (policy.name(), policy)))(item)
}

fn gateway_section(table: &mut Table<'_>) -> Read<GatewaySection> {
    Ok(GatewaySection {
        listen: table.or("listen", vec![SocketAddr::from(([127, 0, 0, 1], 8080))], listeners),
        threads: table.or("threads", table.cores(), integer(1..=1024)),
        policy: table.or("policy", PolicyName::LeastConnections, policy),
        models: table.or(
            "models",
            ModelDoor::Any,
            choice(&[("any", ModelDoor::Any), ("listed", ModelDoor::Listed)]),
        ),
        access_log: table.or("access_log", false, flag),
        drain_timeout: table.or("drain_timeout", 30 * SECOND, duration(Duration::ZERO..=HOUR)),
        drain_delay: table.or("drain_delay", SECOND, duration(Duration::ZERO..=HOUR)),
        worker_token: table.optional("worker_token", secret),
    })
}

fn listeners(item: &Item<'_>) -> Read<Vec<SocketAddr>> {
    let listeners = list(item, 1, "[\"127.0.0.1:8080\"]", socket_address)?;
    for (index, address) in listeners.iter().enumerate() {
        // Port 0 stands for any free port, so it can stand there twice.
        if address.port() != 0 && listeners.iter().take(index).any(|earlier| earlier == address) {
            return Err(item.wrong(format!("{address} stands here twice"), "remove one of the two"));
        }
    }
    Ok(listeners)
}

fn admin_section(table: &mut Table<'_>, clients: &[SocketAddr]) -> Read<AdminSection> {
    let default = SocketAddr::from(([127, 0, 0, 1], 8081));
    let listen = table.or("listen", default, socket_address);
    let token = table.optional("token", secret);
    if !listen.ip().to_canonical().is_loopback() && !table.has("token") {
        let help = "add token = { env = \"WEIR_ADMIN_TOKEN\" } here, or listen on 127.0.0.1".to_owned();
        table.wrong("listen", format!("{listen} is not loopback, and there is no token"), help);
    }
    if listen.port() != 0 && clients.contains(&listen) {
        let help = "give clients and operators a port each".to_owned();
        table.wrong("listen", format!("{listen} is a listener of [gateway] already"), help);
    }
    Ok(AdminSection { listen, token })
}

fn limits(table: &mut Table<'_>) -> Read<Limits> {
    let limits = Limits {
        body_bytes: table.or("body_bytes", Bytes::mib(1024), size(BODY)),
        replay_bytes: table.or("replay_bytes", Bytes::mib(16), size(Bytes(0)..=Bytes::mib(4096))),
        replay_total_bytes: table.or("replay_total_bytes", Bytes::mib(1024), size(Bytes(0)..=*BODY.end())),
        scan_bytes: table.or("scan_bytes", Bytes::mib(1), size(Bytes::kib(1)..=Bytes::mib(64))),
        // pingora's own caps are 1 MiB and 256 fields.
        header_bytes: table.or("header_bytes", Bytes::kib(64), size(Bytes::kib(1)..=Bytes::kib(1023))),
        header_fields: table.or("header_fields", 128, integer(8..=256)),
        in_flight: table.or("in_flight", 16_384, integer(1..=10_000_000)),
        watches: table.or("watches", 1024, integer(1..=10_000_000)),
        attempts: table.or("attempts", 3, integer(1..=10)),
    };
    if limits.replay_bytes > limits.replay_total_bytes {
        let key = if table.has("replay_bytes") { "replay_bytes" } else { "replay_total_bytes" };
        let message = format!(
            "one held body of {} exceeds all held bodies together, {}",
            limits.replay_bytes, limits.replay_total_bytes
        );
        table.wrong(key, message, "set replay_bytes to at most replay_total_bytes".to_owned());
    }
    Ok(limits)
}

fn timeouts(table: &mut Table<'_>) -> Read<Timeouts> {
    Ok(Timeouts {
        connect: table.or("connect", SECOND, duration(WAIT)),
        request: table.or("request", 60 * SECOND, duration(*WAIT.start()..=24 * HOUR)),
        idle: table.or("idle", 30 * SECOND, duration(WAIT)),
        body: table.or("body", 30 * SECOND, duration(WAIT)),
        stream_idle: table.or("stream_idle", 10 * 60 * SECOND, duration(*WAIT.start()..=24 * HOUR)),
        keep_alive: table.or("keep_alive", 75 * SECOND, duration(SECOND..=HOUR)),
    })
}

fn health(table: &mut Table<'_>) -> Read<Health> {
    let least = Duration::from_millis(10);
    Ok(Health {
        interval: table.or("interval", Duration::from_millis(250), duration(least..=HOUR)),
        timeout: table.or("timeout", SECOND, duration(WAIT)),
        unhealthy_after: table.or("unhealthy_after", 2, integer(1..=100)),
        healthy_after: table.or("healthy_after", 2, integer(1..=100)),
    })
}

fn workers(root: &mut Table<'_>, clients: &[SocketAddr]) -> Vec<Worker> {
    let names = Unique::new("a worker named");
    let addresses = Unique::new("a worker at");
    let check = |table: &Table<'_>, key, url: &Upstream| {
        let help = "remove one of the two; weight gives a worker more traffic";
        addresses.check(table, key, &url.address.to_string(), help);
        if clients.iter().any(|listener| reaches(url.address, *listener)) {
            let message = format!("{} is this gateway's own listener", url.address);
            table.wrong(key, message, "write the address of a worker".to_owned());
        }
    };
    root.list("worker", |table, _| {
        let name = table.required("name", "name = \"worker-1\"", name::<WorkerId>());
        let url = table.required("url", "url = \"http://127.0.0.1:9001\"", upstream);
        let kind =
            table.or("kind", WorkerKind::Weir, choice(&WorkerKind::ALL.map(|kind| (kind.name(), kind))));
        let grpc = table.optional("grpc_url", upstream);
        let models = worker_models(table, kind);
        let weight = table.or("weight", 1.0, positive(MAX_WEIGHT));
        let labels = table.or("labels", BTreeMap::new(), labels);
        if let Ok(name) = &name {
            names.check(table, "name", name.as_str(), "give each worker a name of its own");
        }
        let url = url.inspect(|url| check(table, "url", url))?;
        if let Some(grpc) = grpc.as_ref().filter(|grpc| grpc.address != url.address) {
            check(table, "grpc_url", grpc);
        }
        // Others listen for gRPC on a port of their own: a call at `url` would only fail there.
        let grpc = grpc.or_else(|| (kind == WorkerKind::Weir).then(|| url.clone()));
        Ok(Worker {
            name: name?,
            address: url.address,
            authority: url.authority,
            kind,
            grpc,
            models,
            weight,
            labels,
        })
    })
}

/// `models = [..]`: only a foreign worker may need to be told.
fn worker_models(table: &mut Table<'_>, kind: WorkerKind) -> Vec<ModelName> {
    let read = |item: &Item<'_>| list(item, 1, "[\"digits\"]", name::<ModelName>());
    let models = table.or("models", Vec::new(), read);
    if kind == WorkerKind::Weir && table.has("models") {
        let help = "remove it, or add kind = \"oip\" if this is no Weir worker".to_owned();
        table.wrong("models", "a Weir worker says itself what it serves".to_owned(), help);
    }
    models
}

/// Whether connecting to `address` would reach what listens on `listener`.
fn reaches(address: SocketAddr, listener: SocketAddr) -> bool {
    let everywhere = listener.ip().is_unspecified() && address.ip().is_loopback();
    address.port() == listener.port() && (everywhere || address.ip() == listener.ip().to_canonical())
}

fn models(root: &mut Table<'_>) -> BTreeMap<ModelName, ModelSection> {
    let names = Unique::new("a model named");
    let read = root.list("model", |table, _| {
        let name = table.required("name", "name = \"digits\"", name::<ModelName>());
        let policy = table.optional("policy", policy);
        let version_labels = table.or("version_labels", BTreeMap::new(), version_labels);
        let name = name?;
        names.check(table, "name", name.as_str(), "keep one [[model]] for each name");
        Ok((name, ModelSection { policy, version_labels }))
    });
    read.into_iter().collect()
}
