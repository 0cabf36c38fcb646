//! Typed recorders, one file for each subject. A file defines its metrics beside the recorder.

pub(crate) mod all;
pub(crate) mod blueprint;
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod cost;
pub(crate) mod custom;
pub(crate) mod decisions;
pub(crate) mod deployment;
pub(crate) mod exports;
pub(crate) mod history;
pub(crate) mod holds;
pub(crate) mod http;
pub(crate) mod http_endpoint;
pub(crate) mod http_exempt;
pub(crate) mod http_method;
mod http_status;
pub(crate) mod llm;
pub(crate) mod models;
#[cfg(target_os = "linux")]
pub(crate) mod process;
pub(crate) mod rate_limit;
pub(crate) mod replica;
pub(crate) mod rls;
mod shared_labels;
pub(crate) mod slo;
pub(crate) mod slots;
pub(crate) mod store;
pub(crate) mod system;
pub(crate) mod tool;
pub(crate) mod upstream;
