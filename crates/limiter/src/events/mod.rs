//! What applications report of themselves: language models, blueprints, deployments, tools,
//! connections, caches, and metrics of their own.
//!
//! Each event is a method of [`Events`]; [`Event`] is the same as a value, for those who read it
//! from somewhere.
//!
//! ```
//! use std::time::Duration;
//! use sluice::{Telemetry, events::{Events, LlmRequest}, figures::Tally};
//!
//! let telemetry = Telemetry::builder().build()?;
//! let events = Events::new(telemetry.recorders(), &Tally::new(telemetry.recorders()));
//! events.llm_request(&LlmRequest {
//!     model: "qwen",
//!     operation: "chat",
//!     status: "success",
//!     duration: Some(Duration::from_millis(1_200)),
//!     tokens_generated: 300,
//!     tokens_consumed: 40,
//! })?;
//! let text = telemetry.prometheus().render()?;
//! assert!(text.contains(r#"llm_tokens_generated_total{model="qwen",operation="chat"} 300"#));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod error;
mod event;

use sluice_store::{GaugeKey, Phase, Total};
use sluice_telemetry::Recorders;

use self::error::{instance, name, number, share, span};
pub use self::{
    error::EventError,
    event::{
        BlueprintOperation, BlueprintValidation, Cache, Connections, Counter, DatabaseConnections,
        Deployment, Ended, Event, Gauge, Histogram, Stage, ToolExecution,
    },
};
use crate::figures::{
    BLUEPRINT_RESOURCES, CACHE_HIT_RATE, CONNECTIONS, DATABASE_CONNECTIONS, Tally,
};

pub use sluice_telemetry::{
    ConnectionKind, CustomKind, CustomMetric, CustomMetricError, CustomValueError, LlmRequest,
};

/// Records what applications report, in the metrics and in the figures of the fleet. Cheap to
/// clone.
///
/// A wrong event is refused, and nothing of it recorded.
#[derive(Clone, Debug)]
pub struct Events {
    recorders: Recorders,
    tally: Tally,
}

impl Events {
    /// Records on `recorders`, and counts in `tally`.
    #[must_use]
    pub fn new(recorders: &Recorders, tally: &Tally) -> Self {
        Self { recorders: recorders.clone(), tally: tally.clone() }
    }

    /// What counts them for the fleet.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What records them in the metrics.
    #[must_use]
    pub const fn recorders(&self) -> &Recorders {
        &self.recorders
    }

    /// Records any event.
    ///
    /// # Errors
    /// When the event cannot be right.
    pub fn record(&self, event: &Event<'_>) -> Result<(), EventError> {
        match event {
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

    /// A request to a language model is over.
    ///
    /// # Errors
    /// When a name or a number cannot be right.
    pub fn llm_request(&self, event: &LlmRequest<'_>) -> Result<(), EventError> {
        name("model", event.model)?;
        name("operation", event.operation)?;
        name("status", event.status)?;
        let took = span(event.duration)?;
        number("tokens_generated", event.tokens_generated)?;
        number("tokens_consumed", event.tokens_consumed)?;

        self.recorders.llm.request(event);
        self.tally.add(Total::LlmRequests, 1);
        self.timed(Total::LlmTimed, Total::LlmMicros, took);
        self.tally.add(Total::LlmTokensGenerated, event.tokens_generated);
        self.tally.add(Total::LlmTokensConsumed, event.tokens_consumed);
        Ok(())
    }

    /// An operation on a blueprint is over.
    ///
    /// # Errors
    /// When a name or a number cannot be right.
    pub fn blueprint_operation(&self, event: &BlueprintOperation<'_>) -> Result<(), EventError> {
        name("operation", event.operation)?;
        name("status", event.status)?;
        event.blueprint.map_or(Ok(()), |blueprint| name("blueprint", blueprint))?;
        if event.resources.is_some() && event.blueprint.is_none() {
            return Err(EventError::ResourcesOfNothing);
        }
        event.resources.map_or(Ok(()), |count| number("resources", count))?;

        let succeeded = event.status == "success";
        self.recorders.blueprint.operation(event.operation, event.status);
        self.tally.add(Total::BlueprintOperations, 1);
        self.tally
            .add(Total::BlueprintsCreated, u64::from(succeeded && event.operation == "create"));
        if let Some(blueprint) = event.blueprint {
            let key = GaugeKey::new(BLUEPRINT_RESOURCES, "", &[blueprint]);
            match event.resources {
                Some(count) => self.tally.gauge(key, Some(float(count))),
                None if succeeded && event.operation == "delete" => self.tally.gauge(key, None),
                None => {}
            }
        }
        Ok(())
    }

    /// A validation of a blueprint found errors, or none.
    ///
    /// # Errors
    /// When the number cannot be right.
    pub fn blueprint_validation(&self, event: &BlueprintValidation) -> Result<(), EventError> {
        number("errors", event.errors)?;
        self.recorders.blueprint.add_validation_errors(event.errors);
        self.tally.add(Total::BlueprintValidationErrors, event.errors);
        Ok(())
    }

    /// A deployment has started or finished.
    ///
    /// # Errors
    /// When a name or a number cannot be right.
    pub fn deployment(&self, event: &Deployment<'_>) -> Result<(), EventError> {
        name("operation", event.operation)?;
        event.id.map_or(Ok(()), |id| name("id", id))?;
        let ended = match &event.stage {
            Stage::Started => None,
            Stage::Finished(ended) | Stage::Over(ended) => {
                name("status", ended.status)?;
                Some((ended, span(ended.duration)?))
            }
        };

        if let Some((Ended { status, duration }, took)) = ended {
            self.recorders.deployment.operation(event.operation, status, *duration);
            self.tally.add(Total::DeploymentOperations, 1);
            self.timed(Total::DeploymentsTimed, Total::DeploymentMicros, took);
        }
        match event.stage {
            Stage::Started => self.tally.deployment(event.id, Phase::Started),
            Stage::Finished(_) => self.tally.deployment(event.id, Phase::Finished),
            Stage::Over(_) => {}
        }
        Ok(())
    }

    /// The execution of a tool is over.
    ///
    /// # Errors
    /// When a name or a number cannot be right.
    pub fn tool_execution(&self, event: &ToolExecution<'_>) -> Result<(), EventError> {
        name("tool_name", event.tool_name)?;
        name("status", event.status)?;
        let took = span(event.duration)?;
        self.recorders.tool.execution(event.tool_name, event.status, event.duration);
        self.tally.add(Total::ToolExecutions, 1);
        self.timed(Total::ToolsTimed, Total::ToolMicros, took);
        Ok(())
    }

    /// So many connections of an application are open.
    ///
    /// # Errors
    /// When a name or a number cannot be right.
    pub fn connections(&self, event: &Connections<'_>) -> Result<(), EventError> {
        number("count", event.count)?;
        let key = GaugeKey::new(CONNECTIONS, instance(event.instance)?, &[event.kind.as_str()]);
        self.tally.gauge(key, Some(float(event.count)));
        Ok(())
    }

    /// So many connections of an application to its databases are open.
    ///
    /// # Errors
    /// When a name or a number cannot be right.
    pub fn database_connections(&self, event: &DatabaseConnections<'_>) -> Result<(), EventError> {
        number("count", event.count)?;
        let key = GaugeKey::new(DATABASE_CONNECTIONS, instance(event.instance)?, &[]);
        self.tally.gauge(key, Some(float(event.count)));
        Ok(())
    }

    /// A cache answers this share of look-ups.
    ///
    /// # Errors
    /// When a name or a number cannot be right.
    pub fn cache(&self, event: &Cache<'_>) -> Result<(), EventError> {
        name("cache", event.cache)?;
        share("hit_rate", event.hit_rate)?;
        let key = GaugeKey::new(CACHE_HIT_RATE, instance(event.instance)?, &[event.cache]);
        self.tally.gauge(key, Some(event.hit_rate));
        Ok(())
    }

    /// A counter of the application's own has grown.
    ///
    /// # Errors
    /// When no such counter is declared, or the amount is below zero.
    pub fn counter(&self, event: &Counter<'_>) -> Result<(), EventError> {
        label_values(event.labels)?;
        Ok(self.recorders.custom.count(event.name, event.labels, event.amount)?)
    }

    /// A gauge of the application's own shows another value, in the whole fleet.
    ///
    /// # Errors
    /// When no such gauge is declared.
    pub fn gauge(&self, event: &Gauge<'_>) -> Result<(), EventError> {
        label_values(event.labels)?;
        self.recorders.custom.set(event.name, event.labels, event.value)?;
        let mut labels = event.labels.to_vec();
        // As they were declared: in alphabetical order.
        labels.sort_unstable();
        let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        self.tally.gauge(GaugeKey::new(event.name, "", &values), Some(event.value));
        Ok(())
    }

    /// A value for a histogram of the application's own.
    ///
    /// # Errors
    /// When no such histogram is declared.
    pub fn histogram(&self, event: &Histogram<'_>) -> Result<(), EventError> {
        label_values(event.labels)?;
        Ok(self.recorders.custom.observe(event.name, event.labels, event.value)?)
    }

    fn timed(&self, count: Total, sum: Total, took_us: Option<u64>) {
        if let Some(micros) = took_us {
            self.tally.add(count, 1);
            self.tally.add(sum, micros);
        }
    }
}

fn label_values(labels: &[(&str, &str)]) -> Result<(), EventError> {
    labels.iter().try_for_each(|(label, value)| name(label, value))
}

#[expect(clippy::cast_precision_loss, reason = "counts that are taken are far below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}
