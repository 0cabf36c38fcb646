//! `sluice hash`: turns a client's name into the hash that stands for it in logs, in statistics and
//! in Redis.

use std::{io::Write, net::IpAddr, process::ExitCode};

use clap::Args;
use serde_json::json;
use sluice_config::ConfigErrors;
use sluice_core::{Subject, Tag};

use super::{
    exit,
    layers::{ConfigFile, Variables},
    request_flags,
};

/// Prints the hash of a client, as the log of decisions, the pages of monitoring and keys in Redis
/// show it.
///
/// The hash depends on `clients.secret`, so that it needs the configuration of the replicas. A name
/// that is an address has two: one of the client at that address, and one of a client whose key is
/// this text.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The client: its key or name, or its address.
    #[arg(value_parser = request_flags::client)]
    client: String,
    #[command(flatten)]
    file: ConfigFile,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the hash of the client.
pub(super) fn run(
    arguments: Arguments,
    variables: Variables,
    out: &mut impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let Arguments { client, file, json } = arguments;
    let policy = file.loader(variables).load()?.policy;
    let key: Tag = policy.tagger().tag(Subject::Client(client.as_bytes()));
    let address = client.parse::<IpAddr>().ok().map(|address| policy.address_tag(address));
    let written = match address {
        _ if json => {
            let address = address.map(|tag| tag.to_string());
            writeln!(out, "{}", json!({ "key": key.to_string(), "address": address }))
        }
        Some(address) => writeln!(out, "{address}  the address\n{key}  the key"),
        None => writeln!(out, "{key}"),
    };
    Ok(exit::of_output(&written.and_then(|()| out.flush())))
}
