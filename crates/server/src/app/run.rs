//! Serves until the end.

use std::{
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use sluice_gateway::Gateway;
use sluice_http::{Limits, Listener};
use sluice_rls::GrpcFrontEnds;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use super::{
    assembly::{App, Inner},
    ports::Ports,
};
use crate::{
    descriptors,
    exposure::Exposure,
    front_ends::{self, HttpFrontEnds},
    joining::{self, RunError},
    store_observer,
};

/// How long a replica that closes connections waits for what their requests used to be settled.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(1);

impl App {
    /// Serves at `ports` until `stop` resolves, then lets requests in flight finish.
    ///
    /// # Errors
    /// Returns an error when a socket has no local address, or when the first announcement to the
    /// store shows an older live replica that spreads its keys over another number of partitions.
    pub async fn run(
        &self,
        ports: impl Into<Ports>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let Ports { http, grpc: rpc, admin } = ports.into();
        let Inner {
            health,
            engine,
            http: http_front_ends,
            seals,
            access,
            callers,
            grpc,
            gateway,
            models,
            store,
            reporter,
            telemetry,
            replica,
            shutdown,
            limits,
            tls,
            requires_certificate,
            admin_tls,
            ..
        } = &*self.inner;
        let ports = 1 + u64::from(rpc.is_some()) + u64::from(admin.is_some());
        let limits = within_descriptors(*limits, ports, gateway.is_some());
        let recorders = telemetry.recorders();
        let membership = engine.limiter().join_as(replica.clone());
        let standing = membership.standing();
        store.watch.follow(standing.clone(), membership.other_secrets());
        if let Some(conflict) = joining::first_conflict(standing.clone()).await {
            // Without this, the other replicas notice the departure only after a while.
            let _ = membership.leave().await;
            return Err(RunError::Conflict(conflict));
        }
        let observing = tokio::spawn(store_observer::observe(store.clone(), recorders.clone()));
        let agreeing = tokio::spawn(front_ends::agree(Arc::clone(&store.store), Arc::clone(seals)));
        let rpc_address =
            rpc.as_ref().map(TcpListener::local_addr).transpose()?.map(tracing::field::display);
        let admin_address =
            admin.as_ref().map(TcpListener::local_addr).transpose()?.map(tracing::field::display);
        tracing::info!(
            http = %http.local_addr()?,
            grpc = rpc_address,
            admin = admin_address,
            store = store.watched.name(),
            replica = replica.id,
            "listening"
        );

        let exposure = Exposure {
            http: http.local_addr()?,
            grpc: rpc.as_ref().map(TcpListener::local_addr).transpose()?,
            serves_front_ends: gateway.as_ref().is_none_or(Gateway::leaves_front_ends_open),
            requires_token: callers.is_limited() || *requires_certificate,
            shows_metrics_to_clients: gateway.is_some() && admin.is_none() && access.is_open(),
        };
        if let Some(warning) = exposure.warning() {
            tracing::warn!("{warning}");
        }

        let flushing = reporter.start();
        let health_checks = gateway.as_ref().map(Gateway::watch);
        // The admin port stays open until the end, so that the last metrics can be scraped.
        let admin = admin.zip(self.admin()).map(|(listener, handler)| {
            let (handler, system) = (handler.clone(), recorders.system.clone());
            let mut listener =
                Listener::new(listener, handler, system, limits).with_tls(admin_tls.clone());
            tokio::spawn(async move { listener.accept_until(pending()).await })
        });

        let system = &recorders.system;
        let mut http = Listener::new(http, http_front_ends.clone(), system.clone(), limits)
            .with_tls(tls.clone());
        let mut rpc = rpc.map(|socket| {
            Listener::new(socket, grpc.clone(), system.clone(), limits).with_tls(tls.clone())
        });
        grpc.start().await;
        let mut conflict = None;
        let stop_or_conflict = async {
            tokio::select! {
                () = stop => {}
                found = joining::conflict(standing) => conflict = Some(found),
            }
        };
        accept_until(&mut http, rpc.as_mut(), stop_or_conflict).await;
        health.stop();
        grpc.stop().await;
        accept_until(&mut http, rpc.as_mut(), sleep(shutdown.delay)).await;
        grpc.end_watches().await;
        let rpc = async {
            match rpc {
                Some(rpc) => rpc.finish(shutdown.grace).await,
                None => 0,
            }
        };
        let http = async {
            let stopping_since = Instant::now();
            let left = || shutdown.grace.saturating_sub(stopping_since.elapsed());
            let closed = http.finish(shutdown.grace).await;
            // Upgraded connections no longer belong to the listener.
            let upgraded = match gateway {
                Some(gateway) => gateway.finish(left()).await,
                None => 0,
            };
            let unsettled = match models {
                Some(models) => models.finish(left().max(LAST_SETTLEMENTS)).await,
                None => 0,
            };
            if unsettled > 0 {
                tracing::warn!(
                    requests = unsettled,
                    "what these requests to models used is not settled: they stay charged with \
                     their estimates"
                );
            }
            // The requests have ended, but the store may not know that yet.
            let holding = engine.limiter().finish_slots(left().max(LAST_SETTLEMENTS)).await;
            if holding > 0 {
                tracing::warn!(
                    requests = holding,
                    "the slots of these requests in flight are not given back: they return by \
                     themselves after two terms"
                );
            }
            closed + upgraded
        };
        let (http, rpc) = tokio::join!(http, rpc);
        drop(health_checks);
        if http + rpc > 0 {
            tracing::warn!(
                connections = http + rpc,
                grace = ?shutdown.grace,
                "requests are still in flight after the grace period: closing their connections"
            );
        }

        observing.abort();
        agreeing.abort();
        if let Some(admin) = admin {
            admin.abort();
        }
        flushing.stop().await;
        // Without this, the other replicas notice the departure only after a while.
        let _ = membership.leave().await;
        if let Some(buckets) =
            store.watched.observe().map(|seen| seen.owed_buckets).filter(|&owed| owed > 0)
        {
            tracing::warn!(
                buckets,
                "the store is still away: the tokens admitted without it will never be charged"
            );
        }
        self.send_last_metrics().await;
        tracing::info!("stopped");
        conflict.map_or(Ok(()), |conflict| Err(RunError::Conflict(conflict)))
    }

    async fn send_last_metrics(&self) {
        // The shutdown waits for the collector, if there is one.
        let app = self.clone();
        let sent = tokio::task::spawn_blocking(move || app.inner.telemetry.shutdown()).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not export the last metrics"
            );
        }
    }
}

/// Lowers the number of connections to what the process has descriptors for.
fn within_descriptors(limits: Limits, ports: u64, is_gateway: bool) -> Limits {
    let Some(descriptors) = descriptors::raise() else { return limits };
    let most = descriptors::connections_per_port(descriptors, ports, is_gateway);
    if most < limits.max_connections {
        tracing::warn!(
            descriptors,
            max_connections = most,
            "the limit of open files (`ulimit -n`) permits fewer connections per port than \
             listen.max_connections: raise it, or lower the setting"
        );
    }
    Limits { max_connections: most.min(limits.max_connections), ..limits }
}

async fn accept_until(
    http: &mut Listener<HttpFrontEnds>,
    grpc: Option<&mut Listener<GrpcFrontEnds>>,
    until: impl Future<Output = ()>,
) {
    let accept_calls = async {
        match grpc {
            Some(grpc) => grpc.accept_until(pending()).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = http.accept_until(until) => {}
        () = accept_calls => {}
    }
}
