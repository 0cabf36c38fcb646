//! Notices when a configuration changes while it is in force, and reads it again.
//!
//! Files are looked at for what is in them, not for events or times: that notices an editor's
//! rename, a write in place and the swapped symlink of a Kubernetes config map alike, on any file
//! system. What is found changed is only read once two looks in a row agree, so that half of a file
//! that is still being written is never put into force. SIGHUP reads at once.

use std::{convert::Infallible, fmt, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

use super::{
    error::ConfigErrors,
    files::{Contents, read_again},
    loader::Loader,
    settings::Settings,
};

/// How often the files of a configuration are looked at: often enough for whoever waits for a
/// change, and a few small reads.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks after a configuration in force.
pub struct Watcher {
    loader: Loader,
    /// What is in force, or was refused last.
    known: Contents,
    /// What was found instead at the last look.
    found: Option<Contents>,
    in_force: Fixed,
}

/// What came of reading a configuration again.
#[derive(Debug)]
pub enum Reload {
    /// It is good; these settings are to be put into force.
    Good(Box<Settings>),
    /// It is not; the old settings stay in force.
    Refused(ConfigErrors),
}

impl Watcher {
    /// Looks after what `loader` has read from `contents`.
    pub(super) fn new(loader: Loader, contents: Contents, settings: &Settings) -> Self {
        Self {
            loader: loader.with_file_required_once_seen(&contents),
            known: contents,
            found: None,
            in_force: Fixed::of(settings),
        }
    }

    /// Looks every `every`, and whenever the process gets SIGHUP, which is caught from now on, and
    /// tells `on_reload` what comes of each change. Logs every mistake, and which changes need a
    /// restart. Never ends; may be dropped at any time.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn run(
        self,
        every: Duration,
        on_reload: impl FnMut(Reload),
    ) -> impl Future<Output = Infallible> {
        let hangups = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be listened for: a changed configuration is still noticed"));
        self.keep_looking(every, hangups.ok(), on_reload)
    }

    async fn keep_looking(
        mut self,
        every: Duration,
        mut hangups: Option<Signal>,
        mut on_reload: impl FnMut(Reload),
    ) -> Infallible {
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let at_once = tokio::select! {
                () = next(&mut hangups) => true,
                _ = looks.tick() => false,
            };
            // Reading files may block for as long as the file system likes.
            let look = tokio::task::spawn_blocking(move || {
                let reload = if at_once { Some(self.reload()) } else { self.look() };
                (self, reload)
            });
            let (watcher, reload) =
                look.await.expect("looking at files does not panic, and nobody else cancels it");
            self = watcher;
            if let Some(reload) = reload {
                self.log(&reload);
                on_reload(reload);
            }
        }
    }

    /// Compares the files with what is known of them; reads the configuration again when they
    /// differ in the same way for the second time.
    fn look(&mut self) -> Option<Reload> {
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
            Ok(settings) => Reload::Good(Box::new(settings)),
            Err(errors) => Reload::Refused(errors),
        }
    }

    fn log(&mut self, reload: &Reload) {
        match reload {
            Reload::Good(settings) => {
                tracing::info!("the configuration was read again and is in force");
                settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                for name in self.in_force.changed(settings) {
                    tracing::warn!(
                        "{name} has changed, which needs a restart: the old value stays in force"
                    );
                }
            }
            Reload::Refused(errors) => {
                let count = errors.mistakes().len();
                tracing::error!(
                    "the changed configuration is refused for {count} mistakes: the old one stays in force"
                );
                errors.mistakes().iter().for_each(|mistake| tracing::error!("{mistake}"));
            }
        }
    }
}

/// Waits for the next SIGHUP; for ever, where none can come.
async fn next(hangups: &mut Option<Signal>) {
    if let Some(hangups) = hangups
        && hangups.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// The settings that hold for as long as a process lives.
struct Fixed(Vec<(&'static str, String)>);

impl Fixed {
    fn of(settings: &Settings) -> Self {
        let Settings { listen, admin, store, gateway, log, shutdown_delay, shutdown_grace, .. } =
            settings;
        Self(vec![
            ("listen.http", listen.http.to_string()),
            ("listen.grpc", format!("{:?}", listen.grpc)),
            ("admin.listen", format!("{:?}", admin.listen)),
            ("store.url", store.url.reveal().to_owned()),
            ("store.prefix", store.prefix.clone()),
            ("store.timeout", format!("{:?}", store.timeout)),
            ("store.connections", store.connections.to_string()),
            ("store.password_file", format!("{:?}", store.password_file)),
            ("store.ca_file", format!("{:?}", store.ca_file)),
            ("gateway", format!("{gateway:?}")),
            ("log", format!("{log:?}")),
            ("shutdown_delay", format!("{shutdown_delay:?}")),
            ("shutdown_grace", format!("{shutdown_grace:?}")),
        ])
    }

    /// The names of the settings that are not as they were.
    fn changed(&self, settings: &Settings) -> Vec<&'static str> {
        let now = Self::of(settings);
        self.0
            .iter()
            .zip(&now.0)
            .filter(|(old, new)| old != new)
            .map(|((name, _), _)| *name)
            .collect()
    }
}

impl fmt::Debug for Watcher {
    /// Leaves out what is in the files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("files", &self.known.names().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Fixed {
    /// Leaves out the values, of which one may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
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
    fn a_file_is_read_once_two_looks_agree() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        assert!(watcher.look().is_none());
        fs::write(&file, "store: { pre").unwrap();
        assert!(watcher.look().is_none());
        fs::write(&file, "store: { prefix: b }").unwrap();
        assert!(watcher.look().is_none(), "it may still be being written");
        let Some(Reload::Good(settings)) = watcher.look() else { panic!("two looks agreed") };
        assert_eq!(settings.store.prefix, "b");
        assert!(watcher.look().is_none(), "nothing has changed since");
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        fs::write(&file, "store: { prefix: b }").unwrap();
        assert!(watcher.look().is_none());
        fs::write(&file, "store: { prefix: a }").unwrap();
        assert!(watcher.look().is_none());
        assert!(watcher.look().is_none());
    }

    #[test]
    fn what_is_refused_is_refused_once() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        fs::write(&file, "store: { prefix: '{' }").unwrap();
        assert!(watcher.look().is_none());
        assert!(matches!(watcher.look(), Some(Reload::Refused(_))));
        assert!(watcher.look().is_none());
    }

    #[test]
    fn on_request_it_is_read_at_once_and_also_when_nothing_has_changed() {
        let (_folder, file, mut watcher) = watcher("store: { prefix: a }");
        assert!(matches!(watcher.reload(), Reload::Good(_)));
        fs::write(&file, "store: { prefix: b }").unwrap();
        let Reload::Good(settings) = watcher.reload() else { panic!("it is good") };
        assert_eq!(settings.store.prefix, "b");
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let load = |text: &str| watcher(text).2.loader.load().unwrap();
        let fixed =
            Fixed::of(&load("{ store: { url: 'redis://:a@cache' }, listen: { grpc: off } }"));
        assert_eq!(
            fixed.changed(&load(
                "{ store: { url: 'redis://:a@cache' }, listen: { grpc: off }, defaults: off }"
            )),
            Vec::<&str>::new()
        );
        let other = load(
            "{ store: { url: 'redis://:b@cache', prefix: b }, listen: { http: '0.0.0.0:1' }, log: { level: debug } }",
        );
        assert_eq!(
            fixed.changed(&other),
            ["listen.http", "listen.grpc", "store.url", "store.prefix", "log"]
        );
        assert!(
            !format!("{fixed:?}").contains(":a@"),
            "a password is no more shown here than elsewhere"
        );
    }
}
