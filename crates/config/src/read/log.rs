//! `log: { format: text, level: info }`.

use crate::{
    error::Refused,
    reader::Field,
    settings::{LogFormat, LogSettings},
};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn read(field: &Field<'_>) -> Result<LogSettings, Refused> {
    field.needs_restart(field.table(|log| {
        let format =
            log.field("format").choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        let level = log.field("level");
        let level = if level.is_off() {
            Ok("off".to_owned())
        } else {
            level.refuse_other_words_for_off().and_then(|()| level.parse_with(level_filter))
        };
        Ok(LogSettings { format: format?, level: level? })
    }))
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
