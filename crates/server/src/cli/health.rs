//! `sluice health`: checks whether a running replica is ready.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
};

use clap::Args;

use super::layers::{ConfigFile, Variables};
use crate::probe;

/// The port that is asked for its health when no configuration says another one.
const DEFAULT_HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

/// Checks whether a running replica is ready, and exits with 0 if it is: a health check for
/// containers without an HTTP client.
///
/// It asks the port that the configuration says, over TLS if the configuration has
/// `listen.tls`. Certificates are not verified.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The address of the replica's HTTP port. The default is `listen.http` of the
    /// configuration, at `127.0.0.1` or `[::1]` if that is every address.
    #[arg(value_parser = address)]
    address: Option<SocketAddr>,
    #[command(flatten)]
    file: ConfigFile,
}

/// Asks the replica for its readiness.
pub(super) fn run(
    arguments: Arguments,
    variables: Variables,
    out: &mut impl Write,
    err: &mut impl Write,
) -> ExitCode {
    let HealthPort { address, speaks_tls } = HealthPort::find(arguments, variables, &mut *err);
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

/// The port of a replica that is asked for its health.
struct HealthPort {
    address: SocketAddr,
    speaks_tls: bool,
}

impl HealthPort {
    /// Returns the port that the configuration says, or that the arguments name instead.
    ///
    /// The configuration may have become invalid since the replica started, and its secrets may not
    /// be readable here. Its address is used then.
    fn find(arguments: Arguments, variables: Variables, mut err: impl Write) -> Self {
        let Arguments { address, file } = arguments;
        let loader = file.loader(variables).without_secrets();
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
