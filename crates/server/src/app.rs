//! The application: connects the store, the limiter, the front ends and the ports by the settings.

use std::{
    future::{Future, pending},
    sync::Arc,
};

use axum::middleware;
use sluice::{
    Limiter, Recorders, Telemetry,
    stats::{EndpointLabels, Reporter, StatsCounters, events::Events},
};
use sluice_store::{RedisError, Replica};
use sluice_telemetry::{BuildInfo, Otlp, ReloadResult, TelemetryError, TlsSection};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use sluice_config::{
    ConfigErrors, ConnectionLimits, CostSettings, MetricsSettings, Secret, Settings,
};
use sluice_gateway::{Gateway, OpenGatewayError};
use sluice_http::{Limits, Listener, Tls, TlsError, access::CallerAccess};
use sluice_rls::{EnvoyRls, GrpcFrontEnds};

use crate::{
    admin::{
        AdminPort, AdminRoutes,
        access::Access,
        console,
        health::{self, Health},
        metrics,
        monitoring::{self, Monitoring},
    },
    decision_log::{DecisionLog, Denial},
    descriptors,
    engine::Engine,
    exposure::Exposure,
    front_ends::{self, HttpFrontEnds, HttpPort, Seals, Services},
    joining,
    logging::error_chain,
    openapi, replica,
    shutdown::Shutdown,
    store::{self, OpenStore},
    store_observer,
    tls_files::{self, Unusable},
};

pub use crate::joining::RunError;

/// One replica, ready to listen. Cheap to clone; clones are the same replica.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Arc<Engine>,
    decisions: Arc<DecisionLog>,
    endpoints: EndpointLabels,
    health: Arc<Health>,
    events: Events,
    http: HttpFrontEnds,
    /// The handler of the admin port, if there is one.
    admin: Option<AdminPort>,
    access: Access,
    callers: CallerAccess,
    grpc: GrpcFrontEnds,
    rls: EnvoyRls,
    seals: Arc<Seals>,
    gateway: Option<Gateway>,
    store: OpenStore,
    reporter: Reporter,
    telemetry: Telemetry,
    replica: Replica,
    shutdown: Shutdown,
    limits: Limits,
    /// The TLS of the HTTP port and the gRPC port.
    tls: Option<Tls>,
    /// Whether callers of the front ends need a client certificate.
    requires_certificate: bool,
    admin_tls: Option<Tls>,
}

/// The sockets that a replica listens on.
#[derive(Debug)]
pub struct Ports {
    /// The HTTP port.
    pub http: TcpListener,
    /// The gRPC port; `None` if it is off.
    pub grpc: Option<TcpListener>,
    /// The port for metrics and monitoring, if they have one of their own.
    pub admin: Option<TcpListener>,
}

/// Why a replica cannot be created from its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store cannot be opened.
    #[error("cannot open the store")]
    Store(#[from] RedisError),
    /// The gateway cannot be opened.
    #[error("cannot open the gateway")]
    Gateway(#[from] OpenGatewayError),
    /// The files of a port's TLS cannot be used.
    #[error("{setting}: TLS cannot be set up")]
    Tls {
        /// The setting that names the file, such as `listen.tls.key`.
        setting: String,
        /// What is wrong with which file.
        #[source]
        source: TlsError,
    },
    /// Metrics or traces cannot be set up.
    #[error("cannot set up the telemetry")]
    Telemetry(#[from] TelemetryError),
}

// === impl OpenError ===

impl From<Unusable> for OpenError {
    fn from(Unusable { setting, source }: Unusable) -> Self {
        Self::Tls { setting, source }
    }
}

// === impl Ports ===

impl From<TcpListener> for Ports {
    /// Creates ports with the HTTP port alone.
    fn from(http: TcpListener) -> Self {
        Self { http, grpc: None, admin: None }
    }
}

// === impl App ===

impl App {
    /// Creates the replica that `settings` describe. Metrics and traces are also exported as the
    /// standard OTLP environment variables say.
    ///
    /// # Errors
    /// Returns an error when the settings contradict each other, or outside of a tokio runtime.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let replica = replica::this_process();
        let telemetry = telemetry(&replica)?;
        Self::assemble(settings, replica, telemetry)
    }

    /// Creates the replica like [`App::open`], for a process whose name and telemetry exist
    /// already.
    pub(crate) fn assemble(
        settings: Settings,
        replica: Replica,
        telemetry: Telemetry,
    ) -> Result<Self, OpenError> {
        let recorders = telemetry.recorders();
        let Settings {
            listen,
            store,
            identifier,
            policy,
            limits_preflights,
            rls,
            gateway,
            admin,
            access: caller_tokens,
            metrics: MetricsSettings { endpoints: listed, custom },
            costs,
            slos,
            log,
            shutdown_delay,
            shutdown_grace,
            ..
        } = settings;
        let requires_certificate =
            listen.tls.as_ref().is_some_and(|tls| tls.requires_client_certificate);
        let tls = tls_files::open("listen", listen.tls.as_ref())?;
        let admin_tls = tls_files::open("admin", admin.tls.as_ref())?;
        record_expiries(recorders, tls.as_ref(), admin_tls.as_ref());
        recorders.custom.declare(&custom);
        let (wait_at_start, store_timeout) = (store.wait_at_start, store.timeout);
        let (on_store_failure, tagger) = (store.on_failure, policy.tagger().clone());
        recorders.replica.set_expected_replicas(store.expected_replicas.unwrap_or(0));
        let seals = Arc::new(Seals::new(&store.prefix, &tagger));
        let store = store::open(&store, &recorders.store)?;
        let stats = StatsCounters::new(recorders);
        let events = Events::new(recorders, &stats);
        let endpoints = events.endpoints().clone();
        endpoints.replace(&policy, listed);
        set_costs(&events, costs);
        stats.set_slos(slos);
        let reporter = Reporter::new(stats.clone(), Arc::clone(&store.stats), &replica.id);
        let decisions = Arc::new(DecisionLog::new());
        decisions.apply(log.decisions.as_ref());
        let limiter = Limiter::builder(policy)
            .store(Arc::clone(&store.store))
            .recorders(recorders)
            .stats(&stats)
            .observer(decisions.clone())
            .build();
        let engine = Arc::new(Engine::new(limiter, identifier));
        engine.limit_preflights(limits_preflights);
        let envoy_rls = EnvoyRls::new(engine.limiter().clone(), store_timeout);
        envoy_rls.replace(rls.as_ref(), on_store_failure, &tagger);
        let callers = CallerAccess::new(caller_tokens.tokens.iter().map(Secret::reveal));
        let grpc =
            GrpcFrontEnds::new(envoy_rls.clone(), callers.clone(), recorders.replica.clone());
        let health = Arc::new(Health::new(
            replica.clone(),
            Arc::clone(&store.watched),
            store.watch.clone(),
            wait_at_start,
        ));
        let gateway = gateway.map(|gateway| Gateway::open(gateway, recorders)).transpose()?;

        let monitoring = Monitoring::new(
            Arc::clone(&engine),
            Arc::clone(&health),
            store.clone(),
            replica.clone(),
            reporter.clone(),
            Arc::clone(&decisions),
        );
        let access = Access::new(admin.credentials);
        let guard = middleware::from_fn_with_state(access.clone(), Access::guard);
        let guarded = metrics::routes(telemetry.prometheus().clone())
            .merge(monitoring::routes(&monitoring))
            .merge(console::routes())
            .route_layer(guard);
        let open =
            health::routes(Arc::clone(&engine), Arc::clone(&health)).merge(openapi::routes());
        let all_routes = AdminRoutes::new(open.clone().merge(guarded));
        let has_admin_port = admin.listen.is_some();
        let on_http = if has_admin_port { AdminRoutes::new(open) } else { all_routes.clone() };
        let on_http = match &gateway {
            Some(gateway) => {
                on_http.beside_a_gateway(gateway.leaves_front_ends_open(), has_admin_port)
            }
            None => on_http,
        };
        let http = HttpFrontEnds::new(HttpPort {
            services: Services {
                engine: Arc::clone(&engine),
                events: events.clone(),
                rls: envoy_rls.clone(),
                seals: Arc::clone(&seals),
            },
            admin: on_http,
            stopping: health.stop_flag(),
            gateway: gateway.clone(),
            any_path: listen.any_path,
            access: callers.clone(),
        });
        let admin = has_admin_port.then(|| AdminPort::new(all_routes, http.traffic()));
        let shutdown = Shutdown { delay: shutdown_delay, grace: shutdown_grace };
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                decisions,
                endpoints,
                health,
                events,
                http,
                admin,
                access,
                callers,
                grpc,
                rls: envoy_rls.clone(),
                seals,
                gateway,
                store,
                reporter,
                telemetry,
                replica,
                shutdown,
                limits: limits(&listen.limits),
                tls,
                requires_certificate,
                admin_tls,
            }),
        })
    }

    /// Returns the handler of the HTTP port.
    #[must_use]
    pub fn http(&self) -> &HttpFrontEnds {
        &self.inner.http
    }

    /// Returns the handler of the admin port, or `None` without one.
    #[must_use]
    pub fn admin(&self) -> Option<&AdminPort> {
        self.inner.admin.as_ref()
    }

    /// Returns the last denials of this replica, the newest first.
    #[must_use]
    pub fn recent_denials(&self) -> Vec<Denial> {
        self.inner.decisions.recent_denials()
    }

    /// Returns the handler of the gRPC port.
    #[must_use]
    pub fn grpc(&self) -> &GrpcFrontEnds {
        &self.inner.grpc
    }

    /// Activates a changed configuration, as far as it can change at run time: policy and
    /// identification, the rules of Envoy's rate limit service, the endpoints of metrics,
    /// credentials, tokens, prices, objectives, the expected replicas, and new custom metrics. If
    /// the files of TLS cannot be used, nothing changes.
    pub fn replace(&self, settings: Settings) {
        if let Err(error) = self.replace_tls(&settings) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the changed configuration cannot be used: the old one stays active"
            );
            self.rejected(&error);
            return;
        }
        let Inner {
            engine,
            decisions,
            endpoints,
            events,
            rls,
            health,
            telemetry,
            access,
            callers,
            store,
            seals,
            ..
        } = &*self.inner;
        rls.replace(settings.rls.as_ref(), settings.store.on_failure, settings.policy.tagger());
        engine.limit_preflights(settings.limits_preflights);
        endpoints.replace(&settings.policy, settings.metrics.endpoints);
        seals.follow(settings.policy.tagger());
        engine.replace(settings.policy, settings.identifier);
        decisions.apply(settings.log.decisions.as_ref());
        access.replace(settings.admin.credentials);
        set_costs(events, settings.costs);
        events.counters().set_slos(settings.slos);
        callers.replace(settings.access.tokens.iter().map(Secret::reveal));
        for name in telemetry.recorders().custom.declare(&settings.metrics.custom) {
            tracing::warn!(
                name,
                "a changed declaration of a custom metric takes effect at the next start"
            );
        }
        health.configuration_replaced();
        tracing::info!("the configuration was read again and is active");
        let replica = &telemetry.recorders().replica;
        store.watched.expect_replicas(settings.store.fewest_replicas());
        replica.set_expected_replicas(settings.store.expected_replicas.unwrap_or(0));
        replica.reload(ReloadResult::Applied);
    }

    /// Reports that a changed configuration was rejected; the previous one stays active.
    pub fn reject(&self, errors: &ConfigErrors) {
        self.rejected(errors);
    }

    fn rejected(&self, why: &dyn std::error::Error) {
        let Inner { health, telemetry, .. } = &*self.inner;
        health.configuration_rejected(error_chain(why));
        telemetry.recorders().replica.reload(ReloadResult::Refused);
    }

    /// Uses the changed files of TLS for new connections. Whether a port speaks TLS is decided at
    /// the start.
    fn replace_tls(&self, settings: &Settings) -> Result<(), OpenError> {
        let Inner { tls, admin_tls, telemetry, .. } = &*self.inner;
        let new = tls_files::open("listen", settings.listen.tls.as_ref())?;
        let new_admin = tls_files::open("admin", settings.admin.tls.as_ref())?;
        for (active, new) in [(tls, new), (admin_tls, new_admin)] {
            if let (Some(active), Some(new)) = (active, new) {
                active.adopt(&new);
            }
        }
        record_expiries(telemetry.recorders(), tls.as_ref(), admin_tls.as_ref());
        Ok(())
    }

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
            access,
            callers,
            grpc,
            gateway,
            store,
            reporter,
            telemetry,
            replica,
            shutdown,
            limits,
            tls,
            requires_certificate,
            admin_tls,
            seals,
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
            let closed = http.finish(shutdown.grace).await;
            // Upgraded connections no longer belong to the listener.
            match gateway {
                Some(gateway) => {
                    closed
                        + gateway
                            .finish(shutdown.grace.saturating_sub(stopping_since.elapsed()))
                            .await
                }
                None => closed,
            }
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

/// Sets up the telemetry of `replica`, with the exporters that the standard OTLP environment
/// variables name.
pub(crate) fn telemetry(replica: &Replica) -> Result<Telemetry, OpenError> {
    // The build script sets the revision.
    let build = BuildInfo::new(replica.version.clone(), env!("SLUICE_REVISION"));
    Ok(Telemetry::builder()
        .instance(&replica.id)
        .build_info(build)
        .otlp(Otlp::from_env()?)
        .build()?)
}

/// Shows when the certificates of the ports expire.
fn record_expiries(recorders: &Recorders, tls: Option<&Tls>, admin_tls: Option<&Tls>) {
    let recorder = &recorders.certificates;
    tls_files::record_expiry(recorder, TlsSection::Listen, tls);
    tls_files::record_expiry(recorder, TlsSection::Admin, admin_tls);
}

/// Activates the prices of events, and shows the budget.
fn set_costs(events: &Events, CostSettings { prices, budget }: CostSettings) {
    let currency = prices.currency();
    events.set_prices(prices);
    let budget = budget.map(|budget| (currency.as_str(), budget.get()));
    events.recorders().cost.set_budget(budget);
}

fn limits(configured: &ConnectionLimits) -> Limits {
    let ConnectionLimits {
        max_connections,
        max_requests,
        head_timeout,
        write_timeout,
        idle_timeout,
        max_connection_age,
    } = *configured;
    Limits {
        max_connections,
        max_requests,
        head_timeout,
        write_timeout,
        idle_timeout,
        max_connection_age,
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
