//! `rls.overrun`: what happens to usage that does not fit into its bucket.
//!
//! ```yaml
//! overrun: debt                         # for all rules, or:
//! overrun:
//!   default: auto
//!   domains: { edge: debt }
//!   rules: { edge.api_key: none }       # by the rules' paths, which are their names in metrics
//! ```
//!
//! It is not a key of a rule, because a rules file stays valid for envoyproxy/ratelimit.

use crate::{
    error::Refused,
    reader::{Field, Table},
    settings::rls::{Descriptor, Domain, Overrun},
    words::most_like,
};

const WORDS: [(&str, Overrun); 3] =
    [("auto", Overrun::Auto), ("debt", Overrun::Debt), ("none", Overrun::None)];

/// What the setting says.
#[derive(Default)]
pub(super) struct Overruns<'a> {
    default: Overrun,
    domains: Vec<Named<'a>>,
    rules: Vec<Named<'a>>,
}

/// What it says of one domain or rule.
struct Named<'a> {
    name: &'a str,
    overrun: Overrun,
    field: Field<'a>,
}

/// Reads the setting.
pub(super) fn read<'a>(field: &Field<'a>) -> Result<Overruns<'a>, Refused> {
    if !field.is_table() {
        let default = field.choice(&WORDS)?;
        return Ok(Overruns { default, ..Overruns::default() });
    }
    field.table(|table| {
        let default = table.field("default").or(Overrun::Auto, |field| field.choice(&WORDS));
        let (domains, rules) = (named(table, "domains"), named(table, "rules"));
        Ok(Overruns { default: default?, domains: domains?, rules: rules? })
    })
}

impl Overruns<'_> {
    /// Tells the rules of `domains`: what is said of a rule counts before what is said of its
    /// domain, and that before the default.
    pub(super) fn apply(&self, domains: &mut [Domain]) -> Result<(), Refused> {
        let Self { default, domains: of_domains, rules: of_rules } = self;
        domains.iter_mut().for_each(|domain| set_all(domain, *default));
        let mut result = Ok(());
        for Named { name, overrun, field } in of_domains {
            match domains.iter_mut().find(|domain| domain.name == *name) {
                Some(domain) => set_all(domain, *overrun),
                None => {
                    let known = domains.iter().map(|domain| domain.name.as_str());
                    result = Err(unknown(field, "domain", name, known));
                }
            }
        }
        for Named { name: path, overrun, field } in of_rules {
            let mut found = false;
            for domain in &mut *domains {
                found |= set_rule(&domain.name, &mut domain.descriptors, path, *overrun);
            }
            if !found {
                let mut known = Vec::new();
                for domain in &*domains {
                    collect_rules(&domain.name, &domain.descriptors, &mut known);
                }
                result = Err(unknown(field, "rule", path, known.iter().map(String::as_str)));
            }
        }
        result
    }
}

/// The entries of the table `key`: each name, its word, and where it is written.
fn named<'a>(table: &Table<'a>, key: &'static str) -> Result<Vec<Named<'a>>, Refused> {
    table.field(key).or(Vec::new(), |field| {
        let named = |(name, field): (&'a str, Field<'a>)| {
            field.choice(&WORDS).map(|overrun| Named { name, overrun, field })
        };
        // Every entry is read, so that every error is recorded.
        let read: Vec<_> = field.entries()?.into_iter().map(named).collect();
        read.into_iter().collect()
    })
}

fn unknown<'k>(
    field: &Field<'_>,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'k str>,
) -> Refused {
    match most_like(name, known) {
        Some(other) => {
            field.refuse(format_args!("no file has the {what} `{name}`: did you mean `{other}`?"))
        }
        None => field.refuse(format_args!("no file has the {what} `{name}`: remove the key")),
    }
}

fn set_all(domain: &mut Domain, overrun: Overrun) {
    domain.overrun = overrun;
    set_each(&mut domain.descriptors, overrun);
}

fn set_each(descriptors: &mut [Descriptor], overrun: Overrun) {
    for descriptor in descriptors {
        if let Some(limit) = &mut descriptor.limit {
            limit.overrun = overrun;
        }
        set_each(&mut descriptor.descriptors, overrun);
    }
}

/// Sets every rule at `path`; a path may be that of two rules. Returns whether there is one.
fn set_rule(parent: &str, descriptors: &mut [Descriptor], path: &str, overrun: Overrun) -> bool {
    let mut found = false;
    for descriptor in descriptors {
        let own = descriptor.path(parent);
        if !path.starts_with(&own) {
            continue;
        }
        if let Some(limit) = descriptor.limit.as_mut().filter(|_| own == path) {
            limit.overrun = overrun;
            found = true;
        }
        found |= set_rule(&own, &mut descriptor.descriptors, path, overrun);
    }
    found
}

fn collect_rules(parent: &str, descriptors: &[Descriptor], paths: &mut Vec<String>) {
    for descriptor in descriptors {
        let own = descriptor.path(parent);
        collect_rules(&own, &descriptor.descriptors, paths);
        if descriptor.limit.is_some() {
            paths.push(own);
        }
    }
}
