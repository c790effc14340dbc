//! Three workers and a gateway on loopback, with their configuration and logs in a folder of their own.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{MODEL, http, process::Process};
use crate::{clock::wait_until, workspace::Workspace};

const WORKERS: [&str; 3] = ["a", "b", "c"];
/// Taken when they are free: what the documentation uses. The gateway, its admin listener, the workers.
const USUAL_PORTS: [u16; 5] = [8080, 8081, 9001, 9002, 9003];
const READY_LIMIT: Duration = Duration::from_secs(60);
/// For the gateway to finish what it has; then it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Running servers. Killed on drop.
pub(super) struct Fleet {
    // Before the workers, so that it is dropped, and thus killed, first.
    gateway: Process,
    workers: Vec<(Process, SocketAddr)>,
    clients: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
    example: PathBuf,
}

impl Fleet {
    /// Writes the configuration and starts everything; nothing is ready yet.
    ///
    /// # Errors
    /// The folder cannot be written, or a program does not start.
    pub(super) fn start(workspace: &Workspace) -> Result<Self> {
        let folder = env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let [clients, admin, addresses @ ..] = free_addresses()?;
        let models = workspace.root().join("worker/models");
        let binaries = workspace.binaries("release");
        let mut workers = Vec::new();
        for (name, address) in WORKERS.into_iter().zip(addresses) {
            let config = worker_config(name, address, &models);
            let server = server(&binaries, "weir-worker", &format!("worker-{name}"), &config, &folder)?;
            workers.push((server, address));
        }
        let config = gateway_config(clients, admin, &addresses);
        let gateway = server(&binaries, "weir-gateway", "gateway", &config, &folder)?;
        let example = models.join(MODEL).join("example.json");
        let example = match example.strip_prefix(env::current_dir()?) {
            Ok(near) => near.to_owned(),
            Err(_) => example,
        };
        Ok(Self { gateway, workers, clients, admin, folder, example })
    }

    /// Waits until every worker serves the model and the gateway would send requests to all of them.
    ///
    /// # Errors
    /// A server ended or took more than a minute, or Ctrl-C was pressed.
    pub(super) fn wait_until_ready(&mut self, interrupted: &Receiver<()>) -> Result<()> {
        for index in 0..self.workers.len() {
            let Some(&(ref process, address)) = self.workers.get(index) else { continue };
            let what = format!("{} serves {MODEL}", process.name());
            println!("waiting until {what} on {address}");
            wait_until(&what, READY_LIMIT, interrupted, || {
                self.must_run()?;
                let ready = http::get(address, &format!("/v2/models/{MODEL}/ready"));
                Ok(ready.is_ok_and(|(status, _)| status == 200))
            })?;
        }
        println!("waiting until the gateway on {} sees them", self.clients);
        wait_until("the gateway sees every worker", READY_LIMIT, interrupted, || {
            self.must_run()?;
            let answer = http::get(self.admin, &format!("/v1/models/{MODEL}"));
            Ok(answer
                .is_ok_and(|(status, body)| status == 200 && eligible(&body) == self.workers.len() as u64))
        })
    }

    /// # Errors
    /// A server has ended.
    fn must_run(&mut self) -> Result<()> {
        self.gateway.must_run()?;
        self.workers.iter_mut().try_for_each(|(worker, _)| worker.must_run())
    }

    /// Where clients and operators connect.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.clients, self.admin)
    }

    /// A request body, by a path that is short where it can be.
    pub(super) fn example_request(&self) -> &Path {
        &self.example
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of workers, the killed included.
    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Name in the configuration and process id of the worker to kill.
    pub(super) fn victim(&self) -> (&'static str, u32) {
        let middle = WORKERS.len() / 2;
        let pid = self.workers.get(middle).map_or(0, |(worker, _)| worker.pid());
        (WORKERS.get(middle).copied().unwrap_or_default(), pid)
    }

    /// How many workers were ended by SIGKILL.
    pub(super) fn killed(&mut self) -> usize {
        self.workers.iter_mut().filter_map(|(worker, _)| worker.was_killed().then_some(())).count()
    }

    /// Stops the gateway, then the workers, each with time to finish.
    pub(super) fn stop(&mut self) {
        // Nobody interrupts this wait: it is short, and then everything is killed.
        let (_sender, never) = mpsc::channel();
        self.gateway.terminate();
        let _ = wait_until("the gateway stops", STOP_LIMIT, &never, || Ok(!self.gateway.runs()));
        self.workers.iter_mut().for_each(|(worker, _)| worker.terminate());
        let stopped = || Ok(self.workers.iter_mut().all(|(worker, _)| !worker.runs()));
        let _ = wait_until("the workers stop", STOP_LIMIT, &never, stopped);
    }

    /// Ends what still runs and removes logs and configuration.
    pub(super) fn remove_folder(self) {
        let folder = self.folder.clone();
        drop(self);
        // Left behind it takes a few kilobytes in the folder for temporary files.
        let _ = fs::remove_dir_all(folder);
    }
}

/// The usual ports where all of them are free, else any.
fn free_addresses() -> Result<[SocketAddr; USUAL_PORTS.len()]> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let usual: Result<Vec<TcpListener>, _> = USUAL_PORTS.into_iter().map(bind).collect();
    let listeners = match usual {
        Ok(listeners) => listeners,
        // All are held until the last is known, so that no two are the same.
        Err(_) => USUAL_PORTS.into_iter().map(|_| bind(0)).collect::<Result<_, _>>()?,
    };
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("lost a port"))
}

fn server(binaries: &Path, program: &str, name: &str, config: &str, folder: &Path) -> Result<Process> {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, config)?;
    let mut command = Command::new(binaries.join(program));
    Process::start(name, command.arg("--config").arg(&file), folder)
}

fn worker_config(name: &str, address: SocketAddr, models: &Path) -> String {
    let models = models.display();
    format!(
        "version = 1\n\n[worker]\nname = \"{name}\"\nlisten = \"{address}\"\nrepository = '''{models}'''\n"
    )
}

fn gateway_config(clients: SocketAddr, admin: SocketAddr, workers: &[SocketAddr]) -> String {
    let mut text =
        format!("version = 1\n\n[gateway]\nlisten = [\"{clients}\"]\n\n[admin]\nlisten = \"{admin}\"\n");
    for (name, address) in WORKERS.into_iter().zip(workers) {
        text.push_str(&format!("\n[[worker]]\nname = \"{name}\"\nurl = \"http://{address}\"\n"));
    }
    text
}

/// Replicas of the highest version that would take a request, in the admin listener's view of a model.
fn eligible(body: &str) -> u64 {
    let model: Value = serde_json::from_str(body).unwrap_or_default();
    let versions = model.get("versions").and_then(Value::as_array);
    let number = |version: &Value, key| version.get(key).and_then(Value::as_u64).unwrap_or_default();
    let highest = versions.into_iter().flatten().max_by_key(|version| number(version, "version"));
    highest.map_or(0, |version| number(version, "eligible"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_counts() {
        let body = r#"{"name":"digits","versions":[{"version":2,"eligible":3},{"version":10,"eligible":1}]}"#;
        assert_eq!(eligible(body), 1);
        assert_eq!(eligible("not JSON"), 0);
    }

    #[test]
    fn addresses_are_five_different_ones_of_loopback() {
        let mut addresses = free_addresses().unwrap().to_vec();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() > 0));
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 5);
    }
}
