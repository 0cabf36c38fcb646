//! `sluice explain`: says which limits apply to a request, and why the others do not.
//!
//! It needs no replica and no store. The request is identified and matched by the same code as in a
//! replica; `report` notes what came of it, and `text` writes that for people.

mod report;
mod text;

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
};

use clap::Args;
use http::Method;
use sluice::{Cost, Limiter, Request, RequestError, identify::Headers};
use sluice_config::{ConfigErrors, Settings};

use self::report::{Report, Subject};
use super::{
    exit,
    layers::{ConfigFile, Variables},
    request_flags::{self, Header},
};
use crate::engine::Engine;

/// Says which limits apply to a request and why the others do not, from a configuration alone.
///
/// It needs no replica and no store, and takes nothing. Without `--client`, the client is found as
/// `clients.identify` says: from the headers and the address. With `--client`, it is the one that a
/// caller of /v1/check names.
///
/// The exit code is 0 if the request can be checked, 1 if a replica would reject it with status
/// 400, and 78 if the configuration has errors.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// The method of the request, such as `GET`.
    #[arg(value_parser = request_flags::method)]
    method: Method,
    /// The path of the request, with or without a query.
    path: String,
    /// The client as a caller of /v1/check names it: a key, or any other name.
    #[arg(long, value_name = "NAME", value_parser = request_flags::client)]
    client: Option<String>,
    /// A header of the request, such as `X-Api-Key: k1`. Repeat it for more.
    #[arg(
        long = "header",
        short = 'H',
        value_name = "NAME: VALUE",
        value_parser = request_flags::header
    )]
    headers: Vec<Header>,
    /// The client's tier, as a trusted proxy or a caller of /v1/check names it.
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// The address of the peer that sends the request. Without `--client`, the default is
    /// 127.0.0.1.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The tokens that the request costs, where a limit does not say it. The default is 1.
    #[arg(long, value_name = "TOKENS", value_parser = request_flags::cost)]
    cost: Option<Cost>,
    #[command(flatten)]
    file: ConfigFile,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Explains the request.
pub(in crate::cli) fn run(
    arguments: Arguments,
    variables: Variables,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let Arguments { method, path, client, headers, tier, ip, cost, file, json } = arguments;
    let settings = file.loader(variables).load()?;
    let described = Described { method: &method, path: &path, tier: tier.as_deref(), cost };
    let headers = request_flags::headers(&headers);
    let explained = match &client {
        Some(name) => described.by_name(name, ip, &Headers::new(&headers), &settings),
        None => described.by_head(ip, &headers, settings),
    };
    let written = match explained {
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

/// The request, but for its client.
#[derive(Clone, Copy)]
struct Described<'a> {
    method: &'a Method,
    path: &'a str,
    tier: Option<&'a str>,
    cost: Option<Cost>,
}

impl Described<'_> {
    /// Explains the request of the client that a caller names.
    fn by_name(
        self,
        name: &str,
        ip: Option<IpAddr>,
        headers: &Headers<'_>,
        settings: &Settings,
    ) -> Result<Report, RequestError> {
        let request =
            Request::new(sluice::Client::Key(name.as_bytes()), self.method.as_str(), self.path)
                .with_address(ip.map(|ip| ip.to_canonical()))
                .with_attributes(headers);
        let subject = Subject { from: "--client".to_owned(), unverified: None };
        Report::of(&settings.policy, &settings.store.prefix, &self.complete(request), subject)
    }

    /// Explains the request of the client that its head identifies.
    fn by_head(
        self,
        ip: Option<IpAddr>,
        headers: &http::HeaderMap,
        settings: Settings,
    ) -> Result<Report, RequestError> {
        let Settings { policy, identifier, limits_preflights, store, .. } = settings;
        let source = identifier.source(headers)?.to_string();
        let engine = Engine::new(Limiter::builder(policy).build(), identifier);
        engine.limit_preflights(limits_preflights);
        let peer = ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let identity = engine.identify(headers, peer)?;
        let request = engine.request(&identity, self.method.as_str(), self.path, headers);
        // Who names a tier vouches for the key.
        let unverified = identity.unverified().filter(|_| self.tier.is_none());
        let subject = Subject { from: source, unverified };
        let policy = engine.limiter().policy();
        Report::of(&policy, &store.prefix, &self.complete(request), subject)
    }

    /// Adds what flags say about the request.
    fn complete<'r>(self, mut request: Request<'r>) -> Request<'r>
    where
        Self: 'r,
    {
        if let Some(tier) = self.tier {
            request = request.with_tier(tier);
        }
        match self.cost {
            Some(cost) => request.with_cost(cost),
            None => request,
        }
    }
}
