//! The load generator's command line, as a person and the demo use it.

use std::process::{Command, Output};

use serde_json::Value;
use weir_tests::{
    Fleet, WorkerSpec,
    place::{binary, sample_repository},
};

async fn fleet() -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_digits().unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.start().await.unwrap()
}

async fn loadtest(fleet: &Fleet, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("weir-loadtest").unwrap());
    command.arg("run").args(["--url", &format!("http://{}", fleet.client().address())]).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn held_out_digits_are_recognised_and_a_command_runs_midway() {
    let fleet = fleet().await;
    let samples = sample_repository().join("digits/holdout.csv").display().to_string();
    for encoding in ["json", "binary"] {
        let output = loadtest(
            &fleet,
            &[
                "--model",
                "digits",
                "--samples",
                &samples,
                "--scale",
                "0.0625",
                "--requests",
                "450",
                "--rate",
                "200",
                "--encoding",
                encoding,
                "--at",
                "50%:exit 7",
                "-o",
                "json",
            ],
        )
        .await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success(), "{report}");
        assert_eq!((&report["requests"], &report["lost"]), (&450.into(), &0.into()));
        // 449 of 450 by model.toml; every image is sent once.
        assert!(report["accuracy"].as_f64() > Some(0.99), "{report}");
        assert_eq!(report["workers"], serde_json::json!({ "a": 450 }));
        let action = &report["actions"][0];
        assert_eq!(action["exit_code"], 7, "{report}");
        assert!(
            action["at_request"].as_u64() >= Some(225) && action["at_request"].as_u64() < Some(450),
            "{report}"
        );
    }
}

#[tokio::test]
async fn losses_and_wrong_usage_show_in_the_exit_status() {
    let fleet = fleet().await;
    let lost = loadtest(&fleet, &["--model", "digits", "--input", "nope:FP32:1x2", "--requests", "3"]).await;
    let table = String::from_utf8_lossy(&lost.stdout).into_owned();
    assert_eq!(lost.status.code(), Some(1), "{table}");
    assert!(table.contains("3 due, 3 sent, 0 ok, 3 lost") && table.contains("400: 3"), "{table}");
    let unknown = loadtest(&fleet, &["--model", "nope", "--requests", "3"]).await;
    let told = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(unknown.status.code() == Some(1) && told.contains("nope"), "{told}");
    assert_eq!(loadtest(&fleet, &["--model", "digits", "--rate", "fast"]).await.status.code(), Some(2));
}
