//! Bad `worker.toml` files and exactly what is told about each; good ones and what they mean.

use super::*;
use crate::{
    reader::tests::assert_problems,
    tests::fake::{FOLDER, Fake},
};

/// Parses what follows a `[worker]` table with its two required keys, which ends in line 4.
fn parse(rest: &str) -> Result<WorkerConfig, Problems> {
    let text = format!("version = 1\n[worker]\nname = \"w\"\nrepository = \"models\"\n{rest}");
    WorkerConfig::parse_in(&text, &Path::new(FOLDER).join("worker.toml"), &Fake)
}

#[test]
fn every_problem_is_told_with_its_place_and_what_to_write() {
    for (rest, expected) in [
        ("lissen = \"127.0.0.1:1\"", "5:1 worker.lissen ~ did you mean `listen`?"),
        ("listen = \"localhost:1\"", "5:10 worker.listen ~ \"127.0.0.1:8080\""),
        ("threads = 0", "5:11 worker.threads ~ from 1 to 1024"),
        ("drain_timeout = \"1 week\"", "5:17 worker.drain_timeout ~ from 0s to 1h"),
        ("control = \"yes\"", "5:11 worker.control ~ write true or false"),
        ("[gateway]\ntrusted = \"10.0.0.0/8\"", "6:11 gateway.trusted ~ [\"127.0.0.0/8\"]"),
        ("[gateway]\ntrusted = [\"10.0.0.1\"]", "6:12 gateway.trusted[0] ~ \"10.1.2.3/32\""),
        ("[gateway]\ntoken = \"abc\"", "6:9 gateway.token ~ write { env = "),
        ("[limits]\nbody_bytes = \"5 GiB\"", "6:14 limits.body_bytes ~ at least body_bytes"),
        ("[limits]\nbody_total_bytes = \"1 MiB\"", "6:20 limits.body_total_bytes ~ at least body_bytes"),
        ("[limits]\ninflate_factor = 0", "6:18 limits.inflate_factor ~ from 1 to 1100"),
        ("[limits]\njson_depth = 129", "6:14 limits.json_depth ~ from 1 to 128"),
        ("[limits]\nbody_timeout = \"0s\"", "6:16 limits.body_timeout ~ from 1ms to 1h"),
        ("[limits]\nstream_window = 0", "6:17 limits.stream_window ~ from 1 to 65536"),
        ("[cpu]\nmemory = \"8\"", "6:10 cpu.memory ~ such as \"16 MiB\""),
        ("[cpu]\nintra_op_threads = 0", "6:20 cpu.intra_op_threads ~ from 1 to 1024"),
        ("[cpu]\nlanes = 0", "6:9 cpu.lanes ~ from 1 to 1024"),
        ("[cpu]\nturn_order = \"fifo\"", "6:14 cpu.turn_order ~ known here: arrival, slo"),
        ("[gpu]", "5:2 gpu ~ known here: version, worker, gateway, limits, cpu"),
    ] {
        assert_problems(parse(rest), rest, &[expected]);
    }
}

#[test]
fn name_and_repository_must_be_given() {
    let parse = |text: &str| WorkerConfig::parse_in(text, Path::new("worker.toml"), &Fake);
    let text = "version = 1";
    assert_problems(
        parse(text),
        text,
        &[
            "1:1 worker.name ~ add name = \"worker-1\" below [worker]",
            "1:1 worker.repository ~ add repository = \"models\" below [worker]",
        ],
    );
    let text = "version = 1\n[worker]\nname = \"a b\"\nrepository = \"\"";
    assert_problems(
        parse(text),
        text,
        &[
            "3:8 worker.name ~ use 1 to 128 of",
            "4:14 worker.repository ~ relative to this file's folder or absolute",
        ],
    );
}

#[test]
fn paths_and_secrets_start_at_the_folder_of_the_file() {
    let config = parse("[gateway]\ntoken = { file = \"admin.token\" }").unwrap();
    assert_eq!(config.worker.repository, Path::new("/etc/weir/models"));
    assert_eq!(config.gateway.token.unwrap().reveal(), "admin-secret");
    let config = parse("[gateway]\ntoken = { file = \"/run/secrets/token\" }").unwrap();
    assert_eq!(config.gateway.token.unwrap().reveal(), "admin-secret");
}

#[test]
fn networks_are_cut_to_their_prefix() {
    let config = parse("[gateway]\ntrusted = [\"10.1.2.3/8\", \"fd00::1/64\"]").unwrap();
    assert_eq!(
        config.gateway.trusted,
        ["10.0.0.0/8".parse::<IpNet>().unwrap(), "fd00::/64".parse().unwrap()]
    );
    assert_eq!(parse("[gateway]\ntrusted = []").unwrap().gateway.trusted, []);
}

#[test]
fn without_keys_a_worker_has_the_defaults_that_its_types_state() {
    let config = parse("").unwrap();
    assert_eq!(config.worker.listen, "127.0.0.1:9001".parse().unwrap());
    assert_eq!(config.worker.threads, 2, "8 cores, 1 thread for 4");
    assert_eq!(config.gateway.trusted, ["127.0.0.0/8".parse::<IpNet>().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(
        config.cpu,
        CpuSection { intra_op_threads: 1, lanes: 8, turn_order: TurnOrder::Arrival, memory: None }
    );
}

#[test]
fn lanes_share_the_cores_that_passes_leave() {
    let lanes = |keys: &str| parse(&format!("[cpu]\n{keys}")).unwrap().cpu.lanes;
    assert_eq!(lanes("intra_op_threads = 3"), 2, "8 cores");
    assert_eq!(lanes("intra_op_threads = 16"), 1);
    assert_eq!(lanes("intra_op_threads = 16\nlanes = 4"), 4);
    assert_eq!(parse("[cpu]\nturn_order = \"slo\"").unwrap().cpu.turn_order, TurnOrder::Slo);
}
