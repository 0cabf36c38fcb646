//! Where a command reads the configuration: the file, the environment and the flags.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use sluice_config::Loader;

/// The variable that names the configuration file if the flag does not.
const FILE_VARIABLE: &str = "SLUICE_CONFIG";
/// The configuration file that is read if no other is named and it exists.
const DEFAULT_FILE: &str = "sluice.yaml";

/// The variables of the environment.
pub(super) type Variables = Vec<(OsString, OsString)>;

/// The layers above the built-in defaults. Environment variables such as `SLUICE__STORE__URL` have
/// precedence over the file, and flags over both.
#[derive(Args, Debug, Default)]
pub(super) struct Layers {
    #[command(flatten)]
    file: ConfigFile,
    /// The address to listen on for HTTP.
    #[arg(long, value_name = "ADDRESS")]
    listen_http: Option<String>,
    /// The address to listen on for gRPC, or `off`.
    #[arg(long, value_name = "ADDRESS")]
    listen_grpc: Option<String>,
    /// The store of the buckets: memory://, redis://..., redis+sentinel://... or
    /// redis+cluster://..., each with rediss for TLS.
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,
    /// The prefix of every key in the store.
    #[arg(long, value_name = "TEXT")]
    store_prefix: Option<String>,
    /// The networks of the peers whose forwarding headers are trusted, separated by commas.
    #[arg(long, value_name = "NETWORKS")]
    trusted_proxies: Option<String>,
    /// The format of log lines: text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// The log level, such as `info`, or a filter, such as `info,sluice_store=debug`.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// The configuration file that a flag names.
#[derive(Args, Debug, Default)]
pub(super) struct ConfigFile {
    /// The configuration file. The default is the file that `SLUICE_CONFIG` names, or ./sluice.yaml
    /// if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Layers {
    /// Returns what reads all layers.
    pub(super) fn loader(self, variables: Variables) -> Loader {
        let flags: [(_, &'static [&'static str], _); 7] = [
            ("--listen-http", &["listen", "http"], self.listen_http),
            ("--listen-grpc", &["listen", "grpc"], self.listen_grpc),
            ("--store-url", &["store", "url"], self.store_url),
            ("--store-prefix", &["store", "prefix"], self.store_prefix),
            ("--trusted-proxies", &["clients", "trusted_proxies"], self.trusted_proxies),
            ("--log-format", &["log", "format"], self.log_format),
            ("--log-level", &["log", "level"], self.log_level),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(name, path, value)| value.map(|value| (name, path, value)));
        given.fold(self.file.loader(variables), |loader, (name, path, value)| {
            loader.flag(name, path, value)
        })
    }
}

impl ConfigFile {
    /// Returns what reads the file and the environment.
    pub(super) fn loader(self, variables: Variables) -> Loader {
        FileChoice::of(self.config, &variables).loader().variables(variables)
    }
}

/// The configuration file of a replica.
pub(super) enum FileChoice {
    /// This one, which must exist.
    Named(PathBuf),
    /// [`DEFAULT_FILE`], if it exists.
    Default,
}

impl FileChoice {
    /// Returns the file that the flag names, or else the variable.
    pub(super) fn of(flag: Option<PathBuf>, variables: &[(OsString, OsString)]) -> Self {
        let named = || {
            variables
                .iter()
                .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
                .map(|(_, value)| value.into())
        };
        flag.or_else(named).map_or(Self::Default, Self::Named)
    }

    /// Returns what reads the file alone.
    pub(super) fn loader(&self) -> Loader {
        match self {
            Self::Named(file) => Loader::new().file(file),
            Self::Default => Loader::new().file_if_present(DEFAULT_FILE),
        }
    }
}

impl fmt::Display for FileChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(file) => write!(f, "{}", file.display()),
            Self::Default if Path::new(DEFAULT_FILE).exists() => f.write_str(DEFAULT_FILE),
            Self::Default => write!(f, "built-in defaults, as there is no {DEFAULT_FILE}"),
        }
    }
}
