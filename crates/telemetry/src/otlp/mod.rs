//! The OTLP exporter: sends metrics and traces to a collector, if the standard variables request
//! it.

mod client;
mod exporters;
mod reported;
mod target;
mod tls;
mod trace;

pub use self::{
    target::Otlp,
    trace::{join_trace, propagate_trace},
};

pub(crate) use self::{
    exporters::Exporters,
    trace::{layer, rename},
};
