//! `sluice serve`: one replica, from its configuration to its end.

use std::{io, net::SocketAddr, pin::pin};

use sluice_store::Replica;
use sluice_telemetry::Telemetry;
use tokio::{net::TcpListener, sync::oneshot};
use tracing_subscriber::filter::ParseError;

use sluice_config::{Listen, POLL_INTERVAL, Reload, Settings, Watcher};

use crate::{
    app::{self, App, OpenError, Ports},
    logging, replica,
    shutdown::StopSignal,
};

/// Why a replica does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The level of logging is no filter.
    #[error("log.level is not a valid filter")]
    Log(#[from] ParseError),
    /// The settings make no replica.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Somebody else has the port, or it is not ours to take.
    #[error("{setting}: cannot listen on {address}")]
    Listen {
        /// Who asks for it.
        setting: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system refuses what every server needs: threads, signals.
    #[error("the operating system refused a thread or a signal handler")]
    System(#[from] io::Error),
}

/// Serves as `settings` say until the process is told to stop (SIGTERM, SIGINT), and then until
/// requests in flight are answered; told again, it stops at once. To be called once in a process:
/// it starts the logging.
///
/// # Errors
/// When the replica cannot begin to serve.
pub fn serve(settings: Settings, watcher: Watcher) -> Result<(), ServeError> {
    let replica = replica::named();
    let telemetry = app::telemetry(&replica)?;
    logging::start(&settings.log, &telemetry)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve_until_signal(settings, watcher, replica, telemetry))
}

async fn serve_until_signal(
    settings: Settings,
    watcher: Watcher,
    replica: Replica,
    telemetry: Telemetry,
) -> Result<(), ServeError> {
    // Before anything else, so that no signal ends the process unheard.
    let mut signals = StopSignal::catch()?;
    let (Listen { http, grpc }, admin) = (settings.listen.clone(), settings.admin.listen);
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
    let (tell, told) = oneshot::channel::<()>();
    let mut tell = Some(tell);
    let mut running = pin!(app.run(Ports { http, grpc, admin }, async {
        // An error would mean that nobody can tell any more.
        let _ = told.await;
    }));
    loop {
        tokio::select! {
            ended = &mut running => return Ok(ended?),
            never = &mut watching => match never {},
            signal = signals.next() => match tell.take() {
                Some(tell) => {
                    tracing::info!(signal, "stopping: finishing the requests in flight");
                    let _ = tell.send(());
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
        source,
    })
}
