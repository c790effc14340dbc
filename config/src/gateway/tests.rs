//! Bad `gateway.toml` files and exactly what is told about each; good ones and what they mean.

use std::{path::Path, time::Duration};

use weir_protocol::Bytes;

use super::*;
use crate::{
    reader::tests::assert_problems,
    tests::fake::{FOLDER, Fake},
};

fn parse(text: &str) -> Result<GatewayConfig, Problems> {
    GatewayConfig::parse_in(text, &Path::new(FOLDER).join("gateway.toml"), &Fake)
}

/// Parses what follows `version = 1`, which is line 1.
fn parse_v1(text: &str) -> Result<GatewayConfig, Problems> {
    parse(&format!("version = 1\n{text}"))
}

#[track_caller]
fn assert_all(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_problems(parse_v1(text), text, expected);
    }
}

#[test]
fn a_file_with_many_mistakes_has_them_all_told_at_once() {
    let text = r#"version = 1

[gateway]
listen = ["127.0.0.1:80800"]
threds = 2
policy = "round_robbin"

[health]
interval = "250 parsecs"
timeout = 2s

[[worker]]
name = "a"
url = "http://127.0.0.1:9001"

[[worker]]
name = "a"
url = "127.0.0.1:9002"
weight = 0

[[worker]]
name = "b"
url = "http://127.0.0.1:9001"
lables = { zone = "x" }

[[route]]
to = { }
"#;
    assert_problems(
        parse(text),
        text,
        &[
            "4:11 gateway.listen[0] ~ \"127.0.0.1:8080\"",
            "5:1 gateway.threds ~ did you mean `threads`?",
            "6:10 gateway.policy ~ did you mean `round_robin`?",
            "9:12 health.interval ~ write a duration such as \"250ms\", from 10ms to 1h",
            "10:11  ~ put text in quotes",
            "17:8 worker[1].name ~ give each worker a name of its own",
            "18:7 worker[1].url ~ write http://host:port",
            "19:10 worker[1].weight ~ write a number above 0 and up to 1000",
            "23:7 worker[2].url ~ remove one of the two",
            "24:1 worker[2].lables ~ did you mean `labels`?",
            "27:6 route[0].to ~ set at least one of model, version and labels",
        ],
    );
}

#[test]
fn a_duplicate_names_the_line_of_the_first() {
    let text = "[[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\n\
                [[worker]]\nname = \"a\"\nurl = \"http://localhost:1\"\n\
                [[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\n";
    let problems = parse_v1(text).unwrap_err().list;
    let messages: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a worker named `a` stands already in line 3",
            "a worker at `127.0.0.1:1` stands already in line 4",
            "a worker named `a` stands already in line 3",
            "a worker at `127.0.0.1:1` stands already in line 4",
        ]
    );
    let one_line = "worker = [{ name = \"a\", url = \"http://127.0.0.1:1\" }, { name = \"a\", url = \"http://127.0.0.1:2\" }]";
    assert_problems(parse_v1(one_line), one_line, &["2:64 worker[1].name ~ name of its own"]);
}

#[test]
fn the_version_comes_first_and_is_one() {
    let help = "begin the file with version = 1";
    for (text, place) in [
        ("", "1:1 version"),
        ("[gateway]\nthreads = 1", "1:1 version"),
        ("version = \"1\"", "1:11 version"),
        ("gateway.threads = 1\nversion = 1", "2:11 version"),
    ] {
        assert_problems(parse(text), text, &[&format!("{place} ~ {help}")]);
    }
    // What another version means is not known, so nothing else is judged.
    let text = "version = 2\nnew_key = 1\n[gateway]\nthreads = 0";
    assert_problems(parse(text), text, &["1:11 version ~ write version = 1"]);
}

#[test]
fn wrong_types_and_ranges_say_what_to_write() {
    assert_all(&[
        ("[gateway]\nthreads = 0", &["3:11 gateway.threads ~ from 1 to 1024"]),
        ("[gateway]\nthreads = \"4\"", &["3:11 gateway.threads ~ from 1 to 1024"]),
        ("[gateway]\nthreads = 99999999999999999999", &["3:11 gateway.threads ~ from 1 to 1024"]),
        ("[gateway]\naccess_log = \"yes\"", &["3:14 gateway.access_log ~ true or false"]),
        ("[gateway]\nmodels = \"all\"", &["3:10 gateway.models ~ known here: any, listed"]),
        ("[gateway]\npolicy = 1", &["3:10 gateway.policy ~ \"round_robin\", \"least_connections\""]),
        ("[gateway]\ndrain_delay = 5", &["3:15 gateway.drain_delay ~ such as \"250ms\", from 0s to 1h"]),
        ("[gateway]\ndrain_delay = \"2h\"", &["3:15 gateway.drain_delay ~ from 0s to 1h"]),
        ("[gateway]\ndrain_delay = \"\"", &["3:15 gateway.drain_delay ~ from 0s to 1h"]),
        ("[limits]\nbody_bytes = 1024", &["3:14 limits.body_bytes ~ write a size such as \"16 MiB\""]),
        ("[limits]\nbody_bytes = \"1024\"", &["3:14 limits.body_bytes ~ write a size such as \"16 MiB\""]),
        ("[limits]\nbody_bytes = \"1 GIB B\"", &["3:14 limits.body_bytes ~ from 1 B to 1.0 TiB"]),
        ("[limits]\nbody_bytes = \"0 B\"", &["3:14 limits.body_bytes ~ from 1 B to 1.0 TiB"]),
        ("[limits]\nattempts = 11", &["3:12 limits.attempts ~ from 1 to 10"]),
        ("[limits]\nattempts = 1.5", &["3:12 limits.attempts ~ from 1 to 10"]),
        ("[timeouts]\nrequest = 1979-05-27", &["3:11 timeouts.request ~ such as \"250ms\""]),
        ("[health]\nunhealthy_after = -1", &["3:19 health.unhealthy_after ~ from 1 to 100"]),
        ("gateway = 1", &["2:11 gateway ~ write [gateway] on a line of its own"]),
        ("[worker]\nname = \"a\"", &["2:1 worker ~ write [[worker]]"]),
        ("worker = [1]", &["2:11 worker[0] ~ write [[worker]]"]),
        ("[[worker]]", &["2:1 worker[0].name ~ add name = ", "2:1 worker[0].url ~ add url = "]),
    ]);
}

#[test]
fn a_message_does_not_repeat_more_than_a_glimpse_of_a_value() {
    let digits = "9".repeat(10_000);
    for line in [
        format!("[gateway]\nthreads = {digits}"),
        format!("[health]\ninterval = \"{digits}\""),
        format!("[[worker]]\nname = \"{digits}\"\nurl = \"http://{digits}:1\"\nweight = {digits}.0"),
        format!(
            "[[route]]\nto = {{ version = 1 }}\nmatch = {{ host = \":{digits}\", model = \"[{digits}\" }}"
        ),
    ] {
        for problem in parse_v1(&line).unwrap_err().list {
            assert!(problem.message.len() + problem.help.len() < 300, "{problem:?}");
        }
    }
}

#[test]
fn unknown_keys_are_found_at_every_depth() {
    assert_all(&[
        ("[gatway]\nlisten = []", &["2:2 gatway ~ did you mean `gateway`?"]),
        ("[gateway]\n\"a b\" = 1", &["3:1 gateway.\"a b\" ~ known here: listen, threads"]),
        (
            "[limits]\nbody_byte = 1\nattempt = 2",
            &[
                "3:1 limits.body_byte ~ did you mean `body_bytes`?",
                "4:1 limits.attempt ~ did you mean `attempts`?",
            ],
        ),
        (
            "[[route]]\nto = { modle = \"a\", version = 1 }",
            &["3:8 route[0].to.modle ~ did you mean `model`?"],
        ),
        (
            "[[route]]\nmatch = { header = { nam = \"x\" } }\nto = { version = 1 }",
            &[
                "3:20 route[0].match.header.name ~ add name = ",
                "3:22 route[0].match.header.nam ~ did you mean `name`?",
            ],
        ),
    ]);
}

#[test]
fn listeners_and_worker_addresses_are_checked() {
    let worker = |url: &str| format!("[[worker]]\nname = \"a\"\nurl = \"{url}\"");
    for url in [
        "",
        "127.0.0.1:9001",
        "http://",
        "http://127.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:+80",
        "http://127.0.0.300:80",
        "http://127.1:80",
        "http://host:80/path",
        "http://user@host:80",
        "http://:80",
        "http://a..b:80",
        "http://[::1:80",
        "http://empty:80",
        "https://127.0.0.1:80",
    ] {
        assert_problems(parse_v1(&worker(url)), url, &["4:7 worker[0].url ~ write http://host:port"]);
    }
    let url = "http://nowhere:80";
    assert_problems(parse_v1(&worker(url)), url, &["4:7 worker[0].url ~ check the name"]);
    let loops =
        "[gateway]\nlisten = [\"0.0.0.0:80\"]\n[[worker]]\nname = \"a\"\nurl = \"http://localhost:80\"";
    assert_problems(parse_v1(loops), loops, &["6:7 worker[0].url ~ the address of a worker"]);
    assert_all(&[
        ("[gateway]\nlisten = []", &["3:10 gateway.listen ~ [\"127.0.0.1:8080\"]"]),
        (
            "[gateway]\nlisten = \"127.0.0.1:80\"",
            &["3:10 gateway.listen ~ a list such as [\"127.0.0.1:8080\"]"],
        ),
        (
            "[gateway]\nlisten = [\"localhost:80\", 80]",
            &["3:11 gateway.listen[0] ~ \"[::1]:8080\"", "3:27 gateway.listen[1] ~ \"[::1]:8080\""],
        ),
        (
            "[gateway]\nlisten = [\"[::1]:80\", \"[::1]:80\"]",
            &["3:10 gateway.listen ~ remove one of the two"],
        ),
        ("[admin]\nlisten = \"127.0.0.1:8080\"", &["3:10 admin.listen ~ a port each"]),
    ]);
}

#[test]
fn host_names_resolve_to_their_lowest_ipv4_address() {
    for (url, address, authority) in [
        ("http://gpu-1:9001", "10.0.0.7:9001", "gpu-1:9001"),
        ("http://localhost:9001/", "127.0.0.1:9001", "localhost:9001"),
        ("http://[fd00::2]:9001", "[fd00::2]:9001", "[fd00::2]:9001"),
        ("http://[::ffff:10.0.0.1]:9001", "10.0.0.1:9001", "[::ffff:10.0.0.1]:9001"),
    ] {
        let config = parse_v1(&format!("[[worker]]\nname = \"a\"\nurl = \"{url}\"")).unwrap();
        assert_eq!(config.workers[0].address, address.parse().unwrap());
        assert_eq!(config.workers[0].authority, authority);
    }
}

#[test]
fn an_admin_listener_outside_loopback_needs_a_token() {
    let help = "3:10 admin.listen ~ add token = { env = \"WEIR_ADMIN_TOKEN\" } here, or listen on 127.0.0.1";
    for address in ["0.0.0.0:8081", "[::]:8081", "10.0.0.1:8081"] {
        let text = format!("[admin]\nlisten = \"{address}\"");
        assert_problems(parse_v1(&text), &text, &[help]);
        assert!(parse_v1(&format!("{text}\ntoken = {{ file = \"admin.token\" }}")).is_ok(), "{address}");
    }
    for address in ["127.0.0.9:8081", "[::1]:8081", "[::ffff:127.0.0.1]:8081"] {
        assert!(parse_v1(&format!("[admin]\nlisten = \"{address}\"")).is_ok(), "{address}");
    }
}

#[test]
fn secrets_come_from_the_environment_or_a_file_and_are_never_shown() {
    let place = "write { env = \"NAME\" } or { file = \"PATH\" }";
    let at = |column: usize, help: &str| format!("3:{column} admin.token{help}");
    for (token, expected) in [
        ("\"hunter2\"", at(9, &format!(" ~ {place}"))),
        ("hunter2", "3:9  ~ put text in quotes".to_owned()),
        ("7", at(9, &format!(" ~ {place}"))),
        ("{}", at(9, &format!(" ~ {place}"))),
        ("{ env = \"A\", file = \"b\" }", at(9, &format!(" ~ {place}"))),
        ("{ evn = \"A\" }", at(17, &format!(".evn ~ {place}"))),
        ("{ env = 1 }", at(17, &format!(".env ~ {place}"))),
        ("{ env = \"MISSING\" }", at(17, ".env ~ set it in the environment")),
        ("{ env = \"NOT_UNICODE\" }", at(17, ".env ~ set it in the environment")),
        ("{ env = \"EMPTY\" }", at(17, ".env ~ put the secret there")),
        ("{ env = \"TWO_LINES\" }", at(17, ".env ~ one line of printable ASCII")),
        ("{ file = \"missing\" }", at(18, ".file ~ a file that this process may read")),
    ] {
        let text = format!("[admin]\ntoken = {token}");
        let result = parse_v1(&text);
        assert!(!format!("{result:?}").contains("hunter2"));
        assert_problems(result, &text, &[&expected]);
    }
    let text = "[gateway]\nworker_token = { env = \"WEIR_WORKER_TOKEN\" }\n[admin]\ntoken = { file = \"admin.token\" }";
    let config = parse_v1(text).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    assert_eq!(config.gateway.worker_token.unwrap().reveal(), "worker-secret");
    assert_eq!(config.admin.token.unwrap().reveal(), "admin-secret");
}

#[test]
fn one_held_body_must_fit_all_held_bodies() {
    assert_all(&[
        ("[limits]\nreplay_bytes = \"2 GiB\"", &["3:16 limits.replay_bytes ~ at most replay_total_bytes"]),
        (
            "[limits]\nreplay_total_bytes = \"1 MiB\"",
            &["3:22 limits.replay_total_bytes ~ at most replay_total_bytes"],
        ),
    ]);
    let equal = parse_v1("[limits]\nreplay_bytes = \"1 GiB\"").unwrap();
    assert_eq!(equal.limits.replay_bytes, equal.limits.replay_total_bytes);
}

#[test]
fn routes_are_checked() {
    let route = |line: &str| format!("[[route]]\n{line}");
    for (line, expected) in [
        ("match = {}", "2:1 route[0].to ~ add to = "),
        ("match = \"a*\"\nto = { version = 1 }", "3:9 route[0].match ~ match = { model = "),
        ("to = \"digits\"", "3:6 route[0].to ~ to = { model = "),
        ("to = { labels = {} }", "3:6 route[0].to ~ at least one of"),
        ("to = { version = 0 }", "3:18 route[0].to.version ~ from 1 to"),
        ("to = { model = \"a/b\" }", "3:16 route[0].to.model ~ use 1 to 128 of"),
        ("to = { labels = { a = 1 } }", "3:23 route[0].to.labels.a ~ in quotes"),
        ("to = { labels = { a = \"\" } }", "3:23 route[0].to.labels.a ~ 1 to 128 bytes"),
        ("to = { labels = 1 }", "3:17 route[0].to.labels ~ such as { zone = "),
        ("to = { version = 1 }\npolicy = \"best\"", "4:10 route[0].policy ~ known here: round_robin"),
        ("to = { version = 1 }\nname = \"a b\"", "4:8 route[0].name ~ use 1 to 128 of"),
        ("to = { version = 1 }\nmatch = { model = \"a[\" }", "4:19 route[0].match.model ~ in which *"),
        ("to = { version = 1 }\nmatch = { model = \"\" }", "4:19 route[0].match.model ~ in which *"),
        ("to = { version = 1 }\nmatch = { host = \"a:80\" }", "4:18 route[0].match.host ~ the name alone"),
        ("to = { version = 1 }\nmatch = { header = \"x\" }", "4:20 route[0].match.header ~ { name = "),
        (
            "to = { version = 1 }\nmatch = { header = { name = \"a b\" } }",
            "4:29 route[0].match.header.name ~ clients send",
        ),
        (
            "to = { version = 1 }\nmatch = { header = { name = \"Weir-Token\" } }",
            "4:29 route[0].match.header.name ~ clients send",
        ),
        (
            "to = { version = 1 }\nmatch = { header = [{ name = \"host\" }] }",
            "4:30 route[0].match.header[0].name ~ match = { host = ",
        ),
        (
            "to = { version = 1 }\nmatch = { header = { name = \"a\", value = \"b\\n\" } }",
            "4:42 route[0].match.header.value ~ visible ASCII",
        ),
    ] {
        assert_problems(parse_v1(&route(line)), line, &[expected]);
    }
    let long = format!("[[route]]\nto = {{ version = 1 }}\nmatch = {{ model = \"{}\" }}", "{a,".repeat(100));
    assert_problems(parse_v1(&long), &long, &["4:19 route[0].match.model ~ in which *"]);
    assert_all(&[
        (
            "[[route]]\nname = \"route-2\"\nto = { version = 1 }\n[[route]]\nto = { version = 2 }",
            &["5:1 route[1].name ~ give each route a name of its own"],
        ),
        (
            "[gateway]\nmodels = \"listed\"\n[[model]]\nname = \"a\"\n[[route]]\nto = { model = \"b\" }",
            &["7:16 route[0].to.model ~ add [[model]] with name = \"b\""],
        ),
        ("[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"", &["5:8 model[1].name ~ keep one [[model]]"]),
    ]);
}

#[test]
fn a_route_says_what_it_matches_and_where_it_goes() {
    let text = "[[route]]\nmatch = { model = \"{digits,mnist}-?\", host = \"Vision.Example\", \
                header = [{ name = \"X-Team\", value = \"a b\" }, { name = \"x-debug\" }] }\n\
                to = { model = \"m\", version = 3, labels = { tier = \"gpu\" } }\npolicy = \"round_robin\"\n\
                [[route]]\nto = { version = 1 }";
    let config = parse_v1(text).unwrap();
    let [first, second] = config.routes.as_slice() else { panic!("{:?}", config.routes) };
    let glob = first.matches.model.as_ref().unwrap();
    assert!(glob.is_match("mnist-1") && !glob.is_match("mnist-10"));
    assert_eq!(first.matches.host.as_deref(), Some("vision.example"));
    let header =
        |name: &str, value: Option<&str>| HeaderMatch { name: name.into(), value: value.map(Into::into) };
    assert_eq!(first.matches.headers, [header("x-team", Some("a b")), header("x-debug", None)]);
    assert_eq!(first.to.model.as_ref().map(ModelName::as_str), Some("m"));
    assert_eq!(first.to.version, Version::new(3));
    assert_eq!(first.to.labels["tier"], "gpu");
    assert_eq!(first.policy, Some(PolicyName::RoundRobin));
    assert_eq!((first.name.as_str(), second.name.as_str()), ("route-1", "route-2"));
    assert_eq!(second.matches, RouteMatch::default());
}

#[test]
fn sizes_durations_and_numbers_are_read_in_their_units() {
    let config = parse_v1(
        "[gateway]\nthreads = 0x10\n[limits]\nbody_bytes = \"1.5 GiB\"\nheader_bytes = \"8 KB\"\n\
         [timeouts]\nrequest = \"1m 30s\"\n[[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\nweight = 3",
    )
    .unwrap();
    assert_eq!(config.gateway.threads, 16);
    assert_eq!(config.limits.body_bytes, Bytes::mib(1536));
    assert_eq!(config.limits.header_bytes, Bytes(8000));
    assert_eq!(config.timeouts.request, Duration::from_secs(90));
    assert!((config.workers[0].weight - 3.0).abs() < f64::EPSILON);
}

#[test]
fn without_keys_a_gateway_has_the_defaults_that_its_types_state() {
    let config = parse("version = 1").unwrap();
    assert_eq!(config.gateway.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.gateway.threads, 8);
    assert_eq!(config.gateway.policy, PolicyName::LeastConnections);
    assert_eq!(config.gateway.models, ModelDoor::Any);
    assert_eq!(config.admin.listen, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.limits.body_bytes, Bytes(1 << 30));
    assert_eq!(config.limits.in_flight, 16_384);
    assert_eq!(config.limits.watches, 1024);
    assert!(config.workers.is_empty() && config.routes.is_empty() && config.models.is_empty());
}

#[test]
fn a_worker_of_another_kind_may_have_a_grpc_address_and_a_list_of_models() {
    let worker = |more: &str| format!("[[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\n{more}");
    let config = parse_v1(&worker(
        "kind = \"oip\"\ngrpc_url = \"http://localhost:2\"\nmodels = [\"m\", \"n\"]\n\
         [[model]]\nname = \"m\"\nversion_labels = { stable = 1, \"v1.2\" = 3 }",
    ))
    .unwrap();
    let [foreign] = &config.workers[..] else { panic!("one worker") };
    assert_eq!(foreign.kind, WorkerKind::Oip);
    let grpc = foreign.grpc.as_ref().unwrap();
    assert_eq!((grpc.address.port(), grpc.authority.as_str()), (2, "localhost:2"));
    assert_eq!(foreign.models.iter().map(ModelName::as_str).collect::<Vec<_>>(), ["m", "n"]);
    let labels: Vec<_> = config.models["m"]
        .version_labels
        .iter()
        .map(|(label, version)| (label.as_str(), version.number()))
        .collect();
    assert_eq!(labels, [("stable", 1), ("v1.2", 3)]);

    let plain = &parse_v1(&worker("")).unwrap().workers[0];
    assert_eq!(plain.kind, WorkerKind::Weir);
}

#[test]
fn a_worker_of_another_kind_speaks_grpc_only_where_the_file_says_so() {
    let grpc = |kind, more: &str| {
        let text =
            format!("[[worker]]\nname = \"a\"\nurl = \"http://localhost:1\"\nkind = \"{kind}\"\n{more}");
        parse_v1(&text).unwrap().workers[0].grpc.clone().map(|grpc| grpc.authority)
    };
    assert_eq!(grpc("weir", "").as_deref(), Some("localhost:1"));
    assert_eq!(grpc("oip", ""), None);
    for kind in ["weir", "oip"] {
        for url in ["localhost:1", "localhost:2"] {
            assert_eq!(grpc(kind, &format!("grpc_url = \"http://{url}\"")).as_deref(), Some(url), "{kind}");
        }
    }
}

#[test]
fn what_only_some_workers_may_have_is_told_with_the_way_out() {
    let two = |more: &str| {
        let worker = |name: &str, port: u16| {
            format!("[[worker]]\nname = \"{name}\"\nurl = \"http://127.0.0.1:{port}\"\n")
        };
        worker("a", 1) + &worker("b", 2) + more
    };
    let cases: [(&str, &[&str]); 7] = [
        ("grpc_url = \"http://127.0.0.1:1\"", &["8:12 worker[1].grpc_url ~ remove one of the two"]),
        ("grpc_url = \"http://127.0.0.1:8080\"", &["8:12 worker[1].grpc_url ~ the address of a worker"]),
        ("grpc_url = \"127.0.0.1:3\"", &["8:12 worker[1].grpc_url ~ write http://host:port"]),
        ("kind = \"triton\"", &["8:8 worker[1].kind ~ weir, oip"]),
        ("models = [\"m\"]", &["8:10 worker[1].models ~ add kind = \"oip\""]),
        ("kind = \"oip\"\nmodels = []", &["9:10 worker[1].models ~ a list such as [\"digits\"]"]),
        (
            "[[model]]\nname = \"m\"\nversion_labels = { 1 = 2, ok = 0, \"a/b\" = 1 }",
            &[
                "10:24 model[0].version_labels.1 ~ not only digits",
                "10:32 model[0].version_labels.ok ~ from 1 to",
                "10:43 model[0].version_labels.\"a/b\" ~ not only digits",
            ],
        ),
    ];
    for (more, expected) in cases {
        let text = two(more);
        assert_problems(parse_v1(&text), &text, expected);
    }
}
