//! What HTTP front ends share.
//!
//! - [`Listener`] accepts connections, serves HTTP over them with a [`Handler`], and ends them in
//!   order when the process stops.
//! - [`Tls`] is the TLS of a listener, whose files may change while it runs.
//! - [`body`] reads a request's JSON body within limits of size and time.
//! - [`json`] says in plain words what is wrong with a JSON text.
//! - [`access`] lets only callers with a token use the front ends.
//! - [`Problem`] is an error as RFC 9457 describes it; [`ProblemKind`] is the table of all kinds.
//! - [`decision`] writes a decision as a response.
//! - [`traffic`] says under which label a response is counted.

pub mod access;
pub mod body;
pub mod decision;
pub mod json;
mod listener;
mod problem;
pub mod traffic;

pub use sluice::response::ProblemKind;

pub use self::{
    listener::{
        Encrypted, Handler, Limits, Listener, RequestBody, Tls, TlsError, TlsFile, TlsFiles,
    },
    problem::Problem,
};
