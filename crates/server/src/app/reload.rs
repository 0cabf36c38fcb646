//! Applies a changed configuration to a running replica.

use sluice_config::{ConfigErrors, Secret, Settings};
use sluice_telemetry::ReloadResult;

use super::{
    applied::{record_expiries, set_costs},
    assembly::{App, Inner},
    open_error::OpenError,
};
use crate::{logging::error_chain, tls_files};

impl App {
    /// Activates a changed configuration, as far as it can change at run time: policy and
    /// identification, the rules of Envoy's rate limit service, the endpoints of metrics,
    /// credentials, tokens, prices, routes to models, objectives, the expected replicas, and new
    /// custom metrics. If
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
            seals,
            health,
            telemetry,
            access,
            callers,
            store,
            models,
            ..
        } = &*self.inner;
        rls.replace(settings.rls.as_ref(), settings.store.on_failure, settings.policy.tagger());
        engine.limit_preflights(settings.limits_preflights);
        endpoints.replace(&settings.policy, settings.metrics.endpoints);
        seals.follow(settings.policy.tagger());
        engine.replace(settings.policy, settings.identifier);
        if let Some(models) = models {
            models.routes().replace(settings.llm);
        }
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
}
