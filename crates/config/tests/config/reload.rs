//! Changes of files while a process runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use sluice_config::{Loader, Reload, Settings};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::default_limit;

/// A running watcher and its reloads.
struct Watched {
    reloads: mpsc::UnboundedReceiver<Reload>,
    task: JoinHandle<()>,
}

impl Watched {
    fn start(loader: &Loader) -> (Settings, Self) {
        let (settings, watcher) = loader.load_and_watch().unwrap();
        let (sender, reloads) = mpsc::unbounded_channel();
        let on_reload = move |reload| sender.send(reload).expect("the test outlives its watcher");
        let task = tokio::spawn(async move {
            watcher.run(Duration::from_millis(5), on_reload).await;
        });
        (settings, Self { reloads, task })
    }

    async fn next(&mut self) -> Reload {
        timeout(Duration::from_secs(30), self.reloads.recv())
            .await
            .expect("the change is noticed")
            .expect("the watcher works")
    }

    async fn next_good(&mut self) -> Settings {
        match self.next().await {
            Reload::Good(settings) => *settings,
            Reload::Refused(errors) => panic!("{errors}"),
        }
    }

    async fn next_refusal(&mut self) -> String {
        match self.next().await {
            Reload::Good(settings) => panic!("{settings:?}"),
            Reload::Refused(errors) => errors.to_string(),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn write_atomically(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

fn with_rate(per_minute: u32) -> String {
    format!("defaults: {{ requests_per_minute: {per_minute} }}\n")
}

fn file_with_rate(per_minute: u32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    fs::write(&file, with_rate(per_minute)).unwrap();
    (folder, file)
}

#[tokio::test]
async fn a_swapped_symlink_of_a_config_map_is_noticed() {
    // As the kubelet lays a volume out: sluice.yaml -> ..data/sluice.yaml, ..data -> ..v1, and an
    // update renames a new ..data over the old.
    let volume = tempfile::tempdir().unwrap();
    let at = |name: &str| volume.path().join(name);
    for (version, per_minute) in [("..v1", 100), ("..v2", 200)] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("sluice.yaml"), with_rate(per_minute)).unwrap();
    }
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/sluice.yaml", at("sluice.yaml")).unwrap();

    let (settings, mut watched) = Watched::start(&Loader::new().file(at("sluice.yaml")));
    assert_eq!(default_limit(&settings), "default (100/minute, burst 10)");
    symlink("..v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..v1")).unwrap();
    assert_eq!(default_limit(&watched.next_good().await), "default (200/minute, burst 10)");
}

#[tokio::test]
async fn a_renamed_and_an_overwritten_file_are_noticed() {
    let (_folder, file) = file_with_rate(100);
    let (_, mut watched) = Watched::start(&Loader::new().file(&file));
    write_atomically(&file, &with_rate(200));
    assert_eq!(default_limit(&watched.next_good().await), "default (200/minute, burst 10)");
    fs::write(&file, with_rate(300)).unwrap();
    assert_eq!(default_limit(&watched.next_good().await), "default (300/minute, burst 10)");
}

#[tokio::test]
async fn a_broken_file_is_refused_once_with_all_errors_and_its_repair_is_noticed() {
    let (_folder, file) = file_with_rate(100);
    let (_, mut watched) = Watched::start(&Loader::new().file(&file));
    write_atomically(&file, "defaults: { requests_per_minute: many, burst_size: 0 }\n");
    assert_eq!(watched.next_refusal().await.lines().count(), 2);
    write_atomically(&file, &with_rate(100));
    // Were the broken file refused again and again, its refusal would come first.
    assert_eq!(default_limit(&watched.next_good().await), "default (100/minute, burst 10)");
}

#[tokio::test]
async fn a_removed_file_does_not_bring_back_the_defaults() {
    let (_folder, file) = file_with_rate(100);
    let (_, mut watched) = Watched::start(&Loader::new().file_if_present(&file));
    fs::remove_file(&file).unwrap();
    assert!(watched.next_refusal().await.contains("the file cannot be read"));
    fs::write(&file, with_rate(200)).unwrap();
    assert_eq!(default_limit(&watched.next_good().await), "default (200/minute, burst 10)");
}

#[tokio::test]
async fn a_file_that_was_not_there_is_noticed_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.yaml");
    let (settings, mut watched) = Watched::start(&Loader::new().file_if_present(&file));
    assert_eq!(default_limit(&settings), "default (60/minute, burst 10)");
    write_atomically(&file, &with_rate(200));
    assert_eq!(default_limit(&watched.next_good().await), "default (200/minute, burst 10)");
    fs::remove_file(&file).unwrap();
    assert!(watched.next_refusal().await.contains("the file cannot be read"));
}

#[tokio::test]
async fn files_that_the_configuration_names_are_watched_too() {
    let (folder, file) = file_with_rate(100);
    fs::write(folder.path().join("keys"), "alice\n").unwrap();
    fs::write(&file, "tiers: { vip: { unlimited: true, clients_file: keys } }\n").unwrap();
    let (_, mut watched) = Watched::start(&Loader::new().file(&file));
    write_atomically(&folder.path().join("keys"), "alice\nalice\n");
    assert!(watched.next_refusal().await.contains("this client is already listed"));
    write_atomically(&folder.path().join("keys"), "alice\nbob\n");
    watched.next_good().await;
}

#[tokio::test]
async fn files_of_the_rate_limit_service_are_noticed_when_they_change_appear_and_disappear() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("sluice.yaml"), "rls: { files: [limits/*.yaml] }").unwrap();
    fs::create_dir(at("limits")).unwrap();
    fs::write(at("limits/a.yaml"), "domain: a").unwrap();
    let names = |settings: Settings| {
        settings.rls.unwrap().domains.into_iter().map(|domain| domain.name).collect::<Vec<_>>()
    };
    let (settings, mut watched) = Watched::start(&Loader::new().file(at("sluice.yaml")));
    assert_eq!(names(settings), ["a"]);
    write_atomically(&at("limits/a.yaml"), "domain: b");
    assert_eq!(names(watched.next_good().await), ["b"]);
    write_atomically(&at("limits/c.yaml"), "domain: c");
    assert_eq!(names(watched.next_good().await), ["b", "c"]);
    write_atomically(&at("limits/c.yaml"), "domains: c");
    assert!(
        watched
            .next_refusal()
            .await
            .contains("limits/c.yaml:1: domains: unknown key: did you mean `domain`?")
    );
    fs::remove_file(at("limits/c.yaml")).unwrap();
    assert_eq!(names(watched.next_good().await), ["b"]);
}
