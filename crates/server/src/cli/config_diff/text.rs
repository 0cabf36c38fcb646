//! The differences for people.

use std::io::{self, Write};

use sluice_config::ChangedSetting;

use super::{
    limits::{Change, LimitChange, NUMBERS, TierName, whole},
    report::{Report, TierChange, remark},
};

/// Writes `report`.
pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.is_empty() {
        return writeln!(out, "no difference");
    }
    section("limits", &report.limits, out, |limit, out| {
        writeln!(out, "  {}: {}, {}", limit.name, change(&limit.change), audience(limit))
    })?;
    section("tiers", &report.tiers, out, write_tier)?;
    let exempt = report.newly_exempt.iter().map(|path| (path, "added: it is never limited"));
    let limited = report.no_longer_exempt.iter().map(|path| (path, "removed: limits apply to it"));
    let paths: Vec<(&String, &str)> = exempt.chain(limited).collect();
    section("exempt", &paths, out, |(path, what), out| writeln!(out, "  {path}: {what}"))?;
    section("settings", &report.settings, out, write_setting)
}

fn section<T, W: Write>(
    title: &str,
    items: &[T],
    out: &mut W,
    mut write: impl FnMut(&T, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}:")?;
    items.iter().try_for_each(|item| write(item, out))
}

fn change(change: &Change) -> String {
    match change {
        Change::Added(parts) => format!("added: {}", whole(parts)),
        Change::Removed(parts) => format!("removed, was {}", whole(parts)),
        Change::Changed(parts) => {
            let part = |(name, old, new): &(&str, String, String)| match *name {
                "rate" | NUMBERS => format!("{old} -> {new}"),
                name => format!("{name} {old} -> {new}"),
            };
            parts.iter().map(part).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Returns for whom a change is.
fn audience(limit: &LimitChange) -> String {
    let names = |tiers: &[TierName]| {
        let name = |tier: &TierName| {
            tier.as_ref().map_or("clients without a tier".to_owned(), |tier| format!("tier {tier}"))
        };
        tiers.iter().map(name).collect::<Vec<_>>().join(" and ")
    };
    let LimitChange { tiers, others, is_for_all, .. } = limit;
    if *is_for_all {
        "for everyone".to_owned()
    } else if others.len() < tiers.len() {
        format!("for everyone but {}", names(others))
    } else {
        format!("for {}", names(tiers))
    }
}

fn write_tier(tier: &TierChange, out: &mut impl Write) -> io::Result<()> {
    match tier {
        TierChange::Added { name, clients, limits } => {
            let unlike = if limits.is_empty() { "" } else { "; unlike clients without a tier:" };
            writeln!(out, "  {name}: added, with {}{unlike}", listed(*clients))?;
            limits.iter().try_for_each(|(limit, own)| writeln!(out, "    {limit}: {}", change(own)))
        }
        TierChange::Removed { name, clients } => {
            writeln!(out, "  {name}: removed, with {}, which then have no tier", listed(*clients))
        }
        TierChange::Clients { name, added, removed } => {
            writeln!(out, "  {name}: {added} added to its clients, {removed} removed")
        }
    }
}

fn listed(clients: usize) -> String {
    match clients {
        1 => "1 client in its list".to_owned(),
        clients => format!("{clients} clients in its list"),
    }
}

fn write_setting(setting: &ChangedSetting, out: &mut impl Write) -> io::Result<()> {
    let ChangedSetting { path, old, new, needs_restart, is_reordered, .. } = setting;
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    if old.is_some() && old == new {
        // A secret, or a list that is not shown.
        write!(out, "  {path}: changed, not shown")?;
    } else {
        write!(out, "  {path}: {} -> {}", value(old), value(new))?;
    }
    if *is_reordered {
        write!(out, "; the same in another order")?;
    }
    if let Some(remark) = remark(path) {
        write!(out, "; {remark}")?;
    }
    if *needs_restart {
        write!(out, " (needs a restart)")?;
    }
    writeln!(out)
}
