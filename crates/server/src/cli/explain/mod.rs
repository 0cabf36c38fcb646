//! `sluice explain`: says which limits apply to a request, and why the others do not.
//!
//! It needs no replica and no store. `request` identifies and matches the request by the same code
//! as in a replica, `report` notes what came of it, and `text` writes that for people. `descriptor`
//! does the same for a descriptor and the rules of Envoy's rate limit service. `limit` describes a
//! limit and its bucket, for both.

mod descriptor;
mod limit;
mod report;
mod request;
mod text;

use std::{io::Write, process::ExitCode};

use clap::Args;
use http::Method;
use sluice_config::ConfigErrors;

use super::{
    exit,
    layers::{ConfigFile, Variables},
    request_flags::{self, RequestFlags},
};

/// Says which limits apply to a request and why the others do not, from a configuration alone.
///
/// It needs no replica and no store, and takes nothing. Without `--client`, the client is found as
/// `clients.identify` says: from the headers and the address, which is 127.0.0.1 by default. With
/// `--client`, it is the one that a caller of /v1/check names.
///
/// With `--rls`, it says which rule of Envoy's rate limit service a descriptor matches.
///
/// The exit code is 0 if the request can be checked, 1 if a replica would reject it, 2 for a wrong
/// command line, and 78 if the configuration has errors.
#[derive(Args, Debug)]
#[command(override_usage = "sluice explain [OPTIONS] METHOD PATH\n       \
                            sluice explain [OPTIONS] --rls DOMAIN KEY=VALUE...")]
pub(in crate::cli) struct Arguments {
    /// The method of the request, such as `GET`.
    #[arg(value_parser = request_flags::method, required_unless_present = "rls")]
    method: Option<Method>,
    /// The path of the request, with or without a query.
    #[arg(required_unless_present = "rls")]
    path: Option<String>,
    /// Explains a descriptor of Envoy's rate limit service: its domain and its entries in order, as
    /// in `--rls edge path=/a user=7`. `--cost` is its `hits_addend`.
    #[arg(
        long,
        num_args = 2..,
        value_names = ["DOMAIN", "KEY=VALUE"],
        conflicts_with_all = ["method", "path", "client", "headers", "tier", "ip"]
    )]
    rls: Option<Vec<String>>,
    #[command(flatten)]
    request: RequestFlags,
    #[command(flatten)]
    file: ConfigFile,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Explains the request, or the descriptor.
pub(in crate::cli) fn run(
    arguments: Arguments,
    variables: Variables,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let Arguments { method, path, rls, request, file, json } = arguments;
    if let Some(words) = rls {
        return descriptor::run(&words, request.cost, &file.loader(variables), json, out, err);
    }
    let (method, path) = method.zip(path).expect("the parser requires both without `--rls`");
    let settings = file.loader(variables).load()?;
    let written = match request::explain(&method, &path, &request, settings) {
        Ok(report) if json => writeln!(out, "{:#}", report.to_json()),
        Ok(report) => text::write(&report, out),
        Err(error) => {
            // Nothing is left to report to if this fails.
            let _ = writeln!(err, "a replica rejects this request with status 400: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    Ok(exit::of_output(&written.and_then(|()| out.flush())))
}
