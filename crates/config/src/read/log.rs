//! `log: { format: text, level: info, decisions: { denied: 1, allowed: 0.01, per_second: 100 } }`.

use crate::{
    error::Refused,
    reader::Field,
    settings::{DecisionLogSettings, LogFormat, LogSettings, Share},
};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The lines in a second by default: 10 to 20 MB an hour for each replica at most.
const LINES_PER_SECOND: u64 = 100;
/// More than a log can take.
const MOST_LINES_PER_SECOND: u64 = 1_000_000;

pub(super) fn read(field: &Field<'_>) -> Result<LogSettings, Refused> {
    field.table(|log| {
        let format = log.field("format");
        let format = format
            .needs_restart(format.choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]));
        let level_field = log.field("level");
        let level = level_field.needs_restart(if level_field.is_off() {
            Ok("off".to_owned())
        } else {
            level_field
                .refuse_other_words_for_off()
                .and_then(|()| level_field.parse_with(level_filter))
        });
        let decisions_field = log.field("decisions");
        let decisions = decisions_field.optional(decisions).map(Option::flatten);
        let (level, decisions) = (level?, decisions?);
        if decisions.is_some() && hides_decisions(&level) {
            decisions_field.warn(
                "log.level hides these lines, which have the level `info`: write `sluice=info` \
                 behind it, as in `warn,sluice=info`",
            );
        }
        Ok(LogSettings { format: format?, level, decisions })
    })
}

/// Reads which decisions are logged; `None` when none are.
fn decisions(field: &Field<'_>) -> Result<Option<DecisionLogSettings>, Refused> {
    if field.is_off() {
        return Ok(None);
    }
    if !field.is_table() {
        return Err(field.refuse("write `{ denied: 1, allowed: 0.01, per_second: 100 }`, or `off`"));
    }
    field.table(|table| {
        let denied = table.field("denied").or(Share::ALL, share);
        let allowed = table.field("allowed").or(Share::NONE, share);
        let lines = |field: &Field<'_>| field.integer(1..=MOST_LINES_PER_SECOND);
        let per_second = table.field("per_second").or(LINES_PER_SECOND, lines);
        let (denied, allowed) = (denied?, allowed?);
        if denied == Share::NONE && allowed == Share::NONE {
            field.warn("logs no decision: write `off`, or a share above 0");
        }
        let per_second = u32::try_from(per_second?).unwrap_or(u32::MAX);
        Ok(Some(DecisionLogSettings { denied, allowed, per_second }))
    })
}

fn share(field: &Field<'_>) -> Result<Share, Refused> {
    let number = field.number()?;
    Share::new(number).ok_or_else(|| {
        field.refuse(format_args!("{number} is not a share: write a number from 0 to 1"))
    })
}

/// A level, or `target=level` pairs. `tracing` would take a misspelt level for the name of a
/// target, and log nothing.
fn level_filter(text: &str) -> Result<String, String> {
    for directive in text.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let levels = LEVELS.map(|level| format!("`{level}`")).join(", ");
            return Err(format!(
                "`{level}` is not a level: write one of {levels}, or `info,sluice_store=debug`"
            ));
        }
    }
    Ok(text.to_owned())
}

/// Whether a filter without a word about single targets leaves out lines of the level `info`.
fn hides_decisions(filter: &str) -> bool {
    let is_lower = |level: &str| {
        ["off", "error", "warn"].iter().any(|known| level.trim().eq_ignore_ascii_case(known))
    };
    !filter.contains("sluice=") && !filter.contains("sluice::") && filter.split(',').any(is_lower)
}
