//! The configuration: built-in defaults < file < environment < flags.
//!
//! [`Loader::load`] reads all layers into one tree, and the typed [`Settings`] from it. All errors
//! are reported at once, each with its file and line (or variable, or flag), the path of the value,
//! what is wrong, and the remedy.
//!
//! ```
//! use sluice_config::Loader;
//!
//! let settings = Loader::new().variables([("SLUICE__STORE__TIMEOUT", "50ms")]).load()?;
//! assert_eq!(settings.store.timeout.as_millis(), 50);
//!
//! let errors = Loader::new().variables([("SLUICE__STORE__TIMEOUT", "50")]).load().unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "SLUICE__STORE__TIMEOUT: store.timeout: `50` has no unit: write `50ms`, `50s` or `50m`"
//! );
//! # Ok::<_, sluice_config::ConfigErrors>(())
//! ```
//!
//! The way of a value: `document` (YAML, JSON and TOML as one tree with lines), `environment` ->
//! `layers` (merged by the crate `config`) -> `reader` (typed fields) -> `read` (the grammar, one
//! file a section) -> `settings`; all of it is called by `loader`.

mod changes;
mod document;
mod environment;
mod error;
mod files;
mod keys;
mod layers;
mod loader;
mod origin;
mod path;
mod read;
mod reader;
mod rules_file;
mod schema;
mod settings;
mod show;
mod strays;
mod watch;
mod words;

pub use changes::ChangedSetting;
pub use error::{ConfigError, ConfigErrors};
pub use loader::Loader;
pub use origin::Origin;
pub use path::Path;
pub use read::parse_address;
pub use rules_file::RulesFile;
pub use settings::{
    AccessSettings, Admin, ClientCertificate, ConnectionLimits, CostSettings, Credentials,
    DecisionLogSettings, GatewaySettings, Listen, LlmModel, LlmRoute, LlmSettings, LogFormat,
    LogSettings, MetricsSettings, ReadFile, RedisUrl, RlsSettings, Secret, SentinelLogin, Settings,
    Share, StoreSettings, StoreUrl, StoreUrlError, TlsSettings, gateway, rls,
};
pub use watch::{POLL_INTERVAL, Reload, Watcher};
