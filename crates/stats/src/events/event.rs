//! Events as values.

use std::time::Duration;

use sluice_telemetry::{ConnectionKind, LlmRequest};

use super::http_request::HttpRequest;

/// Something that an application reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request to the application has ended.
    HttpRequest(HttpRequest<'a>),
    /// A request to a language model has ended.
    LlmRequest(LlmRequest<'a>),
    /// An operation on a blueprint has ended.
    BlueprintOperation(BlueprintOperation<'a>),
    /// A blueprint was validated.
    BlueprintValidation(BlueprintValidation),
    /// A deployment has started or finished.
    Deployment(Deployment<'a>),
    /// The execution of a tool has ended.
    ToolExecution(ToolExecution<'a>),
    /// The number of an application's open connections.
    Connections(Connections<'a>),
    /// The number of an application's open connections to its databases.
    DatabaseConnections(DatabaseConnections<'a>),
    /// A cache's hit rate.
    Cache(Cache<'a>),
    /// A custom counter has grown.
    Counter(Counter<'a>),
    /// A custom gauge has a new value.
    Gauge(Gauge<'a>),
    /// A value for a custom histogram.
    Histogram(Histogram<'a>),
}

/// An operation on a blueprint that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BlueprintOperation<'a> {
    /// The kind of operation: `create`, `validate`, `delete` ...
    pub operation: &'a str,
    /// The result: `success` or another word.
    pub status: &'a str,
    /// The blueprint's name, if known.
    pub blueprint: Option<&'a str>,
    /// The number of resources that the blueprint has now, if known.
    pub resources: Option<u64>,
}

/// The result of a validation.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BlueprintValidation {
    /// The number of errors found.
    pub errors: u64,
}

/// A deployment that has started or finished.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Deployment<'a> {
    /// The kind of operation: `create`, `update`, `delete`.
    pub operation: &'a str,
    /// The deployment's id, if it has one. A start or an end that is reported twice with the same
    /// id changes the number of active deployments once.
    pub id: Option<&'a str>,
    /// What is deployed, as the price list names it: `small`, `gpu`.
    pub kind: Option<&'a str>,
    /// Whether it has started or finished.
    pub stage: DeploymentStage<'a>,
}

/// Whether a deployment has started or finished.
#[derive(Clone, Copy, Debug)]
pub enum DeploymentStage<'a> {
    /// It is active from now on.
    Started,
    /// It is no longer active.
    Finished(DeploymentEnd<'a>),
    /// It has finished, and its start was not reported: it was never counted as active.
    FinishedWithoutStart(DeploymentEnd<'a>),
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DeploymentEnd<'a> {
    /// The result: `success` or another word.
    pub status: &'a str,
    /// How long the deployment took, if known.
    pub duration: Option<Duration>,
    /// What it cost, in units of the currency, if that is known.
    pub cost: Option<f64>,
    /// The currency of the cost: three capital letters. `None` for the currency of the price list.
    pub currency: Option<&'a str>,
}

/// The execution of a tool that has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ToolExecution<'a> {
    /// The tool.
    pub tool_name: &'a str,
    /// The result: `success` or another word.
    pub status: &'a str,
    /// How long the execution took, if known.
    pub duration: Option<Duration>,
}

/// Open connections of an application.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Connections<'a> {
    /// The protocol.
    pub kind: ConnectionKind,
    /// How many are open.
    pub count: u64,
    /// The instance of the application that reports. The counts of all instances are added up, each
    /// for five minutes after its last report. `None` if the count covers all instances.
    pub instance: Option<&'a str>,
}

/// Open connections of an application to its databases.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DatabaseConnections<'a> {
    /// How many are open.
    pub count: u64,
    /// As [`Connections::instance`].
    pub instance: Option<&'a str>,
}

/// A cache's hit rate.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cache<'a> {
    /// The cache's name.
    pub cache: &'a str,
    /// The share of look-ups that are hits, from 0 to 1.
    pub hit_rate: f64,
    /// As [`Connections::instance`]; the hit rates of several instances are averaged.
    pub instance: Option<&'a str>,
}

/// A custom counter that has grown.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Counter<'a> {
    /// The counter's name.
    pub name: &'a str,
    /// A value for each of its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// The increase.
    pub amount: f64,
}

/// A custom gauge that has a new value.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Gauge<'a> {
    /// The gauge's name.
    pub name: &'a str,
    /// A value for each of its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// The new value.
    pub value: f64,
}

/// A value for a custom histogram.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Histogram<'a> {
    /// The histogram's name.
    pub name: &'a str,
    /// A value for each of its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// The value.
    pub value: f64,
}

impl<'a> BlueprintOperation<'a> {
    /// Makes an event for an operation with this result.
    #[must_use]
    pub const fn new(operation: &'a str, status: &'a str) -> Self {
        Self { operation, status, blueprint: None, resources: None }
    }

    /// Sets the blueprint's name.
    #[must_use]
    pub fn with_blueprint(self, blueprint: impl Into<Option<&'a str>>) -> Self {
        Self { blueprint: blueprint.into(), ..self }
    }

    /// Sets the number of resources that the blueprint has now.
    #[must_use]
    pub fn with_resources(self, resources: impl Into<Option<u64>>) -> Self {
        Self { resources: resources.into(), ..self }
    }
}

impl BlueprintValidation {
    /// Makes an event for a validation that found this many errors.
    #[must_use]
    pub const fn new(errors: u64) -> Self {
        Self { errors }
    }
}

impl<'a> Deployment<'a> {
    /// Makes an event for a deployment at this stage.
    #[must_use]
    pub const fn new(operation: &'a str, stage: DeploymentStage<'a>) -> Self {
        Self { operation, id: None, kind: None, stage }
    }

    /// Sets the deployment's id.
    #[must_use]
    pub fn with_id(self, id: impl Into<Option<&'a str>>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// Sets what is deployed.
    #[must_use]
    pub fn with_kind(self, kind: impl Into<Option<&'a str>>) -> Self {
        Self { kind: kind.into(), ..self }
    }
}

impl<'a> DeploymentEnd<'a> {
    /// Makes the end of a deployment with this result.
    #[must_use]
    pub const fn new(status: &'a str) -> Self {
        Self { status, duration: None, cost: None, currency: None }
    }

    /// Sets how long the deployment took.
    #[must_use]
    pub fn with_duration(self, duration: impl Into<Option<Duration>>) -> Self {
        Self { duration: duration.into(), ..self }
    }

    /// Sets what it cost, in units of the currency.
    #[must_use]
    pub fn with_cost(self, cost: impl Into<Option<f64>>) -> Self {
        Self { cost: cost.into(), ..self }
    }

    /// Sets the currency of the cost: three capital letters.
    #[must_use]
    pub fn with_currency(self, currency: impl Into<Option<&'a str>>) -> Self {
        Self { currency: currency.into(), ..self }
    }
}

impl<'a> ToolExecution<'a> {
    /// Makes an event for an execution with this result.
    #[must_use]
    pub const fn new(tool_name: &'a str, status: &'a str) -> Self {
        Self { tool_name, status, duration: None }
    }

    /// Sets how long the execution took.
    #[must_use]
    pub fn with_duration(self, duration: impl Into<Option<Duration>>) -> Self {
        Self { duration: duration.into(), ..self }
    }
}

impl<'a> Connections<'a> {
    /// Makes a report of `count` open connections.
    #[must_use]
    pub const fn new(kind: ConnectionKind, count: u64) -> Self {
        Self { kind, count, instance: None }
    }

    /// Sets the instance that reports.
    #[must_use]
    pub fn with_instance(self, instance: impl Into<Option<&'a str>>) -> Self {
        Self { instance: instance.into(), ..self }
    }
}

impl<'a> DatabaseConnections<'a> {
    /// Makes a report of `count` open connections.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self { count, instance: None }
    }

    /// Sets the instance that reports.
    #[must_use]
    pub fn with_instance(self, instance: impl Into<Option<&'a str>>) -> Self {
        Self { instance: instance.into(), ..self }
    }
}

impl<'a> Cache<'a> {
    /// Makes a report of a cache's hit rate, from 0 to 1.
    #[must_use]
    pub const fn new(cache: &'a str, hit_rate: f64) -> Self {
        Self { cache, hit_rate, instance: None }
    }

    /// Sets the instance that reports.
    #[must_use]
    pub fn with_instance(self, instance: impl Into<Option<&'a str>>) -> Self {
        Self { instance: instance.into(), ..self }
    }
}

impl<'a> Counter<'a> {
    /// Makes an event that increases the counter by `amount`.
    #[must_use]
    pub const fn new(name: &'a str, labels: &'a [(&'a str, &'a str)], amount: f64) -> Self {
        Self { name, labels, amount }
    }
}

impl<'a> Gauge<'a> {
    /// Makes an event that sets the gauge to `value`.
    #[must_use]
    pub const fn new(name: &'a str, labels: &'a [(&'a str, &'a str)], value: f64) -> Self {
        Self { name, labels, value }
    }
}

impl<'a> Histogram<'a> {
    /// Makes an event that adds `value` to the histogram.
    #[must_use]
    pub const fn new(name: &'a str, labels: &'a [(&'a str, &'a str)], value: f64) -> Self {
        Self { name, labels, value }
    }
}
