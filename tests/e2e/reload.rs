//! The configuration file changes under load: nothing is lost, bad files change nothing and say why.

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::{Fleet, Gateway, GatewayToml, Synthetic, eventually};

use crate::load;

/// Good files, and after every tenth a bad one.
const RELOADS: u64 = 50;

/// Files that must be refused, each with a word of the complaint.
fn bad_files(good: &GatewayToml) -> [(String, &'static str); 5] {
    let with = |change: fn(&mut GatewayToml)| {
        let mut toml = good.clone();
        change(&mut toml);
        toml.to_string()
    };
    [
        (with(|toml| toml.gateway += "\npolizy = \"round_robin\""), "polizy"),
        (with(|toml| toml.health += "\nunhealthy_after = \"twice\""), "unhealthy_after"),
        (with(|toml| toml.workers += "[[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\n"), "name"),
        (with(|toml| toml.workers += "[[worker]]\nname = \"z\"\nurl = \"127.0.0.1\"\n"), "url"),
        (with(|toml| toml.rules += "[[route"), ""),
    ]
}

/// A file that differs from the one before it, in the workers, the policy or the routes.
fn good_file(base: &GatewayToml, number: u64) -> GatewayToml {
    let mut toml = base.clone();
    let policy = if number.is_multiple_of(2) { "round_robin" } else { "least_connections" };
    toml.rules = format!("[[model]]\nname = \"m\"\npolicy = \"{policy}\"\n");
    if number.is_multiple_of(3) {
        toml.rules += "[[route]]\nname = \"n\"\nmatch = { model = \"none-*\" }\nto = { model = \"m\" }\n";
    }
    if number.is_multiple_of(5) {
        // Without the last worker.
        let last = toml.workers.rfind("[[worker]]").unwrap();
        toml.workers.truncate(last);
    }
    toml
}

async fn applied(gateway: &Gateway, generation: u64) {
    eventually("the new configuration in use", async || {
        let now = gateway.generation().await?;
        ensure!(now == generation, "generation {now}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Waits until a file was rejected for a problem that names `key`, and gives the problems.
async fn rejected(gateway: &Gateway, key: &str) -> Result<Vec<Value>> {
    eventually(&format!("the rejection of a file with a wrong {key}"), async || {
        let last = gateway.config().await?["last_reload"].clone();
        let problems = last["problems"].as_array().cloned().unwrap_or_default();
        let named = problems.iter().any(|problem| problem["key"].as_str().is_some_and(|it| it.contains(key)));
        ensure!(last["outcome"] == "rejected" && named, "{last}");
        Ok(problems)
    })
    .await
}

#[tokio::test]
async fn fifty_reloads_and_five_bad_files_under_load_lose_nothing() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a", "b", "c"]).await.unwrap();
    let base = fleet.gateway.toml().clone();
    let mut generation = fleet.gateway.generation().await.unwrap();
    let run = load::start(fleet.client(), 300.0);
    for number in 1..=RELOADS {
        let good = good_file(&base, number);
        fleet.gateway.write(good.clone()).unwrap();
        generation += 1;
        applied(&fleet.gateway, generation).await;
        if number.is_multiple_of(10) {
            let (text, key) = &bad_files(&good)[(number / 10 - 1) as usize];
            fleet.gateway.write_text(text).unwrap();
            let problems = rejected(&fleet.gateway, key).await.unwrap();
            assert!(problems.iter().all(|problem| problem["line"].as_u64() > Some(0)), "{problems:?}");
            assert_eq!(fleet.gateway.generation().await.unwrap(), generation, "the last good one stays");
        }
        load::more(&run, 15).await;
    }
    run.stop();
    load::none_lost(&run.finish().await);
}

#[tokio::test]
async fn every_problem_of_a_bad_file_is_told_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text = "version = 1\n[gateway]\npolizy = \"round_robin\"\n[timeouts]\nrequest = \"1 fortnight\"\n\
                [[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:9001\"\n\
                [[worker]]\nname = \"a\"\nurl = \"127.0.0.1:9002\"\n";
    std::fs::write(&file, text).unwrap();
    let program = weir_tests::place::binary("weir-gateway").unwrap();
    let output = std::process::Command::new(program).arg("check").arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let places = [(3, 1, "polizy"), (5, 11, "request"), (10, 8, "name"), (11, 7, "url")];
    for (line, column, key) in places {
        let place = format!("{}:{line}:{column}: ", file.display());
        let named = told.lines().any(|problem| problem.starts_with(&place) && problem.contains(key));
        assert!(named, "no problem of {key} at {place} in\n{told}");
    }
}
