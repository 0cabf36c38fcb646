//! The command line.
//!
//! ```text
//! sluice [serve] [--config FILE] [--listen-http ADDRESS] ...   run a replica
//! sluice config check [FILE]                                   print all errors of a file
//! sluice config show [--config FILE] ...                       print the effective configuration
//! sluice config schema                                         print the JSON Schema of a file
//! sluice health [ADDRESS] [--config FILE]                      check whether a replica is ready
//! sluice openapi                                               print the OpenAPI document
//! ```

use std::{
    ffi::OsString,
    fmt,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use sluice_config::{ConfigErrors, Loader, RulesFile, Settings, Watcher};

use crate::{
    openapi, probe,
    tls_files::{self, Findings},
};

/// The exit code for an invalid configuration: `EX_CONFIG` of sysexits.h. A usage error exits with
/// 2, any other failure with 1.
pub const EXIT_CONFIG: u8 = 78;

/// The variable that names the configuration file if the flag does not.
const FILE_VARIABLE: &str = "SLUICE_CONFIG";
/// The port that is asked for its health when no configuration says another one.
const DEFAULT_HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
/// The configuration file that is read if no other is named and it exists.
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
    /// Runs a replica. This is the default command.
    Serve(Layers),
    /// Checks and prints configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Checks whether a running replica is ready, and exits with 0 if it is: a health check for
    /// containers without an HTTP client.
    ///
    /// It asks the port that the configuration says, over TLS if the configuration has
    /// `listen.tls`. Certificates are not verified.
    Health {
        /// The address of the replica's HTTP port. The default is `listen.http` of the
        /// configuration, at `127.0.0.1` or `[::1]` if that is every address.
        #[arg(value_parser = address)]
        address: Option<SocketAddr>,
        /// The configuration file, as for `serve`.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Prints the OpenAPI document of the HTTP port, which a replica also serves at /openapi.json.
    #[command(name = "openapi")]
    OpenApi,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints all errors of a configuration. Of the files with secrets that it names, only those of
    /// TLS are read, and only if they are on this machine.
    Check {
        /// The file: YAML, TOML or JSON by its extension. It is checked alone, without the
        /// environment. It may also hold rules of Envoy's rate limit service. Without it, what
        /// `serve` would read is checked: the file that `SLUICE_CONFIG` names, or else
        /// ./sluice.yaml, and the environment.
        file: Option<PathBuf>,
    },
    /// Prints the effective configuration from defaults, file, environment and flags, with the
    /// source of each value. Secrets are masked.
    Show(Layers),
    /// Prints the JSON Schema of a configuration file, for editors and other tools.
    Schema,
}

/// The layers above the built-in defaults. Environment variables such as `SLUICE__STORE__URL` have
/// precedence over the file, and flags over both.
#[derive(Args, Debug, Default)]
struct Layers {
    /// The configuration file. The default is the file that `SLUICE_CONFIG` names, or ./sluice.yaml
    /// if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
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

impl Cli {
    /// Runs the command with these environment variables. `serve` runs a replica.
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
            Some(Command::Config(ConfigCommand::Schema)) => {
                let schema = Loader::schema();
                Ok(exit_code(&writeln!(out, "{schema:#}").and_then(|()| out.flush())))
            }
            Some(Command::Health { address, config }) => {
                let layers = Layers { config, ..Layers::default() };
                Ok(health(address, layers, variables, &mut out, &mut err))
            }
            Some(Command::OpenApi) => {
                let written = out
                    .write_all(openapi::text())
                    .and_then(|()| writeln!(out))
                    .and_then(|()| out.flush());
                Ok(exit_code(&written))
            }
            Some(Command::Config(ConfigCommand::Check { file: Some(file) })) => {
                check_file(&file, &mut out, &mut err)
            }
            Some(Command::Config(ConfigCommand::Check { file: None })) => {
                let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
                let checked = FileChoice::of(None, &variables);
                let loader = checked.loader().variables(variables).without_secrets();
                check(&checked.to_string(), &loader, &mut out, &mut err)
            }
        };
        outcome.unwrap_or_else(|errors| reject(&errors, &mut err))
    }
}

impl Layers {
    fn loader(self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Loader {
        let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
        let loader = FileChoice::of(self.config, &variables).loader();
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
        given.fold(loader.variables(variables), |loader, (name, path, value)| {
            loader.flag(name, path, value)
        })
    }
}

/// The configuration file of a replica.
enum FileChoice {
    /// This one, which must exist.
    Named(PathBuf),
    /// [`DEFAULT_FILE`], if it exists.
    Default,
}

impl FileChoice {
    /// Returns the file that the flag names, or else the variable.
    fn of(flag: Option<PathBuf>, variables: &[(OsString, OsString)]) -> Self {
        let named = || {
            variables
                .iter()
                .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
                .map(|(_, value)| value.into())
        };
        flag.or_else(named).map_or(Self::Default, Self::Named)
    }

    fn loader(&self) -> Loader {
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

/// Checks a file alone: a configuration, or rules of Envoy's rate limit service.
fn check_file(
    file: &Path,
    mut out: impl Write,
    mut err: impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let name = file.display().to_string();
    let Some(rules) = RulesFile::check(file) else {
        return check(&name, &Loader::new().file(file).without_secrets(), out, err);
    };
    let RulesFile { domain, warnings, .. } = rules?;
    let written = warn(&warnings, &mut err)
        .and_then(|()| writeln!(out, "{name}: valid, {}", rules_count(domain.rules(), 1)))
        .and_then(|()| out.flush());
    Ok(exit_code(&written))
}

/// Checks what `loader` reads, and the files of TLS that it names.
fn check(
    name: &str,
    loader: &Loader,
    out: impl Write,
    mut err: impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let settings = loader.load()?;
    let Findings { warnings, errors } = tls_files::check(&settings, loader);
    if errors.is_empty() {
        let written = warn(&warnings, &mut err);
        return Ok(exit_code(&written.and_then(|()| report(name, &settings, out, err))));
    }
    // As in `reject`: nothing is left to report to.
    let written = errors.iter().try_for_each(|error| writeln!(err, "{error}"));
    let _ = written.and_then(|()| err.flush());
    Ok(ExitCode::from(EXIT_CONFIG))
}

fn report(
    name: &str,
    settings: &Settings,
    mut out: impl Write,
    mut err: impl Write,
) -> io::Result<()> {
    warn(&settings.warnings, &mut err)?;
    if !settings.replaced_endpoints.is_empty() {
        writeln!(
            err,
            "note: `endpoints` replace the built-in ones: {} no longer have a limit of their own",
            settings.replaced_endpoints.join(", ")
        )?;
    }
    let limits = settings.policy.limits().len();
    let noun = if limits == 1 { "limit" } else { "limits" };
    write!(out, "{name}: valid, {limits} {noun}")?;
    if let Some(rls) = &settings.rls {
        write!(out, ", {}", rules_count(rls.rules(), rls.domains.len()))?;
    }
    writeln!(out)?;
    out.flush()
}

fn warn(warnings: &[impl fmt::Display], err: &mut impl Write) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(err, "warning: {warning}"))
}

fn rules_count(rules: usize, domains: usize) -> String {
    let plural = |count| if count == 1 { "" } else { "s" };
    format!("{rules} RLS rule{} in {domains} domain{}", plural(rules), plural(domains))
}

/// The port of a replica that is asked for its health.
struct HealthPort {
    address: SocketAddr,
    speaks_tls: bool,
}

impl HealthPort {
    /// Returns the port that the configuration says, or `address` instead.
    ///
    /// The configuration may have become invalid since the replica started, and its secrets may not
    /// be readable here. Its address is used then.
    fn find(
        address: Option<SocketAddr>,
        layers: Layers,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        mut err: impl Write,
    ) -> Self {
        let loader = layers.loader(variables).without_secrets();
        let loaded = loader.load();
        match loaded {
            Ok(settings) => {
                let (listen, admin) = (settings.listen, settings.admin);
                let is_admin = address.is_some() && address == admin.listen.map(reachable);
                let speaks_tls = if is_admin { admin.tls.is_some() } else { listen.tls.is_some() };
                Self { address: address.unwrap_or(reachable(listen.http)), speaks_tls }
            }
            Err(errors) => {
                let _ = writeln!(err, "only the address is read of an invalid file: {errors}");
                let configured = || loader.http_address().map(reachable);
                let address = address.or_else(configured).unwrap_or(DEFAULT_HEALTH);
                Self { address, speaks_tls: false }
            }
        }
    }
}

/// Parses an address as `listen.http` has it.
fn address(text: &str) -> Result<SocketAddr, &'static str> {
    sluice_config::parse_address(text)
        .map(reachable)
        .ok_or("write an address and a port, as in `127.0.0.1:8000`, `[::1]:8000` or `:8000`")
}

/// Returns where this machine reaches a listener at `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn health(
    address: Option<SocketAddr>,
    layers: Layers,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    mut out: impl Write,
    mut err: impl Write,
) -> ExitCode {
    let HealthPort { address, speaks_tls } = HealthPort::find(address, layers, variables, &mut err);
    // The exit code is the result, so errors of writing the output are ignored.
    // The files may say something else than when the replica started.
    let readiness = probe::readiness(address, speaks_tls)
        .or_else(|error| probe::readiness(address, !speaks_tls).map_err(|_| error));
    match readiness {
        Ok(readiness) => {
            let _ = writeln!(out, "{}", readiness.body).and_then(|()| out.flush());
            if readiness.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(err, "{address}: {error}").and_then(|()| err.flush());
            ExitCode::FAILURE
        }
    }
}

fn reject(errors: &ConfigErrors, mut err: impl Write) -> ExitCode {
    // If standard error cannot be written, there is nowhere left to report that.
    let _ = writeln!(err, "{errors}").and_then(|()| err.flush());
    ExitCode::from(EXIT_CONFIG)
}

fn exit_code(written: &io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
