//! `sluice check`: asks a running replica for a decision, as a client of `POST /v1/check` does.
//!
//! `target` says where the replica is, `exchange` sends one request, `reported` reads the response,
//! and `text` writes it for people.

mod exchange;
mod reported;
mod target;
mod text;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{ArgGroup, Args};
use http::Method;
use serde_json::{Map, Value, json};

use self::{exchange::Connector, reported::Reported, target::Target};
use super::{
    exit,
    layers::Variables,
    request_flags::{self, RequestFlags},
};

/// The exit code for a request that is denied.
const DENIED: u8 = 1;
/// The exit code when there is no decision.
const NO_DECISION: u8 = 3;
/// The variable that holds the token.
const TOKEN_VARIABLE: &str = "SLUICE_TOKEN";

/// Asks a running replica for a decision, by POST /v1/check. It takes tokens, as a request does;
/// `--cost 0` only reads. `--client` or `--ip` is required; without `--client`, the address is the
/// client.
///
/// A token of `access.tokens` is read from the variable `SLUICE_TOKEN`, or from the file that
/// `--token-file` names: other users of a machine can read command lines.
///
/// The exit code is 0 if the request is allowed, 1 if it is denied, 2 for a wrong command line, and
/// 3 if there is no decision. With `--count`, it is 1 if any request is denied.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("who").args(["client", "ip"]).required(true).multiple(true))]
pub(in crate::cli) struct Arguments {
    /// The replica, and optionally the path to decide about: `http://127.0.0.1:8000/api/v1/x`.
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8000")]
    target: Target,
    /// The path to decide about, if the URL does not have it. The default is `/`.
    #[arg(long)]
    path: Option<String>,
    /// The method of the request to decide about.
    #[arg(long, value_parser = request_flags::method, default_value = "GET")]
    method: Method,
    #[command(flatten)]
    request: RequestFlags,
    /// How many times to ask, one after another.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    count: u32,
    /// A file whose first line is a token of `access.tokens`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with the certificates of the authorities to trust, in place of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Prints a line of JSON for each response: its status, its header fields and its body.
    #[arg(long)]
    json: bool,
}

/// Asks the replica.
pub(in crate::cli) fn run(
    arguments: &Arguments,
    variables: &Variables,
    out: &mut impl Write,
    err: &mut impl Write,
) -> ExitCode {
    match request_decisions(arguments, variables, out) {
        Ok(code) => code,
        Err(Failure { code, message }) => {
            // The exit code is the result, so errors of writing the output are ignored.
            let _ = writeln!(err, "{message}").and_then(|()| err.flush());
            ExitCode::from(code)
        }
    }
}

/// Why there is no decision.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn of_usage(message: impl Into<String>) -> Self {
        Self { code: exit::USAGE, message: message.into() }
    }
}

fn request_decisions(
    arguments: &Arguments,
    variables: &Variables,
    out: &mut impl Write,
) -> Result<ExitCode, Failure> {
    let Arguments { target, count, json, .. } = arguments;
    let path = match (&arguments.path, target.path()) {
        (Some(_), Some(_)) => {
            return Err(Failure::of_usage("the URL has a path already: leave out `--path`"));
        }
        (Some(path), None) => path,
        (None, in_url) => in_url.unwrap_or("/"),
    };
    let body = body(arguments, path)?.to_string();
    let token = token(arguments, variables)?;
    let connector = Connector::new(target, arguments.ca_file.as_deref());
    let connector = connector.map_err(Failure::of_usage)?;
    let mut denied = 0;
    for number in 1..=*count {
        let response = connector.post(&body, token.as_deref());
        let reported = response
            .and_then(|response| Reported::read(response, token.is_some()))
            .map_err(|why| Failure { code: NO_DECISION, message: format!("{target}: {why}") })?;
        denied += u32::from(!reported.is_allowed());
        let written = match (*json, *count) {
            (true, _) => writeln!(out, "{}", reported.to_json()),
            (false, 1) => text::write(&reported, arguments.method.as_str(), path, out),
            (false, _) => text::write_line(number, &reported, out),
        };
        // Nobody reads on.
        if written.is_err() {
            break;
        }
    }
    if *count > 1 && !json {
        let _ = writeln!(out, "{} allowed, {denied} denied", count - denied);
    }
    let _ = out.flush();
    Ok(if denied == 0 { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

/// Returns the body of the request to the replica.
fn body(arguments: &Arguments, path: &str) -> Result<Value, Failure> {
    let Arguments { method, request, .. } = arguments;
    let RequestFlags { client, ip, headers, tier, cost } = request;
    let mut attributes = Map::new();
    for (name, value) in headers {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Failure::of_usage(format!("the value of `{name}` is not UTF-8")))?;
        if attributes.insert(name.to_string(), json!(text)).is_some_and(|known| known != text) {
            return Err(Failure::of_usage(format!("`{name}` has different values: send one")));
        }
    }
    let mut body = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    add("method", Some(json!(method.as_str())));
    add("path", Some(json!(path)));
    add("client", client.as_ref().map(|client| json!(client)));
    add("ip", ip.map(|ip| json!(ip)));
    add("tier", tier.as_ref().map(|tier| json!(tier)));
    add("attributes", (!attributes.is_empty()).then_some(Value::Object(attributes)));
    add("cost", cost.map(|cost| json!(cost.tokens())));
    Ok(Value::Object(body))
}

/// Returns the token for the replica, if there is one.
fn token(arguments: &Arguments, variables: &Variables) -> Result<Option<String>, Failure> {
    let (source, token) = if let Some(file) = &arguments.token_file {
        let source = format!("--token-file: {}", file.display());
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::of_usage(format!("{source}: {error}")))?;
        (source, text.lines().next().unwrap_or_default().trim().to_owned())
    } else {
        let set =
            variables.iter().find(|(name, value)| name == TOKEN_VARIABLE && !value.is_empty());
        let Some((_, value)) = set else { return Ok(None) };
        (TOKEN_VARIABLE.to_owned(), value.to_string_lossy().into_owned())
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::of_usage(format!(
            "{source}: the token is empty, or has spaces or other characters in it"
        )));
    }
    Ok(Some(token))
}
