//! A decision for people.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use serde_json::Value;

use super::reported::Reported;
use crate::cli::printable::printable;

/// Writes a decision about a request by `method` for `path`.
pub(super) fn write(
    reported: &Reported,
    method: &str,
    path: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "{}: {method} {}", word(reported), printable(path))?;
    let limits = reported.body["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
    if limits.is_empty() {
        writeln!(out, "  no limit applies")?;
    }
    if let Some(detail) = reported.body["detail"].as_str() {
        writeln!(out, "  {}", printable(detail))?;
    }
    for (place, limit) in limits.iter().enumerate() {
        write!(out, "  {}: {} of {}", text(&limit["name"]), limit["remaining"], limit["limit"])?;
        let algorithm = limit["algorithm"].as_str().unwrap_or_default();
        match algorithm {
            "quota" => write!(out, " left in a window of {}", span(&limit["window"]))?,
            "at_most" => write!(out, " left in any {}", span(&limit["window"]))?,
            "concurrent" => write!(out, " slots left")?,
            _ => write!(out, " left per {}, burst {}", seconds(&limit["window"]), limit["burst"])?,
        }
        if limit["mode"] == "shadow" {
            write!(out, ", in shadow mode")?;
        }
        if limit["admitted"] == false {
            write!(out, ", lacks the {} that the request costs", limit["cost"])?;
        }
        if let Some(wait) = limit["retry_after"].as_u64() {
            write!(out, ", has them in {}", in_words(wait))?;
        }
        if limit["never"] == true {
            let most =
                if limit["burst"].is_null() { "more than it admits" } else { "above its burst" };
            write!(out, ", which is {most}")?;
        }
        // Of the binding limit alone, the response says it in seconds from now.
        if let (0, Some(full_in)) = (place, reported.full_in_seconds()) {
            let event = if algorithm == "quota" { "begins anew" } else { "full again" };
            write!(out, ", {event} in {}", in_words(full_in))?;
        }
        writeln!(out)?;
    }
    for (name, value) in reported.fields() {
        writeln!(out, "  {name}: {value}")?;
    }
    Ok(())
}

/// Writes a decision as one line of many.
pub(super) fn write_line(number: u32, reported: &Reported, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{number}: {}", word(reported))?;
    if let Some(limit) = reported.body["limits"].get(0) {
        write!(out, ", {}: {} left", text(&limit["name"]), limit["remaining"])?;
    }
    if let Some(wait) = reported.body["retry_after"].as_u64() {
        write!(out, ", retry after {}", in_words(wait))?;
    }
    writeln!(out)
}

const fn word(reported: &Reported) -> &'static str {
    if reported.is_allowed() { "allowed" } else { "denied" }
}

fn text(value: &Value) -> Cow<'_, str> {
    printable(value.as_str().unwrap_or("?"))
}

fn seconds(window: &Value) -> String {
    match window.as_u64() {
        Some(1) => "second".to_owned(),
        Some(60) => "minute".to_owned(),
        Some(3_600) => "hour".to_owned(),
        Some(86_400) => "day".to_owned(),
        _ => format!("{window} seconds"),
    }
}

/// Returns a number of seconds in words.
fn span(window: &Value) -> String {
    window.as_u64().map_or_else(|| "?".to_owned(), in_words)
}

/// Returns a span in words, rounded up to a unit of which there are few.
fn in_words(seconds: u64) -> String {
    let (unit, of_unit) = match seconds {
        0..=120 => ("second", 1),
        121..=7_200 => ("minute", 60),
        7_201..=172_800 => ("hour", 3_600),
        _ => ("day", 86_400),
    };
    let number = seconds.div_ceil(of_unit);
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn a_span_is_rounded_up_to_a_unit_of_which_there_are_few() {
        for (seconds, expected) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (120, "120 seconds"),
            (121, "3 minutes"),
            (43_200, "12 hours"),
            (43_201, "13 hours"),
            (u64::MAX, "213503982334602 days"),
        ] {
            assert_eq!(in_words(seconds), expected);
        }
    }
}
