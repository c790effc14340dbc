//! Addresses inside and outside trusted networks.

use weir_config::WorkerConfig;

use super::*;

fn trusted(address: &str, networks: &str) -> bool {
    let toml =
        format!("version = 1\n[worker]\nname = \"w\"\nrepository = \".\"\n[gateway]\ntrusted = {networks}\n");
    let config = WorkerConfig::parse(&toml, std::path::Path::new("worker.toml")).unwrap();
    let peer = Peer::new(SocketAddr::new(address.parse().unwrap(), 1), &config.gateway);
    peer.is_trusted(&HeaderMap::new(), &config.gateway)
}

#[test]
fn a_peer_is_trusted_by_the_network_it_is_in() {
    let networks = r#"["10.1.0.0/16", "fd00::/8"]"#;
    for (address, is) in [
        ("10.1.255.255", true),
        ("10.2.0.0", false),
        ("fd12::1", true),
        ("fe80::1", false),
        ("127.0.0.1", false),
    ] {
        assert_eq!(trusted(address, networks), is, "{address}");
    }
    assert!(!trusted("127.0.0.1", "[]"));
}

#[test]
fn an_ipv4_peer_on_an_ipv6_listener_is_the_same_peer() {
    assert!(trusted("::ffff:10.1.2.3", r#"["10.1.0.0/16"]"#));
    assert!(!trusted("::ffff:10.2.2.3", r#"["10.1.0.0/16"]"#));
}

#[test]
fn tokens_are_compared_whole() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "ab").unwrap();
    let toml = "version = 1\n[worker]\nname = \"w\"\nrepository = \".\"\n[gateway]\ntrusted = []\n\
                token = { file = \"token\" }\n";
    let trust = WorkerConfig::parse(toml, &folder.path().join("worker.toml")).unwrap().gateway;
    let peer = Peer::new(SocketAddr::from(([127, 0, 0, 1], 1)), &trust);
    for (given, same) in [("", false), ("a", false), ("ab", true), ("abc", false), ("aB", false)] {
        let request =
            HeaderMap::from_iter([(http::HeaderName::from_static(headers::TOKEN), given.parse().unwrap())]);
        assert_eq!(peer.is_trusted(&request, &trust), same, "{given}");
    }
    assert!(!peer.is_trusted(&HeaderMap::new(), &trust));
}
