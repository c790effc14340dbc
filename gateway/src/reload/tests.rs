//! Reloads of real files, replaced in the ways that editors, shells and Kubernetes replace them.

use std::{fs, io::Write as _, os::unix::fs::symlink, time::Duration};

use notify::{
    EventKind,
    event::{
        AccessKind, AccessMode, CreateKind, DataChange, MetadataKind, ModifyKind, RemoveKind, RenameMode,
    },
};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{watch::Files, *};
use crate::{
    task::Tasks,
    tests::{TWO_WORKERS, until},
};

/// A gateway's configuration in a folder of its own, with the reload task running.
struct Running {
    folder: TempDir,
    registry: Arc<Registry>,
    reload: Reload,
    tasks: Tasks,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, TWO_WORKERS).unwrap();
        let loaded = Loaded::read(&file).unwrap();
        Self::start_with(folder, file, loaded)
    }

    fn start_with(folder: TempDir, file: PathBuf, loaded: Loaded) -> Self {
        let (registry, tasks) = crate::tests::running(Arc::clone(&loaded.config));
        let (reload, reloader) = Reload::new(file, loaded, Arc::clone(&registry));
        tasks.spawn("reload", reloader.run(tasks.stop_signal()));
        Self { folder, registry, reload, tasks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn generation(&self) -> u64 {
        self.registry.snapshot().generation
    }

    async fn rejected(&self) -> Problems {
        let rejected = || matches!(self.reload.status().outcome, ReloadOutcome::Rejected(_));
        until("the file is rejected", rejected).await;
        match &self.reload.status().outcome {
            ReloadOutcome::Rejected(problems) => problems.clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// The two workers with this weight on the first.
fn weighing(weight: u32) -> String {
    TWO_WORKERS.replace("1001\"", &format!("1001\"\nweight = {weight}.0"))
}

fn weight(registry: &Registry) -> f64 {
    registry.snapshot().endpoints[0].spec.weight
}

#[tokio::test]
async fn a_file_written_in_place_comes_into_use() {
    let running = Running::start();
    fs::write(running.path("gateway.toml"), weighing(3)).unwrap();
    until("the new weight", || weight(&running.registry) == 3.0).await;
    assert_eq!(running.generation(), 2);
    assert!(running.tasks.finish(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_file_renamed_over_the_old_one_comes_into_use() {
    let running = Running::start();
    for turn in 2..6 {
        fs::write(running.path("new"), weighing(turn)).unwrap();
        fs::rename(running.path("new"), running.path("gateway.toml")).unwrap();
        until("the new weight", || weight(&running.registry) == f64::from(turn)).await;
        assert_eq!(running.generation(), u64::from(turn));
    }
}

#[tokio::test]
async fn a_link_swapped_beside_the_file_brings_the_new_one_into_use() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, text) in [("v1", TWO_WORKERS.to_owned()), ("v2", weighing(7))] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("gateway.toml"), text).unwrap();
    }
    symlink("v1", at("..data")).unwrap();
    symlink("..data/gateway.toml", at("gateway.toml")).unwrap();
    let (file, next) = (at("gateway.toml"), at("..next"));
    let data = at("..data");
    let loaded = Loaded::read(&file).unwrap();
    let running = Running::start_with(folder, file, loaded);

    symlink("v2", &next).unwrap();
    fs::rename(&next, &data).unwrap();
    until("the new weight", || weight(&running.registry) == 7.0).await;
}

#[tokio::test]
async fn a_bad_file_is_rejected_with_its_place_and_the_last_good_one_serves_on() {
    let running = Running::start();
    let file = running.path("gateway.toml");
    fs::write(&file, weighing(3)).unwrap();
    until("the new weight", || weight(&running.registry) == 3.0).await;

    fs::write(&file, format!("{}\n[limits]\natempts = 2\n", weighing(4))).unwrap();
    let problems = running.rejected().await;
    let problem = problems.list.first().unwrap();
    assert_eq!((problem.line, problem.column, problem.key.as_str()), (12, 1, "limits.atempts"), "{problems}");
    assert_eq!((running.generation(), weight(&running.registry)), (2, 3.0));

    fs::write(&file, weighing(3)).unwrap();
    until("the file is good again", || running.reload.status().outcome == ReloadOutcome::Unchanged).await;
    assert_eq!(running.generation(), 2);
    let page = running.registry.telemetry().render(&running.registry.gauges());
    assert!(page.contains("weir_gateway_config_reloads_total{outcome=\"rejected\"} 1\n"), "{page}");
    assert!(page.contains("weir_gateway_config_rejected 0\n"), "{page}");
}

#[tokio::test]
async fn a_file_that_is_gone_is_a_problem_and_changes_nothing() {
    let running = Running::start();
    fs::remove_file(running.path("gateway.toml")).unwrap();
    let problems = running.rejected().await;
    assert_eq!(problems.list.len(), 1);
    assert_eq!(running.generation(), 1);
}

#[tokio::test]
async fn a_comment_changes_nothing_and_a_call_reads_the_file_even_so() {
    let running = Running::start();
    assert_eq!(running.reload.now().await.unwrap().outcome, ReloadOutcome::Unchanged);
    fs::write(running.path("gateway.toml"), format!("# a remark\n{TWO_WORKERS}")).unwrap();
    assert_eq!(running.reload.now().await.unwrap().outcome, ReloadOutcome::Unchanged);
    fs::write(running.path("gateway.toml"), weighing(2)).unwrap();
    running.reload.now().await.unwrap();
    assert_eq!((running.generation(), weight(&running.registry)), (2, 2.0), "in use once the call returns");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_until_the_file_goes_back() {
    let running = Running::start();
    let file = running.path("gateway.toml");
    let moved = TWO_WORKERS.replace("version = 1", "version = 1\n[gateway]\nlisten = [\"127.0.0.1:18080\"]");
    fs::write(&file, &moved).unwrap();
    assert_eq!(running.reload.now().await.unwrap().needs_restart, ["gateway.listen"]);
    assert_eq!(running.reload.now().await.unwrap().needs_restart, ["gateway.listen"], "still due");
    fs::write(&file, TWO_WORKERS).unwrap();
    assert!(running.reload.now().await.unwrap().needs_restart.is_empty());
}

#[tokio::test]
async fn a_change_between_reading_the_file_and_watching_it_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, TWO_WORKERS).unwrap();
    let loaded = Loaded::read(&file).unwrap();
    fs::write(&file, weighing(5)).unwrap();
    let running = Running::start_with(folder, file, loaded);
    until("the new weight", || weight(&running.registry) == 5.0).await;
}

#[tokio::test]
async fn a_storm_of_writes_ends_with_the_last_one_in_use() {
    let running = Running::start();
    for turn in 2..60 {
        fs::write(running.path("gateway.toml"), weighing(turn)).unwrap();
        tokio::task::yield_now().await;
    }
    until("the last weight", || weight(&running.registry) == 59.0).await;
}

#[tokio::test]
async fn the_folder_tells_of_every_way_to_replace_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "1").unwrap();
    let mut watch = Watch::new(&file);
    let replace: [&dyn Fn(); 3] = [
        &|| fs::write(&file, "2").unwrap(),
        &|| {
            fs::write(folder.path().join("new"), "3").unwrap();
            fs::rename(folder.path().join("new"), &file).unwrap();
        },
        &|| fs::remove_file(&file).unwrap(),
    ];
    for change in replace {
        change();
        tokio::time::timeout(Duration::from_secs(30), watch.changed()).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_is_not_whole_until_its_writer_has_closed_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let watch = Watch::new(&path);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"version = 1").unwrap();
    until("it is being written", || watch.files() == Files::BeingWritten).await;
    drop(file);
    until("it is whole", || watch.files() == Files::Whole).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_once_it_is_closed_and_the_folder_quiet_and_in_80_ms_at_the_latest() {
    let (events, millis) = (watch::Sender::new(Files::Whole), Duration::from_millis);
    let mut watch = Watch::told_by(&events);
    let begun = tokio::time::Instant::now();
    watch.whole().await;
    assert_eq!(begun.elapsed(), millis(10), "nobody writes");

    events.send_replace(Files::BeingWritten);
    let begun = tokio::time::Instant::now();
    let writer = async {
        tokio::time::sleep(millis(60)).await;
        events.send_replace(Files::Whole);
    };
    tokio::join!(watch.whole(), writer);
    assert_eq!(begun.elapsed(), millis(70), "a pause in writing is waited out");

    events.send_replace(Files::BeingWritten);
    let begun = tokio::time::Instant::now();
    watch.whole().await;
    assert_eq!(begun.elapsed(), millis(80), "a writer that never closes is not");
}

#[test]
fn what_happened_to_a_file_tells_whether_it_is_whole() {
    let told = [
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
        (EventKind::Access(AccessKind::Read), None),
        (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
        (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), None),
        (EventKind::Access(AccessKind::Close(AccessMode::Write)), Some(Files::Whole)),
        (EventKind::Create(CreateKind::File), Some(Files::BeingWritten)),
        (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(Files::BeingWritten)),
        (EventKind::Modify(ModifyKind::Name(RenameMode::To)), Some(Files::Whole)),
        (EventKind::Remove(RemoveKind::File), Some(Files::Whole)),
    ];
    for (kind, files) in told {
        assert_eq!(super::watch::meaning(kind), files, "{kind:?}");
    }
}
