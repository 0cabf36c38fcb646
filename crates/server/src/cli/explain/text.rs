//! The report for people.

use std::io::{self, Write};

use super::report::{Applying, ModelRoute, NotApplying, Report};
use crate::cli::printable::printable;

/// Writes `report`.
pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Report { method, path, normal_path, client, tier, limits, other_limits, .. } = report;
    writeln!(out, "{method} {}", printable(path))?;
    if path != normal_path {
        writeln!(
            out,
            "  path      {}, the normal form in which paths are compared",
            printable(normal_path)
        )?;
    }
    let hash = client.hash.as_deref().unwrap_or("none");
    writeln!(out, "  client    {hash}, from {}", client.from)?;
    if let Some(address) = client.address {
        writeln!(out, "  address   {address}")?;
    }
    match tier {
        Some(tier) if report.is_listed => {
            writeln!(out, "  tier      {tier}, which lists the client")?;
        }
        Some(tier) => writeln!(out, "  tier      {tier}, which the request names")?,
        None => writeln!(out, "  tier      none")?,
    }
    if let Some(ignored) = &report.ignored_tier {
        let why = if report.is_listed {
            "the client is listed with another one"
        } else {
            "the configuration has no such tier"
        };
        let ignored = printable(ignored);
        writeln!(out, "            {ignored}, which the request names, is ignored: {why}")?;
    }
    writeln!(out, "  endpoint  {}", report.endpoint)?;
    if let Some(ModelRoute { path, speaks }) = &report.model_route {
        writeln!(
            out,
            "  model     the route {} ({speaks}): what the request uses is metered",
            printable(path)
        )?;
    }
    if let Some(rate) = &report.unverified {
        writeln!(
            out,
            "  note      nothing vouches for the key: its address may ask {rate} under all such \
             keys (clients.unverified)"
        )?;
    }
    writeln!(out)?;
    if let Some(exempt) = &report.exempt {
        writeln!(out, "The request is never limited: the path is exempt ({exempt}).")?;
    } else if limits.is_empty() {
        writeln!(out, "No limit applies, so that the request is allowed.")?;
    } else {
        writeln!(out, "These limits apply:")?;
        limits.iter().try_for_each(|limit| write_applying(limit, out))?;
    }
    if let Some(off) = &report.off {
        writeln!(out, "The endpoint {off} is `off`: it takes the path out of the default limit.")?;
    }
    if report.exempt.is_none() && !other_limits.is_empty() {
        writeln!(out, "\nThese do not:")?;
        let width = other_limits.iter().map(|limit| limit.name.len()).max().unwrap_or(0);
        for NotApplying { name, because, .. } in other_limits {
            writeln!(out, "  {name:width$}  {because}")?;
        }
    }
    Ok(())
}

fn write_applying(limit: &Applying, out: &mut impl Write) -> io::Result<()> {
    let Applying { name, kind, cost_from, terms, bucket } = limit;
    writeln!(out, "  {name} ({kind})")?;
    let from = cost_from.as_ref().map(|from| format!(" (cost: {from})")).unwrap_or_default();
    terms.write(&from, out)?;
    writeln!(out, "    bucket  {bucket}")
}
