//! Events that applications report: about their requests, language models, blueprints, deployments,
//! tools, connections and caches, and values of custom metrics.
//!
//! [`Events`] has a method for each kind of event. [`Event`] is an event of any kind as a value.
//!
//! ```
//! use std::time::Duration;
//! use sluice_stats::{StatsCounters, events::{Events, LlmRequest}};
//! use sluice_telemetry::Telemetry;
//!
//! let telemetry = Telemetry::builder().build()?;
//! let events = Events::new(telemetry.recorders(), &StatsCounters::new(telemetry.recorders()));
//! let request = LlmRequest::new("qwen", "chat", "success")
//!     .with_duration(Duration::from_millis(1_200))
//!     .with_tokens_generated(300)
//!     .with_tokens_consumed(40);
//! events.llm_request(&request)?;
//! let text = telemetry.prometheus().render()?;
//! assert!(text.contains(r#"llm_tokens_generated_total{model="qwen",operation="chat"} 300"#));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod error;
mod event;
mod http_request;

use std::{sync::Arc, time::Instant};

use parking_lot::RwLock;
use sluice_core::{Currency, MicroUnits, NormalPath, Prices, TokenUsage};
use sluice_telemetry::{OTHER, Recorders};

use self::error::{
    check_count, check_name, check_optional_name, check_share, checked_cost, checked_instance,
    checked_micros,
};
pub use self::{
    error::{EventError, MAX_EVENT_COST},
    event::{
        BlueprintOperation, BlueprintValidation, Cache, Connections, Counter, DatabaseConnections,
        Deployment, DeploymentEnd, DeploymentStage, Event, Gauge, Histogram, ToolExecution,
    },
    http_request::HttpRequest,
};
use crate::{
    counters::StatsCounters,
    endpoint_labels::EndpointLabels,
    flush::DeploymentPhase,
    gauges::{BLUEPRINT_RESOURCES, CACHE_HIT_RATE, CONNECTIONS, DATABASE_CONNECTIONS, GaugeKey},
    history::{CostSource, Series},
    running::{HourlyPrice, RunningChange},
    totals::Total,
};

pub use sluice_telemetry::{
    ConnectionKind, CustomKind, CustomMetric, CustomMetricError, CustomValueError, LlmRequest,
};

/// Records the events that applications report, in this replica's metrics and in the statistics of
/// the fleet. Cheap to clone.
///
/// An invalid event is rejected as a whole: nothing of it is recorded.
#[derive(Clone, Debug)]
pub struct Events {
    recorders: Recorders,
    counters: StatsCounters,
    endpoints: EndpointLabels,
    prices: Arc<RwLock<Arc<Prices>>>,
}

impl Events {
    /// Makes a recorder of events that writes to `recorders` and counts in `counters`. It knows no
    /// prices.
    #[must_use]
    pub fn new(recorders: &Recorders, counters: &StatsCounters) -> Self {
        Self {
            recorders: recorders.clone(),
            counters: counters.clone(),
            endpoints: EndpointLabels::new(&recorders.http),
            prices: Arc::default(),
        }
    }

    /// Returns what labels the endpoints of requests. It has no patterns at first.
    #[must_use]
    pub const fn endpoints(&self) -> &EndpointLabels {
        &self.endpoints
    }

    /// Replaces the prices of what events report without a cost, in all clones.
    pub fn set_prices(&self, prices: Prices) {
        *self.prices.write() = Arc::new(prices);
    }

    /// Returns the prices of what events report without a cost.
    #[must_use]
    pub fn prices(&self) -> Arc<Prices> {
        Arc::clone(&self.prices.read())
    }

    /// Returns the counters of this process.
    #[must_use]
    pub const fn counters(&self) -> &StatsCounters {
        &self.counters
    }

    /// Returns the recorders of this replica's metrics.
    #[must_use]
    pub const fn recorders(&self) -> &Recorders {
        &self.recorders
    }

    /// Records an event of any kind.
    ///
    /// # Errors
    /// When the event is invalid.
    pub fn record(&self, event: &Event<'_>) -> Result<(), EventError> {
        match event {
            Event::HttpRequest(event) => self.http_request(event),
            Event::LlmRequest(event) => self.llm_request(event),
            Event::BlueprintOperation(event) => self.blueprint_operation(event),
            Event::BlueprintValidation(event) => self.blueprint_validation(event),
            Event::Deployment(event) => self.deployment(event),
            Event::ToolExecution(event) => self.tool_execution(event),
            Event::Connections(event) => self.connections(event),
            Event::DatabaseConnections(event) => self.database_connections(event),
            Event::Cache(event) => self.cache(event),
            Event::Counter(event) => self.counter(event),
            Event::Gauge(event) => self.gauge(event),
            Event::Histogram(event) => self.histogram(event),
        }
    }

    /// Records a request to an application, as [`EndpointLabels`] label it. A path that servers
    /// read differently is counted as `other`.
    ///
    /// # Errors
    /// When the endpoint is not a path, or another field is invalid.
    pub fn http_request(&self, event: &HttpRequest<'_>) -> Result<(), EventError> {
        let response = event.checked()?;
        let endpoint = match NormalPath::parse(event.endpoint) {
            Ok(path) => self.endpoints.find(&path, response.status),
            Err(_) => self.endpoints.other(),
        };
        self.recorders.http.record(&endpoint.label, &response);
        if !endpoint.is_exempt {
            let (status, duration) = (response.status, response.duration);
            self.counters.count_http_response(&endpoint.label, status, duration);
        }
        Ok(())
    }

    /// Records a request to a language model that has ended.
    ///
    /// # Errors
    /// When a name or a number is invalid.
    pub fn llm_request(&self, event: &LlmRequest<'_>) -> Result<(), EventError> {
        check_name("model", event.model)?;
        check_name("operation", event.operation)?;
        check_name("status", event.status)?;
        let micros = checked_micros(event.duration)?;
        check_count("tokens_generated", event.tokens_generated)?;
        check_count("tokens_consumed", event.tokens_consumed)?;
        let usage = TokenUsage::new(event.tokens_consumed, event.tokens_generated)
            .with_cache(event.tokens_cached, event.tokens_cache_written)?;
        let prices = self.prices();
        let reported = checked_cost(event.cost, event.currency, prices.currency())?;

        self.recorders.llm.request(event);
        self.counters.add(Total::LlmRequests, 1);
        self.add_duration(Total::LlmTimed, Total::LlmMicros, micros);
        self.counters.add(Total::LlmTokensGenerated, event.tokens_generated);
        self.counters.add(Total::LlmTokensConsumed, event.tokens_consumed);
        let computed = || Some((prices.of_tokens(event.model, &usage)?, prices.currency()));
        match reported.or_else(computed) {
            Some((cost, currency)) => self.add_llm_cost(event.model, cost, currency),
            None if prices.has_models() => {
                self.recorders.cost.unknown(CostSource::Llm.as_str(), event.model);
            }
            None => {}
        }
        Ok(())
    }

    /// Records an operation on a blueprint that has ended.
    ///
    /// # Errors
    /// When a name or a number is invalid.
    pub fn blueprint_operation(&self, event: &BlueprintOperation<'_>) -> Result<(), EventError> {
        check_name("operation", event.operation)?;
        check_name("status", event.status)?;
        check_optional_name("blueprint", event.blueprint)?;
        if event.resources.is_some() && event.blueprint.is_none() {
            return Err(EventError::ResourcesWithoutBlueprint);
        }
        event.resources.map_or(Ok(()), |count| check_count("resources", count))?;

        let succeeded = event.status == "success";
        self.recorders.blueprint.operation(event.operation, event.status);
        self.counters.add(Total::BlueprintOperations, 1);
        if succeeded && event.operation == "create" {
            self.counters.add(Total::BlueprintsCreated, 1);
        }
        if let Some(blueprint) = event.blueprint {
            let key = GaugeKey::new(BLUEPRINT_RESOURCES, "", &[blueprint]);
            match event.resources {
                Some(count) => self.counters.set_gauge(key, Some(float(count))),
                None if succeeded && event.operation == "delete" => {
                    self.counters.set_gauge(key, None);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Records the result of a validation of a blueprint.
    ///
    /// # Errors
    /// When the number is invalid.
    pub fn blueprint_validation(&self, event: &BlueprintValidation) -> Result<(), EventError> {
        check_count("errors", event.errors)?;
        self.recorders.blueprint.add_validation_errors(event.errors);
        self.counters.add(Total::BlueprintValidationErrors, event.errors);
        Ok(())
    }

    /// Records a deployment that has started or finished.
    ///
    /// # Errors
    /// When a name or a number is invalid.
    pub fn deployment(&self, event: &Deployment<'_>) -> Result<(), EventError> {
        let (end, phase) = match &event.stage {
            DeploymentStage::Started => (None, Some(DeploymentPhase::Started)),
            DeploymentStage::Finished(end) => (Some(end), Some(DeploymentPhase::Finished)),
            DeploymentStage::FinishedWithoutStart(end) => (Some(end), None),
        };
        check_name("operation", event.operation)?;
        check_optional_name("id", event.id)?;
        end.map_or(Ok(()), |end| check_name("status", end.status))?;
        let micros = checked_micros(end.and_then(|end| end.duration))?;
        check_optional_name("kind", event.kind)?;
        let (cost, currency) = end.map_or((None, None), |end| (end.cost, end.currency));
        let cost = checked_cost(cost, currency, self.prices.read().currency())?;

        if let Some(DeploymentEnd { status, duration, .. }) = end {
            self.recorders.deployment.operation(event.operation, status, *duration);
            self.counters.add(Total::DeploymentOperations, 1);
            self.add_duration(Total::DeploymentsTimed, Total::DeploymentMicros, micros);
        }
        if let Some(phase) = phase {
            self.counters.change_deployment(event.id, phase);
        }
        let succeeded = end.is_some_and(|end| end.status == "success");
        match (event.operation, event.id) {
            ("create", id) if succeeded && cost.is_none() => self.run(id, event.kind),
            ("delete", Some(id)) if succeeded => {
                self.counters.change_running(RunningChange::deleted(id, Instant::now()));
            }
            _ => {}
        }
        if let Some((cost, currency)) = cost {
            let kind = event.kind.unwrap_or(OTHER);
            self.recorders.cost.add_deployment(kind, currency.as_str(), cost.get());
            let series = Series::cost(CostSource::Deployment, kind, currency.as_str());
            self.counters.series(&series).add(cost.get());
        }
        Ok(())
    }

    /// Records an execution of a tool that has ended.
    ///
    /// # Errors
    /// When a name or a number is invalid.
    pub fn tool_execution(&self, event: &ToolExecution<'_>) -> Result<(), EventError> {
        check_name("tool_name", event.tool_name)?;
        check_name("status", event.status)?;
        let micros = checked_micros(event.duration)?;
        self.recorders.tool.execution(event.tool_name, event.status, event.duration);
        self.counters.add(Total::ToolExecutions, 1);
        self.add_duration(Total::ToolsTimed, Total::ToolMicros, micros);
        Ok(())
    }

    /// Records the number of an application's open connections.
    ///
    /// # Errors
    /// When a name or a number is invalid.
    pub fn connections(&self, event: &Connections<'_>) -> Result<(), EventError> {
        check_count("count", event.count)?;
        let instance = checked_instance(event.instance)?;
        let key = GaugeKey::new(CONNECTIONS, instance, &[event.kind.as_str()]);
        self.counters.set_gauge(key, Some(float(event.count)));
        Ok(())
    }

    /// Records the number of an application's open connections to its databases.
    ///
    /// # Errors
    /// When a name or a number is invalid.
    pub fn database_connections(&self, event: &DatabaseConnections<'_>) -> Result<(), EventError> {
        check_count("count", event.count)?;
        let key = GaugeKey::new(DATABASE_CONNECTIONS, checked_instance(event.instance)?, &[]);
        self.counters.set_gauge(key, Some(float(event.count)));
        Ok(())
    }

    /// Records a cache's hit rate.
    ///
    /// # Errors
    /// When a name or a number is invalid.
    pub fn cache(&self, event: &Cache<'_>) -> Result<(), EventError> {
        check_name("cache", event.cache)?;
        check_share("hit_rate", event.hit_rate)?;
        let instance = checked_instance(event.instance)?;
        let key = GaugeKey::new(CACHE_HIT_RATE, instance, &[event.cache]);
        self.counters.set_gauge(key, Some(event.hit_rate));
        Ok(())
    }

    /// Increases a custom counter.
    ///
    /// # Errors
    /// When no such counter is declared, or the amount is negative.
    pub fn counter(&self, event: &Counter<'_>) -> Result<(), EventError> {
        check_label_values(event.labels)?;
        Ok(self.recorders.custom.count(event.name, event.labels, event.amount)?)
    }

    /// Sets a custom gauge, in the whole fleet.
    ///
    /// # Errors
    /// When no such gauge is declared.
    pub fn gauge(&self, event: &Gauge<'_>) -> Result<(), EventError> {
        check_label_values(event.labels)?;
        self.recorders.custom.set(event.name, event.labels, event.value)?;
        let mut labels = event.labels.to_vec();
        // In the order of a declaration, which is alphabetical.
        labels.sort_unstable();
        let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        self.counters.set_gauge(GaugeKey::new(event.name, "", &values), Some(event.value));
        Ok(())
    }

    /// Adds a value to a custom histogram.
    ///
    /// # Errors
    /// When no such histogram is declared.
    pub fn histogram(&self, event: &Histogram<'_>) -> Result<(), EventError> {
        check_label_values(event.labels)?;
        Ok(self.recorders.custom.observe(event.name, event.labels, event.value)?)
    }

    /// Notes that a deployment runs from now on, if it costs something by the hour.
    fn run(&self, id: Option<&str>, kind: Option<&str>) {
        let prices = self.prices();
        let Some(per_hour) = kind.and_then(|kind| prices.per_hour(kind)) else { return };
        let kind = kind.unwrap_or(OTHER);
        match id {
            Some(id) => {
                let price = HourlyPrice::new(kind, prices.currency().as_str(), per_hour);
                let created = RunningChange::created(id, price, Instant::now());
                self.counters.change_running(created);
            }
            // Its deletion could not be told from that of others.
            None => self.recorders.cost.unknown(CostSource::Deployment.as_str(), kind),
        }
    }

    fn add_llm_cost(&self, model: &str, cost: MicroUnits, currency: Currency) {
        self.recorders.cost.add_llm(model, currency.as_str(), cost.get());
        let series = Series::cost(CostSource::Llm, model, currency.as_str());
        self.counters.series(&series).add(cost.get());
    }

    /// Adds a duration to `sum`, if it was reported, and 1 to `count`.
    fn add_duration(&self, count: Total, sum: Total, micros: Option<u64>) {
        if let Some(micros) = micros {
            self.counters.add(count, 1);
            self.counters.add(sum, micros);
        }
    }
}

fn check_label_values(labels: &[(&str, &str)]) -> Result<(), EventError> {
    labels.iter().try_for_each(|(label, value)| check_name(label, value))
}

#[expect(clippy::cast_precision_loss, reason = "accepted counts are far below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}
