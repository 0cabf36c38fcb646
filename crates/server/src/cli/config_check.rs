//! `sluice config check`: prints all errors of a configuration.

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use sluice_config::{ConfigErrors, Loader, RulesFile, Settings};

use super::{
    exit::{self, EXIT_CONFIG},
    layers::{FileChoice, Variables},
};
use crate::tls_files::{self, Findings};

/// Prints all errors of a configuration. Of the files with secrets that it names, only those of
/// TLS are read, and only if they are on this machine.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The file: YAML, TOML or JSON by its extension. It is checked alone, without the
    /// environment. It may also hold rules of Envoy's rate limit service. Without it, what
    /// `serve` would read is checked: the file that `SLUICE_CONFIG` names, or else
    /// ./sluice.yaml, and the environment.
    file: Option<PathBuf>,
}

/// Checks the file, or else what `serve` would read.
pub(super) fn run(
    arguments: Arguments,
    variables: Variables,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<ExitCode, ConfigErrors> {
    if let Some(file) = arguments.file {
        return check_file(&file, out, err);
    }
    let checked = FileChoice::of(None, &variables);
    let loader = checked.loader().variables(variables).without_secrets();
    check(&checked.to_string(), &loader, out, err)
}

/// Checks a file alone: a configuration, or rules of Envoy's rate limit service.
fn check_file(
    file: &Path,
    mut out: impl Write,
    mut err: impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let name = file.display().to_string();
    let Some(rules) = RulesFile::check(file) else {
        return check(&name, &Loader::new().file(file).without_secrets(), out, err);
    };
    let RulesFile { domain, warnings, .. } = rules?;
    let written = warn(&warnings, &mut err)
        .and_then(|()| writeln!(out, "{name}: valid, {}", rules_count(domain.rules(), 1)))
        .and_then(|()| out.flush());
    Ok(exit::of_output(&written))
}

/// Checks what `loader` reads, and the files of TLS that it names.
fn check(
    name: &str,
    loader: &Loader,
    out: impl Write,
    mut err: impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let settings = loader.load()?;
    let Findings { warnings, errors } = tls_files::check(&settings, loader);
    if errors.is_empty() {
        let written = warn(&warnings, &mut err);
        return Ok(exit::of_output(&written.and_then(|()| report(name, &settings, out, err))));
    }
    // As in `exit::reject`: nothing is left to report to.
    let written = errors.iter().try_for_each(|error| writeln!(err, "{error}"));
    let _ = written.and_then(|()| err.flush());
    Ok(ExitCode::from(EXIT_CONFIG))
}

fn report(
    name: &str,
    settings: &Settings,
    mut out: impl Write,
    mut err: impl Write,
) -> io::Result<()> {
    warn(&settings.warnings, &mut err)?;
    if !settings.replaced_endpoints.is_empty() {
        writeln!(
            err,
            "note: `endpoints` replace the built-in ones: {} no longer have a limit of their own",
            settings.replaced_endpoints.join(", ")
        )?;
    }
    let limits = settings.policy.limits().len();
    let noun = if limits == 1 { "limit" } else { "limits" };
    write!(out, "{name}: valid, {limits} {noun}")?;
    if let Some(rls) = &settings.rls {
        write!(out, ", {}", rules_count(rls.rules(), rls.domains.len()))?;
    }
    writeln!(out)?;
    out.flush()
}

fn warn(warnings: &[impl fmt::Display], err: &mut impl Write) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(err, "warning: {warning}"))
}

fn rules_count(rules: usize, domains: usize) -> String {
    let plural = |count| if count == 1 { "" } else { "s" };
    format!("{rules} RLS rule{} in {domains} domain{}", plural(rules), plural(domains))
}
