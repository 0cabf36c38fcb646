//! The OTLP exporter: metrics and traces to a collector, where the standard variables ask for it.

mod client;
mod exporters;
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
