//! Notices changes of a configuration in a running process, and reads it again.
//!
//! Files are compared by content, not by events or times: so an editor's rename, a write in place
//! and the swapped symlink of a Kubernetes `ConfigMap` are all noticed, on any file system. A
//! change is read only after two reads agree, so that half of a file that is still being written is
//! never used. SIGHUP reads at once.

use std::{convert::Infallible, fmt, path::Path, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

use crate::{
    error::ConfigErrors,
    files::{Contents, read_again},
    loader::Loader,
    reader::Fixed,
    settings::Settings,
};

/// How often files are compared: a change takes effect soon, and a few small reads cost little.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Watches the configuration of a running process.
pub struct Watcher {
    loader: Loader,
    /// The content that was read last, whether it was good or refused.
    known: Contents,
    /// The content at the last comparison, if it differed.
    found: Option<Contents>,
    /// The settings that only a restart changes, as they were at the start.
    fixed: Fixed,
}

/// The result of reading a configuration again.
#[derive(Debug)]
pub enum Reload {
    /// The configuration is good: use these settings.
    Good(Box<Settings>),
    /// The configuration has errors: go on with the old settings.
    Refused(ConfigErrors),
}

impl Loader {
    /// Reads the settings, and returns what watches the configuration for changes.
    ///
    /// # Errors
    /// Every error in any layer.
    pub fn load_and_watch(&self) -> Result<(Settings, Watcher), ConfigErrors> {
        let loaded = self.load_all();
        let settings = loaded.result?;
        let loader = self.clone().with_file_required_once_seen(&loaded.contents);
        let (known, fixed) = (loaded.contents, loaded.fixed);
        Ok((settings, Watcher { loader, known, found: None, fixed }))
    }
}

impl Watcher {
    /// Returns the configuration file that was read; `None` if there is none.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.loader.file_in(&self.known)
    }

    /// Compares the files every `interval`, reads the configuration again when they have changed
    /// and whenever the process gets SIGHUP, and passes the result to `on_reload`. Catches SIGHUP
    /// from now on. Logs every error, and each changed setting that needs a restart. Never ends;
    /// can be dropped at any time.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn run(
        self,
        interval: Duration,
        on_reload: impl FnMut(Reload),
    ) -> impl Future<Output = Infallible> {
        let hangups = signal(SignalKind::hangup()).inspect_err(|error| {
            tracing::warn!(
                %error,
                "SIGHUP cannot be received: a changed configuration is still noticed"
            );
        });
        self.poll(interval, hangups.ok(), on_reload)
    }

    async fn poll(
        mut self,
        interval: Duration,
        mut hangups: Option<Signal>,
        mut on_reload: impl FnMut(Reload),
    ) -> Infallible {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let at_once = tokio::select! {
                () = next(&mut hangups) => true,
                _ = ticks.tick() => false,
            };
            // A file system may block for any time.
            let compared = tokio::task::spawn_blocking(move || {
                let reload = if at_once { Some(self.reload()) } else { self.compare() };
                (self, reload)
            });
            let (watcher, reload) =
                compared.await.expect("comparing files does not panic, and is not cancelled");
            self = watcher;
            if let Some(reload) = reload {
                on_reload(reload);
            }
        }
    }

    /// Compares the files with what is known; reads the configuration again if they differ in the
    /// same way for the second time.
    fn compare(&mut self) -> Option<Reload> {
        let now = read_again(&self.known);
        if now == self.known {
            self.found = None;
            return None;
        }
        if self.found.as_ref() != Some(&now) {
            self.found = Some(now);
            return None;
        }
        Some(self.reload())
    }

    fn reload(&mut self) -> Reload {
        let loaded = self.loader.load_all();
        self.found = None;
        self.loader = self.loader.clone().with_file_required_once_seen(&loaded.contents);
        self.known = loaded.contents;
        match loaded.result {
            Ok(settings) => {
                settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                for setting in self.fixed.changed(&loaded.fixed) {
                    tracing::warn!(
                        "{setting} has changed, which needs a restart: the old value stays active"
                    );
                }
                Reload::Good(Box::new(settings))
            }
            Err(errors) => {
                tracing::error!(
                    errors = errors.count(),
                    "the changed configuration is invalid: the old one stays active"
                );
                errors.lines().for_each(|line| tracing::error!("{line}"));
                Reload::Refused(errors)
            }
        }
    }
}

/// Waits for the next SIGHUP, or for ever if none can be received.
async fn next(hangups: &mut Option<Signal>) {
    if let Some(hangups) = hangups
        && hangups.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

impl fmt::Debug for Watcher {
    /// Leaves out the content of the files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("files", &self.known.names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn watcher(text: &str) -> (tempfile::TempDir, std::path::PathBuf, Watcher) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sluice.yaml");
        fs::write(&file, text).unwrap();
        let (_, watcher) = Loader::new().file(&file).load_and_watch().unwrap();
        (folder, file, watcher)
    }

    #[test]
    fn a_file_is_read_after_two_comparisons_agree() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        assert!(watcher.compare().is_none());
        fs::write(&file, "store: { pre").unwrap();
        assert!(watcher.compare().is_none());
        fs::write(&file, "store: { prefix: b }").unwrap();
        assert!(watcher.compare().is_none(), "it may not be complete");
        let Some(Reload::Good(settings)) = watcher.compare() else {
            panic!("two comparisons agreed")
        };
        assert_eq!(settings.store.prefix, "b");
        assert!(watcher.compare().is_none(), "nothing has changed since");
    }

    #[test]
    fn a_change_that_is_undone_is_not_read() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        fs::write(&file, "store: { prefix: b }").unwrap();
        assert!(watcher.compare().is_none());
        fs::write(&file, "store: { prefix: a }").unwrap();
        assert!(watcher.compare().is_none());
        assert!(watcher.compare().is_none());
    }

    #[test]
    fn a_broken_file_is_refused_once() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        fs::write(&file, "store: { prefix: '{' }").unwrap();
        assert!(watcher.compare().is_none());
        assert!(matches!(watcher.compare(), Some(Reload::Refused(_))));
        assert!(watcher.compare().is_none());
    }

    #[test]
    fn another_reason_why_a_file_cannot_be_read_is_reported() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        fs::remove_file(&file).unwrap();
        assert!(watcher.compare().is_none());
        assert!(matches!(watcher.compare(), Some(Reload::Refused(_))));
        fs::create_dir(&file).unwrap();
        assert!(watcher.compare().is_none());
        let Some(Reload::Refused(errors)) = watcher.compare() else { panic!("it is a directory") };
        assert!(errors.to_string().contains("not a regular file"), "{errors}");
        assert!(watcher.compare().is_none());
    }

    #[test]
    fn a_reload_reads_at_once_and_also_without_a_change() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        assert!(matches!(watcher.reload(), Reload::Good(_)));
        fs::write(&file, "store: { prefix: b }").unwrap();
        let Reload::Good(settings) = watcher.reload() else { panic!("it is good") };
        assert_eq!(settings.store.prefix, "b");
    }

    #[test]
    fn a_changed_certificate_of_a_connection_needs_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for name in ["store.pem", "client.pem", "client.key", "api.pem"] {
            write(name, "the first");
        }
        write(
            "sluice.yaml",
            "{ store: { url: 'rediss://cache', ca_file: store.pem, \
               client_certificate: client.pem, client_key: client.key }, \
             gateway: { upstream: 'https://api', ca_file: api.pem } }",
        );
        let loader = Loader::new().file(folder.path().join("sluice.yaml"));
        let (_, mut watcher) = loader.load_and_watch().unwrap();
        for (name, setting) in [
            ("store.pem", "store.ca_file"),
            ("client.pem", "store.client_certificate"),
            ("client.key", "store.client_key"),
            ("api.pem", "gateway.ca_file"),
        ] {
            write(name, "the second");
            assert!(watcher.compare().is_none());
            assert!(matches!(watcher.compare(), Some(Reload::Good(_))), "{name}");
            assert_eq!(watcher.fixed.changed(&watcher.loader.load_all().fixed), [setting]);
            write(name, "the first");
            assert!(watcher.compare().is_none());
            assert!(watcher.compare().is_some());
        }
    }

    #[test]
    fn settings_that_need_a_restart_are_named() {
        let fixed = |text: &str| watcher(text).2.fixed;
        let first = fixed("{ store: { url: 'redis://:a@cache' }, listen: { grpc: off } }");
        let same = fixed(
            "{ store: { url: 'redis://:a@cache', timeout: 0s 25ms }, listen: { grpc: off }, \
             defaults: off }",
        );
        assert_eq!(first.changed(&same), Vec::<&str>::new());
        let other = fixed(
            "{ store: { url: 'redis://:b@cache', prefix: b }, log: { level: debug }, \
             listen: { http: '0.0.0.0:1' }, gateway: { upstream: 'http://a' } }",
        );
        let changed =
            ["listen.grpc", "listen.http", "log.level", "store.prefix", "store.url", "gateway"];
        assert_eq!(first.changed(&other), changed);
        assert!(!format!("{first:?}").contains(":a@"), "a password is not shown here either");
    }
}
