//! The configuration: built-in defaults < file < environment < flags.
//!
//! [`Loader::load`] reads all layers and merges them (`layers`), reads the typed [`Settings`] out
//! of the tree (`reader`, `read`), and reports every mistake at once: who said it, where, and what
//! would be right.
//!
//! ```
//! use sluice_config::Loader;
//!
//! let settings = Loader::new().variables([("SLUICE__STORE__TIMEOUT", "50ms")]).load()?;
//! assert_eq!(settings.store.timeout.as_millis(), 50);
//!
//! let mistakes = Loader::new().variables([("SLUICE__STORE__TIMEOUT", "50")]).load().unwrap_err();
//! assert_eq!(mistakes.to_string(), "SLUICE__STORE__TIMEOUT: store.timeout: `50` has no unit: write `50ms`, `50s` or `50m`");
//! # Ok::<_, sluice_config::ConfigErrors>(())
//! ```

mod document;
mod environment;
mod error;
mod files;
mod layers;
mod loader;
mod origin;
mod path;
mod read;
mod reader;
mod settings;
mod show;
mod watch;
mod words;

pub use error::{ConfigError, ConfigErrors};
pub use loader::Loader;
pub use origin::Origin;
pub use path::Path;
pub use settings::{
    Admin, Credentials, GatewaySettings, Listen, LogFormat, LogSettings, RedisUrl, RlsSettings,
    Secret, Settings, StoreSettings, StoreUrl, StoreUrlError, gateway, rls,
};
pub use watch::{LOOK_EVERY, Reload, Watcher};
