//! Where everything meets: settings become a store, a limiter, doors and a port.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response, routing::get};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use sluice::{Limiter, Telemetry};
use sluice_store::{RedisError, Replica};
use sluice_telemetry::{Otlp, Prometheus, Reload, TelemetryError};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    config::{ConfigErrors, Settings},
    engine::Engine,
    front_ends::HttpDoors,
    health::{self, Health},
    heartbeat,
    listener::Listener,
    replica,
    shutdown::Shutdown,
    store::{self, OpenStore},
};

/// How long a replica that stops tries to tell its fleet.
const DEPART_PATIENCE: Duration = Duration::from_secs(1);

/// One replica, ready to listen. Cheap to clone; clones are the same replica.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    health: Arc<Health>,
    doors: HttpDoors,
    store: OpenStore,
    telemetry: Telemetry,
    replica: Replica,
    shutdown: Shutdown,
}

/// Why a replica cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store cannot be one.
    #[error("the store cannot be opened")]
    Store(#[from] RedisError),
    /// Metrics or traces cannot be set up.
    #[error("the telemetry cannot be set up")]
    Telemetry(#[from] TelemetryError),
}

// === impl App ===

impl App {
    /// The replica that `settings` describe. Metrics and traces also go where the standard variables of OTLP in the environment say.
    ///
    /// # Errors
    /// When the settings are impossible together, or outside of a tokio runtime.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let replica = replica::named();
        let telemetry = Telemetry::builder().instance(&replica.id).otlp(Otlp::from_env()?).build()?;
        let recorders = telemetry.recorders();
        let Settings { store, identifier, policy, shutdown_delay, shutdown_grace, .. } = settings;
        let store = store::open(&store, &recorders.store)?;
        let engine = Arc::new(Engine::new(Limiter::new(policy, Arc::clone(&store.store), recorders), identifier));
        let health = Arc::new(Health::new(replica.clone(), Arc::clone(&store.watched)));
        let house = health::routes(Arc::clone(&engine), Arc::clone(&health)).merge(metrics(telemetry.prometheus().clone()));
        let doors = HttpDoors::new(Arc::clone(&engine), Arc::clone(&health), house, &recorders.http);
        let shutdown = Shutdown { delay: shutdown_delay, grace: shutdown_grace };
        Ok(Self { inner: Arc::new(Inner { engine, health, doors, store, telemetry, replica, shutdown }) })
    }

    /// What is behind the HTTP port.
    #[must_use]
    pub fn doors(&self) -> &HttpDoors {
        &self.inner.doors
    }

    /// Puts a changed configuration into force, as far as it can change while running: policy and identification.
    pub fn replace(&self, settings: Settings) {
        let Inner { engine, health, telemetry, .. } = &*self.inner;
        engine.replace(settings.policy, settings.identifier);
        health.configuration_replaced();
        telemetry.recorders().replica.reload(Reload::Applied);
    }

    /// Says, to whoever asks whether all is well, that a changed configuration was refused; the one before it stays in force.
    pub fn refuse(&self, mistakes: &ConfigErrors) {
        let Inner { health, telemetry, .. } = &*self.inner;
        health.configuration_refused(mistakes.to_string());
        telemetry.recorders().replica.reload(Reload::Refused);
    }

    /// Serves until `told_to_stop` resolves, then lets requests in flight finish.
    ///
    /// # Errors
    /// When `listener` is no listener.
    pub async fn run(&self, listener: TcpListener, told_to_stop: impl Future<Output = ()>) -> io::Result<()> {
        let Inner { health, doors, store, telemetry, replica, shutdown, .. } = &*self.inner;
        let recorders = telemetry.recorders();
        let heartbeat = tokio::spawn(heartbeat::beat(store.clone(), replica.clone(), recorders.clone()));
        tracing::info!(http = %listener.local_addr()?, store = store.watched.name(), replica = replica.id, "listening");

        let mut listener = Listener::new(listener, doors.clone(), recorders.system.clone());
        listener.accept_until(told_to_stop).await;
        health.stop();
        listener.accept_until(sleep(shutdown.delay)).await;
        let cut_off = listener.finish(shutdown.grace).await;
        if cut_off > 0 {
            tracing::warn!(connections = cut_off, grace = ?shutdown.grace, "requests were still in flight: their connections are cut off");
        }

        heartbeat.abort();
        // The others would notice by themselves, only later.
        let _ = tokio::time::timeout(DEPART_PATIENCE, store.store.depart(replica)).await;
        self.send_last_figures().await;
        tracing::info!("stopped");
        Ok(())
    }

    async fn send_last_figures(&self) {
        // It waits for the collector, if there is one.
        let app = self.clone();
        let sent = tokio::task::spawn_blocking(move || app.inner.telemetry.shutdown()).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last figures could not be sent");
        }
    }
}

/// `/metrics`, for a Prometheus.
fn metrics(prometheus: Prometheus) -> Router {
    let scrape = async move || match prometheus.render() {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Prometheus::CONTENT_TYPE));
            response
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the metrics cannot be written");
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    Router::new().route("/metrics", get(scrape))
}
