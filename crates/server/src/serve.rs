//! `sluice serve`: runs one replica until it is stopped.

use std::{io, net::SocketAddr, pin::pin};

use sluice_config::{Listen, POLL_INTERVAL, Reload, Settings, Watcher};
use sluice_store::Replica;
use sluice_telemetry::Telemetry;
use tokio::{net::TcpListener, sync::oneshot};
use tracing_subscriber::filter::ParseError;

use crate::{
    app::{self, App, OpenError, Ports, RunError},
    logging, replica,
    shutdown::StopSignal,
};

/// Why a replica cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The log level is not a valid filter.
    #[error("log.level is not a valid filter")]
    Log(#[from] ParseError),
    /// The replica could not be set up.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The process cannot listen on an address: the port is in use or not permitted.
    #[error("{setting}: cannot listen on {address}")]
    Listen {
        /// The setting that has the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The replica ended without being stopped.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The system does not provide a thread or a signal handler.
    #[error("the operating system refused a thread or a signal handler")]
    System(#[from] io::Error),
}

impl ServeError {
    /// Returns whether only another configuration can help.
    #[must_use]
    pub const fn is_of_configuration(&self) -> bool {
        match self {
            Self::Log(_) => true,
            Self::Open(error) => !matches!(error, OpenError::Telemetry(_)),
            Self::Run(error) => matches!(error, RunError::Conflict(_)),
            Self::Listen { .. } | Self::System(_) => false,
        }
    }
}

/// Serves with `settings` until SIGTERM or SIGINT, and then until the requests in flight are
/// finished. A second signal stops it immediately.
///
/// Call it only once in a process, because it starts logging.
///
/// # Errors
///
/// [`ServeError`] if the replica cannot start to serve.
pub fn serve(settings: Settings, watcher: Watcher) -> Result<(), ServeError> {
    let replica = replica::this_process();
    let telemetry = app::telemetry(&replica)?;
    logging::start(&settings.log, &telemetry)?;
    log_start(&settings, &watcher, &replica);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if !settings.replaced_endpoints.is_empty() {
        tracing::info!(
            endpoints = settings.replaced_endpoints.join(", "),
            "the file's `endpoints` replace the built-in ones: these have no limit of their own"
        );
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve_until_signal(settings, watcher, replica, telemetry))
}

/// Logs what is needed first when a replica does not do what its configuration says: which
/// configuration that is, and where it leads.
fn log_start(settings: &Settings, watcher: &Watcher, replica: &Replica) {
    let Settings { store, gateway, rls, .. } = settings;
    let file = watcher.file().map(|file| file.display().to_string());
    let upstreams = gateway.as_ref().map(|gateway| {
        let upstreams: Vec<_> = gateway.upstreams.iter().map(ToString::to_string).collect();
        upstreams.join(",")
    });
    tracing::info!(
        version = replica.version,
        configuration = file.as_deref().unwrap_or("built-in defaults"),
        store = %store.url,
        prefix = store.prefix,
        limits = settings.policy.limits().len(),
        rls_domains = rls.as_ref().map(|rls| rls.domains.len()),
        upstreams,
        "starting"
    );
}

async fn serve_until_signal(
    settings: Settings,
    watcher: Watcher,
    replica: Replica,
    telemetry: Telemetry,
) -> Result<(), ServeError> {
    // Before anything else, so that a signal during the start is not lost.
    let mut signals = StopSignal::register()?;
    let (Listen { http, grpc, .. }, admin) = (settings.listen.clone(), settings.admin.listen);
    let app = App::assemble(settings, replica, telemetry)?;
    let http = listen("listen.http", http).await?;
    let grpc = match grpc {
        Some(address) => Some(listen("listen.grpc", address).await?),
        None => None,
    };
    let admin = match admin {
        Some(address) => Some(listen("admin.listen", address).await?),
        None => None,
    };

    let active = app.clone();
    let mut watching = pin!(watcher.run(POLL_INTERVAL, move |reload| match reload {
        Reload::Good(settings) => active.replace(*settings),
        Reload::Refused(errors) => active.reject(&errors),
    }));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let mut running = pin!(app.run(Ports { http, grpc, admin }, async {
        // An error means that the sender was dropped. No signal could stop the replica any more, so
        // it stops then too.
        let _ = stopped.await;
    }));
    loop {
        tokio::select! {
            ended = &mut running => return Ok(ended?),
            never = &mut watching => match never {},
            signal = signals.next() => match stop.take() {
                Some(stop) => {
                    tracing::info!(signal, "stopping: finishing the requests in flight");
                    let _ = stop.send(());
                }
                None => {
                    tracing::warn!(signal, "second signal: stopping at once");
                    return Ok(());
                }
            },
        }
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen {
        setting,
        address,
        source: with_remedy(setting, source),
    })
}

/// Adds to an error about an address how to choose another one.
fn with_remedy(setting: &str, error: io::Error) -> io::Error {
    let kind = error.kind();
    if !matches!(
        kind,
        io::ErrorKind::AddrInUse
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
    ) {
        return error;
    }
    let variable = setting.to_uppercase().replace('.', "__");
    let (flag, off) = match setting {
        "listen.http" => (" or --listen-http", ""),
        "listen.grpc" => (" or --listen-grpc", ", or to `off`"),
        _ => ("", ""),
    };
    let remedy = format!("set {setting}, SLUICE__{variable}{flag} to another address{off}");
    io::Error::new(kind, format!("{error}: {remedy}"))
}
