//! The programs that tests need and Cargo cannot build.

mod install;
mod list;
mod plan;
mod tool;

pub(crate) use install::{Install, install};
pub(crate) use list::{REDIS_WITH_TLS, TOOLS, VALGRIND};
pub(crate) use tool::Tool;
