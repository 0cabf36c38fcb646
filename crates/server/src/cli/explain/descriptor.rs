//! Says which rule of Envoy's rate limit service a descriptor matches, and why the others do not.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::json;
use sluice_config::{ConfigErrors, Loader, rls::Overrun};
use sluice_core::Cost;
use sluice_rls::{
    ExplainedDescriptor, ExplainedRule, OtherRules, RuleEffect, RuleObstacle, explain,
};

use super::limit::{Bucket, Terms, keys_prefix};
use crate::cli::{exit, printable::printable};

/// How many of the other rules are printed for people.
const MOST_LINES: usize = 40;

/// What is said about a descriptor.
#[derive(Serialize)]
struct Report {
    domain: String,
    entries: Vec<[String; 2]>,
    rule: Option<Rule>,
    other_rules: Vec<Other>,
}

/// The rule that matches.
#[derive(Serialize)]
struct Rule {
    path: String,
    name: Option<String>,
    /// `limit`, `unlimited` or `blocks`.
    effect: &'static str,
    shadow_mode: bool,
    quota_mode: bool,
    replaces: Vec<String>,
    #[serde(flatten)]
    limit: Option<Limit>,
}

/// The limit of a rule that takes tokens.
#[derive(Serialize)]
struct Limit {
    #[serde(flatten)]
    terms: Terms,
    overrun: &'static str,
    bucket: Bucket,
}

/// Rules that do not match, at and below a path.
#[derive(Serialize)]
struct Other {
    path: String,
    rules: usize,
    reason: &'static str,
    because: String,
}

/// Explains the descriptor in `words`: its domain, and an entry in each further word.
pub(super) fn run(
    words: &[String],
    cost: Option<Cost>,
    loader: &Loader,
    json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<ExitCode, ConfigErrors> {
    // Nothing is left to report to if writing an error fails.
    let entries = match words.iter().skip(1).map(|word| entry(word)).collect::<Result<Vec<_>, _>>()
    {
        Ok(entries) => entries,
        Err(error) => {
            let _ = writeln!(err, "{error}");
            return Ok(ExitCode::from(exit::USAGE));
        }
    };
    let domain = words.first().map(String::as_str).unwrap_or_default();
    let settings = loader.load()?;
    let (Some(rls), false) = (&settings.rls, domain.is_empty()) else {
        let why = if domain.is_empty() {
            "the domain is empty"
        } else {
            "no rules are configured: name their files in `rls.files`"
        };
        let _ = writeln!(err, "a replica rejects this descriptor: {why}");
        return Ok(ExitCode::FAILURE);
    };
    let (failure, tagger) = (settings.store.on_failure, settings.policy.tagger());
    let cost_of_call = cost.unwrap_or(Cost::ONE);
    let explained = explain(rls, failure, tagger, domain, &entries, cost_of_call);
    let written = match explained {
        Some(explained) => {
            let prefix = keys_prefix(&settings.store);
            let report = Report::of(domain, entries, explained, prefix);
            if json {
                writeln!(out, "{:#}", json!(report))
            } else {
                report.write(cost.is_some(), out)
            }
        }
        None => {
            let known: Vec<_> = rls.domains.iter().map(|domain| &*domain.name).collect();
            let _ = writeln!(
                err,
                "no file has rules for the domain {}, so that a replica limits nothing in it. The \
                 domains are: {}",
                printable(domain),
                printable(&known.join(", "))
            );
            return Ok(ExitCode::FAILURE);
        }
    };
    Ok(exit::of_output(&written.and_then(|()| out.flush())))
}

fn entry(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!(
            "--rls: `{}` is no entry: write a key and a value, as in `path=/orders`",
            printable(word)
        )),
    }
}

impl Report {
    fn of(
        domain: &str,
        entries: Vec<(String, String)>,
        explained: ExplainedDescriptor,
        prefix: Option<&str>,
    ) -> Self {
        Self {
            domain: domain.to_owned(),
            entries: entries.into_iter().map(|(key, value)| [key, value]).collect(),
            rule: explained.rule.map(|rule| Rule::of(rule, prefix)),
            other_rules: explained.others.into_iter().map(Other::of).collect(),
        }
    }

    /// Writes the report for people. With `is_own_cost`, the descriptor names its `hits_addend`.
    fn write(&self, is_own_cost: bool, out: &mut impl Write) -> io::Result<()> {
        let Self { domain, entries, rule, other_rules } = self;
        write!(out, "{}", printable(domain))?;
        for [key, value] in entries {
            write!(out, " {}={}", printable(key), printable(value))?;
        }
        writeln!(out, "\n")?;
        match rule {
            Some(rule) => {
                writeln!(out, "This rule matches:")?;
                rule.write(is_own_cost, out)?;
            }
            None => writeln!(out, "No rule matches, so that the descriptor is not limited.")?,
        }
        if !other_rules.is_empty() {
            writeln!(out, "\nThese do not:")?;
        }
        let (shown, hidden) = other_rules.split_at(other_rules.len().min(MOST_LINES));
        let width = shown.iter().map(|other| other.shown_path().chars().count()).max().unwrap_or(0);
        for other in shown {
            writeln!(out, "  {:width$}  {}", other.shown_path(), printable(&other.because))?;
        }
        if !hidden.is_empty() {
            writeln!(out, "  and {} more, which `--json` lists", hidden.len())?;
        }
        Ok(())
    }
}

impl Rule {
    fn of(rule: ExplainedRule, prefix: Option<&str>) -> Self {
        let per = if rule.is_shared { "pattern" } else { "value" };
        let (effect, limit) = match &rule.effect {
            RuleEffect::Unlimited => ("unlimited", None),
            RuleEffect::Blocks => ("blocks", None),
            RuleEffect::Takes(part) => {
                let bucket = Bucket::of(part, per.to_owned(), prefix);
                let overrun = match rule.overrun {
                    Overrun::Auto => "auto",
                    Overrun::Debt => "debt",
                    Overrun::None => "none",
                };
                ("limit", Some(Limit { terms: Terms::of(part), overrun, bucket }))
            }
        };
        Self {
            path: rule.path,
            name: Some(rule.name).filter(|name| !name.is_empty()),
            effect,
            shadow_mode: rule.is_shadow,
            quota_mode: rule.is_quota,
            replaces: rule.replaces,
            limit,
        }
    }

    fn write(&self, is_own_cost: bool, out: &mut impl Write) -> io::Result<()> {
        write!(out, "  {}", printable(&self.path))?;
        if let Some(name) = &self.name {
            write!(out, " ({})", printable(name))?;
        }
        writeln!(out)?;
        match &self.limit {
            Some(Limit { terms, overrun, bucket }) => {
                terms.write(of_cost(overrun, is_own_cost), out)?;
                writeln!(out, "    bucket  {bucket}")?;
            }
            None if self.effect == "unlimited" => writeln!(out, "    allows everything")?,
            None if self.shadow_mode => {
                writeln!(out, "    blocks everything, but is in shadow mode: it never denies")?;
            }
            None => writeln!(out, "    blocks everything")?,
        }
        if self.quota_mode {
            writeln!(
                out,
                "    quota   denies only together with all other quota rules that a call matches"
            )?;
        }
        if !self.replaces.is_empty() {
            let names = self.replaces.join(", ");
            writeln!(out, "    replaces {}, if the call matches them too", printable(&names))?;
        }
        Ok(())
    }
}

/// Returns what happens to a cost that does not fit.
fn of_cost(overrun: &str, is_own_cost: bool) -> &'static str {
    match overrun {
        "debt" if is_own_cost => ", charged past zero if it is above 1 (overrun: debt)",
        "auto" if is_own_cost => {
            ", charged past zero once the rule was asked with 0 (overrun: auto)"
        }
        _ => "",
    }
}

impl Other {
    fn of(other: OtherRules) -> Self {
        let (reason, because) = match &other.obstacle {
            RuleObstacle::Key(entry) => ("key", format!("entry {entry} has another key")),
            RuleObstacle::Value(entry) => ("value", format!("entry {entry} has another value")),
            RuleObstacle::MoreSpecific { entry, path } => {
                ("more_specific", format!("{path} fits entry {entry} more specifically"))
            }
            RuleObstacle::TooFewEntries => {
                ("too_few_entries", "it needs more entries than the descriptor has".to_owned())
            }
            RuleObstacle::TooManyEntries => {
                ("too_many_entries", "it needs fewer entries than the descriptor has".to_owned())
            }
        };
        Self { path: other.path, rules: other.rules, reason, because }
    }

    fn shown_path(&self) -> String {
        match self.rules {
            1 => printable(&self.path).into_owned(),
            rules => format!("{} ({rules} rules)", printable(&self.path)),
        }
    }
}
