//! The command line.
//!
//! ```text
//! sluice [serve] [--config FILE] [--listen-http ADDRESS] ...     decide
//! sluice config check FILE                                       say what is wrong with a file
//! sluice config show [--config FILE] ...                         say what all layers come to
//! sluice health [ADDRESS]                                        say whether the replica there is ready
//! sluice openapi                                                 print what the HTTP port understands
//! ```

use std::{
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use sluice_config::{ConfigErrors, Loader, Settings, Watcher};

use crate::{openapi, probe};

/// What a process that was told mistakes of its configuration exits with: `EX_CONFIG` of
/// sysexits.h, unlike a usage mistake (2) or a failure (1).
pub const EXIT_CONFIG: u8 = 78;

/// The variable that names the file where the flag does not.
const FILE_VARIABLE: &str = "SLUICE_CONFIG";
/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "sluice.yaml";

/// A rate limiter for a fleet.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    layers: Layers,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decides about requests; what is done when no command is given.
    Serve(Layers),
    /// Looks at configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Asks a running replica whether it is ready, and exits with 0 if it is: a health check for
    /// containers, which hold nothing else to ask with.
    Health {
        /// Where it listens for HTTP.
        #[arg(default_value = "127.0.0.1:8000")]
        address: SocketAddr,
    },
    /// Prints the OpenAPI document of the HTTP port, which a replica serves at /openapi.json: to
    /// make clients of.
    #[command(name = "openapi")]
    OpenApi,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Says everything that is wrong with a file, without the environment and without reading the
    /// files with secrets that it names.
    Check {
        /// The file: YAML, TOML or JSON by its extension.
        file: PathBuf,
    },
    /// Prints what the defaults, the file, the environment and the flags come to, and who said
    /// what. Secrets are masked.
    Show(Layers),
}

/// What is read above the built-in defaults. Environment variables (`SLUICE__STORE__URL`) stand
/// between the file and the flags.
#[derive(Args, Debug)]
struct Layers {
    /// The configuration file; without it, the one that `SLUICE_CONFIG` names, or else
    /// ./sluice.yaml if that exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen for HTTP.
    #[arg(long, value_name = "ADDRESS")]
    listen_http: Option<String>,
    /// Where to listen for gRPC, or `off`.
    #[arg(long, value_name = "ADDRESS")]
    listen_grpc: Option<String>,
    /// Where buckets live: memory://, redis://... or rediss://...
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,
    /// What every key in the store begins with.
    #[arg(long, value_name = "TEXT")]
    store_prefix: Option<String>,
    /// Peers whose forwarding headers are believed, separated by commas.
    #[arg(long, value_name = "NETWORKS")]
    trusted_proxies: Option<String>,
    /// How log lines look: text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged: info, or `info,sluice_store=debug`.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Cli {
    /// Does what the command line says, with these environment variables; `serve` runs a replica.
    pub fn run(
        self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        serve: impl FnOnce(Settings, Watcher) -> ExitCode,
        mut out: impl Write,
        mut err: impl Write,
    ) -> ExitCode {
        let serve = |layers: Layers, variables| {
            layers
                .loader(variables)
                .load_and_watch()
                .map(|(settings, watcher)| serve(settings, watcher))
        };
        let outcome = match self.command {
            None => serve(self.layers, variables),
            Some(Command::Serve(layers)) => serve(layers, variables),
            Some(Command::Config(ConfigCommand::Show(layers))) => layers
                .loader(variables)
                .show()
                .map(|text| exit_code(&write!(out, "{text}").and_then(|()| out.flush()))),
            Some(Command::Health { address }) => Ok(health(address, &mut out, &mut err)),
            Some(Command::OpenApi) => {
                let written = out
                    .write_all(openapi::text())
                    .and_then(|()| writeln!(out))
                    .and_then(|()| out.flush());
                Ok(exit_code(&written))
            }
            Some(Command::Config(ConfigCommand::Check { file })) => {
                let checked = Loader::new().file(&file).without_secrets().load();
                checked.map(|settings| exit_code(&report(&file, &settings, &mut out, &mut err)))
            }
        };
        outcome.unwrap_or_else(|mistakes| refuse(&mistakes, &mut err))
    }
}

impl Layers {
    fn loader(self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Loader {
        let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
        let named = || {
            variables
                .iter()
                .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
                .map(|(_, value)| value.into())
        };
        let loader = match self.config.or_else(named) {
            Some(file) => Loader::new().file(file),
            None => Loader::new().file_if_present(DEFAULT_FILE),
        };
        let flags: [(_, &'static [&'static str], _); 7] = [
            ("--listen-http", &["listen", "http"], self.listen_http),
            ("--listen-grpc", &["listen", "grpc"], self.listen_grpc),
            ("--store-url", &["store", "url"], self.store_url),
            ("--store-prefix", &["store", "prefix"], self.store_prefix),
            ("--trusted-proxies", &["clients", "trusted_proxies"], self.trusted_proxies),
            ("--log-format", &["log", "format"], self.log_format),
            ("--log-level", &["log", "level"], self.log_level),
        ];
        let said = flags
            .into_iter()
            .filter_map(|(name, path, value)| value.map(|value| (name, path, value)));
        said.fold(loader.variables(variables), |loader, (name, path, value)| {
            loader.flag(name, path, value)
        })
    }
}

fn report(
    file: &std::path::Path,
    settings: &Settings,
    mut out: impl Write,
    mut err: impl Write,
) -> io::Result<()> {
    for warning in &settings.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    let limits = settings.policy.limits().len();
    writeln!(out, "{}: no mistakes, {limits} limits", file.display())?;
    out.flush()
}

fn health(address: SocketAddr, mut out: impl Write, mut err: impl Write) -> ExitCode {
    // Whoever asks looks at the exit code; whether the words can be written is not what was asked.
    match probe::ask(address) {
        Ok(said) => {
            let _ = writeln!(out, "{}", said.body).and_then(|()| out.flush());
            if said.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(err, "{address}: {error}").and_then(|()| err.flush());
            ExitCode::FAILURE
        }
    }
}

fn refuse(mistakes: &ConfigErrors, mut err: impl Write) -> ExitCode {
    // Nobody could be told that nobody can be told.
    let _ = writeln!(err, "{mistakes}").and_then(|()| err.flush());
    ExitCode::from(EXIT_CONFIG)
}

fn exit_code(written: &io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
