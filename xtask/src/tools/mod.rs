//! The programs that tests and benchmarks need, beside those of this workspace.

mod install;
mod list;
mod peers;
mod plan;
mod service_policy;
mod tool;

pub(crate) use install::{Install, install};
pub(crate) use list::{MODELS_PYTHON, NODE, REDIS_WITH_TLS, TOOLS, VALGRIND};
pub(crate) use peers::PEERS;
pub(crate) use tool::Tool;
