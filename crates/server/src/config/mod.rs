//! The configuration: built-in defaults < file < environment < flags.
//!
//! [`Loader::load`] reads all layers and merges them (`layers`), reads the typed [`Settings`] out
//! of the tree (`reader`, `read`), and reports every mistake at once: who said it, where, and what
//! would be right.
//!
//! ```
//! use sluice_server::config::Loader;
//!
//! let settings = Loader::new().variables([("SLUICE__STORE__TIMEOUT", "50ms")]).load()?;
//! assert_eq!(settings.store.timeout.as_millis(), 50);
//!
//! let mistakes = Loader::new().variables([("SLUICE__STORE__TIMEOUT", "50")]).load().unwrap_err();
//! assert_eq!(mistakes.to_string(), "SLUICE__STORE__TIMEOUT: store.timeout: `50` has no unit: write `50ms`, `50s` or `50m`");
//! # Ok::<_, sluice_server::config::ConfigErrors>(())
//! ```

mod document;
mod environment;
mod error;
mod files;
pub mod gateway;
mod layers;
mod loader;
mod origin;
mod path;
mod read;
mod reader;
pub mod rls;
mod secret;
mod settings;
mod show;
mod store_url;
mod watch;
mod words;

pub use error::{ConfigErrors, Mistake};
pub use gateway::GatewaySettings;
pub use loader::Loader;
pub use origin::Origin;
pub use path::Path;
pub use rls::RlsSettings;
pub use secret::Secret;
pub use settings::{Admin, Credentials, Listen, LogFormat, LogSettings, Settings, StoreSettings};
pub use store_url::{RedisUrl, StoreUrl, StoreUrlError};
pub use watch::{LOOK_EVERY, Reload, Watcher};
