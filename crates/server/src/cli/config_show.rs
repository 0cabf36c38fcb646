//! `sluice config show` and `sluice config schema`: prints the effective configuration, and the
//! JSON Schema of a file.

use std::{io::Write, process::ExitCode};

use sluice_config::{ConfigErrors, Loader};

use super::{
    exit,
    layers::{Layers, Variables},
};

/// Prints the effective configuration.
pub(super) fn show(
    layers: Layers,
    variables: Variables,
    out: &mut impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let text = layers.loader(variables).show()?;
    Ok(exit::of_output(&write!(out, "{text}").and_then(|()| out.flush())))
}

/// Prints the JSON Schema of a file.
pub(super) fn schema(out: &mut impl Write) -> ExitCode {
    let schema = Loader::schema();
    exit::of_output(&writeln!(out, "{schema:#}").and_then(|()| out.flush()))
}
