//! Events as values.

use std::time::Duration;

use sluice_telemetry::{ConnectionKind, LlmRequest};

/// Something that an application reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request to a language model is over.
    LlmRequest(LlmRequest<'a>),
    /// An operation on a blueprint is over.
    BlueprintOperation(BlueprintOperation<'a>),
    /// A validation of a blueprint found errors, or none.
    BlueprintValidation(BlueprintValidation),
    /// A deployment has started or finished.
    Deployment(Deployment<'a>),
    /// The execution of a tool is over.
    ToolExecution(ToolExecution<'a>),
    /// So many connections of an application are open.
    Connections(Connections<'a>),
    /// So many connections to its databases are open.
    DatabaseConnections(DatabaseConnections<'a>),
    /// A cache answers this share of look-ups.
    Cache(Cache<'a>),
    /// A declared counter has grown.
    Counter(Counter<'a>),
    /// A declared gauge shows another value.
    Gauge(Gauge<'a>),
    /// A value for a declared histogram.
    Histogram(Histogram<'a>),
}

/// An operation on a blueprint that is over.
#[derive(Clone, Copy, Debug)]
pub struct BlueprintOperation<'a> {
    /// What was done: `create`, `validate`, `delete` ...
    pub operation: &'a str,
    /// How it ended: `success` or another word.
    pub status: &'a str,
    /// Which blueprint, if that is told.
    pub blueprint: Option<&'a str>,
    /// How many resources the blueprint has now, if that is told.
    pub resources: Option<u64>,
}

/// The result of a validation.
#[derive(Clone, Copy, Debug)]
pub struct BlueprintValidation {
    /// How many errors it found.
    pub errors: u64,
}

/// A deployment, at one end of it.
#[derive(Clone, Copy, Debug)]
pub struct Deployment<'a> {
    /// What is done: `create`, `update`, `delete`.
    pub operation: &'a str,
    /// What tells it from others, if anything. With it, what is reported twice counts once as
    /// active.
    pub id: Option<&'a str>,
    /// Which end.
    pub stage: Stage<'a>,
}

/// Which end of a deployment.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// It is active from now on.
    Started,
    /// It was active until now.
    Finished(Ended<'a>),
    /// It is over, and its start was not reported.
    Over(Ended<'a>),
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// `success` or another word.
    pub status: &'a str,
    /// How long it took, if known.
    pub duration: Option<Duration>,
}

/// The execution of a tool that is over.
#[derive(Clone, Copy, Debug)]
pub struct ToolExecution<'a> {
    /// The tool.
    pub tool_name: &'a str,
    /// How it ended: `success` or another word.
    pub status: &'a str,
    /// How long it took, if known.
    pub duration: Option<Duration>,
}

/// Open connections of an application.
#[derive(Clone, Copy, Debug)]
pub struct Connections<'a> {
    /// What they carry.
    pub kind: ConnectionKind,
    /// How many.
    pub count: u64,
    /// Whose: the counts of several instances are added up, each for five minutes after its last
    /// report. `None` speaks for the whole.
    pub instance: Option<&'a str>,
}

/// Open connections of an application to its databases.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseConnections<'a> {
    /// How many.
    pub count: u64,
    /// As [`Connections::instance`].
    pub instance: Option<&'a str>,
}

/// What a cache is worth.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// Which cache.
    pub cache: &'a str,
    /// The share of look-ups that it answers, from 0 to 1.
    pub hit_rate: f64,
    /// Whose: of several instances the mean is told. Otherwise as [`Connections::instance`].
    pub instance: Option<&'a str>,
}

/// A declared counter that has grown.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    /// Its name.
    pub name: &'a str,
    /// A value for each of its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// By how much.
    pub amount: f64,
}

/// A declared gauge that shows another value.
#[derive(Clone, Copy, Debug)]
pub struct Gauge<'a> {
    /// Its name.
    pub name: &'a str,
    /// A value for each of its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// The value.
    pub value: f64,
}

/// A value for a declared histogram.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    /// Its name.
    pub name: &'a str,
    /// A value for each of its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// The value.
    pub value: f64,
}
