//! The keys of `worker.toml`, with their ranges and defaults.
//!
//! Reads everything even after a problem, so that all are told at once. Called by [`super::WorkerConfig::parse`].

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use weir_protocol::{Bytes, WorkerId};

use super::{CpuSection, TrustSection, TurnOrder, WorkerConfig, WorkerLimits, WorkerSection};
use crate::{
    reader::{Read, Table, version},
    value::{choice, duration, flag, integer, list, name, network, path, secret, size, socket_address},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Above what deflate can do, so that the largest value is no limit.
const MAX_DEFLATE_FACTOR: i64 = 1100;
/// Cores that one thread of the HTTP front keeps company, when `threads` is not set.
const CORES_PER_FRONT_THREAD: usize = 4;

/// Reads the root table.
pub(super) fn worker(root: &mut Table<'_>) -> Read<WorkerConfig> {
    version(root)?;
    let worker = root.section("worker", worker_section);
    let gateway = root.section("gateway", trust_section);
    let limits = root.section("limits", limits);
    let cpu = root.section("cpu", cpu);
    Ok(WorkerConfig { worker: worker?, gateway: gateway?, limits: limits?, cpu: cpu? })
}

fn worker_section(table: &mut Table<'_>) -> Read<WorkerSection> {
    let name = table.required("name", "name = \"worker-1\" below [worker]", name::<WorkerId>());
    let listen = table.or("listen", SocketAddr::from(([127, 0, 0, 1], 9001)), socket_address);
    let repository = table.required("repository", "repository = \"models\" below [worker]", path);
    let threads = (table.cores() / CORES_PER_FRONT_THREAD).max(1);
    let threads = table.or("threads", threads, integer(1..=1024));
    let drain_timeout = table.or("drain_timeout", Duration::from_secs(30), duration(Duration::ZERO..=HOUR));
    let control = table.or("control", false, flag);
    Ok(WorkerSection { name: name?, listen, repository: repository?, threads, drain_timeout, control })
}

fn trust_section(table: &mut Table<'_>) -> Read<TrustSection> {
    let loopback = || {
        let four = ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8);
        let six = ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);
        vec![IpNet::from(four), IpNet::from(six)]
    };
    Ok(TrustSection {
        trusted: table
            .optional("trusted", |item| list(item, 0, "[\"127.0.0.0/8\"]", network))
            .unwrap_or_else(loopback),
        token: table.optional("token", secret),
    })
}

fn limits(table: &mut Table<'_>) -> Read<WorkerLimits> {
    let silence = Duration::from_millis(1)..=HOUR;
    let body = Bytes(1)..=Bytes(1 << 40);
    let limits = WorkerLimits {
        body_bytes: table.or("body_bytes", Bytes::mib(1024), size(body.clone())),
        body_total_bytes: table.or("body_total_bytes", Bytes::mib(4 * 1024), size(body)),
        inflate_factor: table.or("inflate_factor", 100, integer(1..=MAX_DEFLATE_FACTOR)),
        json_depth: table.or("json_depth", 32, integer(1..=128)),
        body_timeout: table.or("body_timeout", Duration::from_secs(30), duration(silence)),
        in_flight: table.or("in_flight", 65_536, integer(1..=10_000_000)),
        stream_window: table.or("stream_window", 32, integer(1..=65_536)),
    };
    if limits.body_total_bytes < limits.body_bytes {
        let key = if table.has("body_total_bytes") { "body_total_bytes" } else { "body_bytes" };
        let (one, all) = (limits.body_bytes, limits.body_total_bytes);
        let message = format!("one body may have {one}, all of them together {all}");
        table.wrong(key, message, "set body_total_bytes to at least body_bytes".to_owned());
    }
    Ok(limits)
}

fn cpu(table: &mut Table<'_>) -> Read<CpuSection> {
    let intra_op_threads = table.or("intra_op_threads", 1, integer(1..=1024));
    let lanes = (table.cores() / intra_op_threads).max(1);
    let orders = [("arrival", TurnOrder::Arrival), ("slo", TurnOrder::Slo)];
    Ok(CpuSection {
        intra_op_threads,
        lanes: table.or("lanes", lanes, integer(1..=1024)),
        turn_order: table.or("turn_order", TurnOrder::Arrival, choice(&orders)),
        memory: table.optional("memory", size(Bytes::mib(1)..=Bytes(1 << 50))),
    })
}
