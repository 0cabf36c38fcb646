//! Creates a replica from its settings.

use std::sync::Arc;

use axum::middleware;
use sluice::{
    Limiter, Telemetry,
    stats::{EndpointLabels, Reporter, StatsCounters, events::Events},
};
use sluice_store::Replica;
use sluice_telemetry::{BuildInfo, Otlp};

use sluice_config::{ConnectionLimits, MetricsSettings, Secret, Settings};
use sluice_gateway::Gateway;
use sluice_http::{Limits, Tls, access::CallerAccess};
use sluice_rls::{EnvoyRls, GrpcFrontEnds};

use super::{
    applied::{record_expiries, set_costs},
    open_error::OpenError,
};
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
    engine::Engine,
    front_ends::{HttpFrontEnds, HttpPort, Models, Seals, Services},
    openapi, replica,
    shutdown::Shutdown,
    store::{self, OpenStore},
    tls_files,
};

/// One replica, ready to listen. Cheap to clone; clones are the same replica.
#[derive(Clone, Debug)]
pub struct App {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) engine: Arc<Engine>,
    pub(super) decisions: Arc<DecisionLog>,
    pub(super) endpoints: EndpointLabels,
    pub(super) health: Arc<Health>,
    pub(super) events: Events,
    pub(super) http: HttpFrontEnds,
    /// The handler of the admin port, if there is one.
    pub(super) admin: Option<AdminPort>,
    pub(super) access: Access,
    pub(super) callers: CallerAccess,
    pub(super) grpc: GrpcFrontEnds,
    pub(super) rls: EnvoyRls,
    pub(super) seals: Arc<Seals>,
    pub(super) gateway: Option<Gateway>,
    /// What forwards requests to language models; only a gateway does.
    pub(super) models: Option<Models>,
    pub(super) store: OpenStore,
    pub(super) reporter: Reporter,
    pub(super) telemetry: Telemetry,
    pub(super) replica: Replica,
    pub(super) shutdown: Shutdown,
    pub(super) limits: Limits,
    /// The TLS of the HTTP port and the gRPC port.
    pub(super) tls: Option<Tls>,
    /// Whether callers of the front ends need a client certificate.
    pub(super) requires_certificate: bool,
    pub(super) admin_tls: Option<Tls>,
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
            llm,
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
        let models =
            gateway.is_some().then(|| Models::new(Arc::clone(&engine), events.clone(), llm));
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
            models: models.clone(),
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
                models,
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
