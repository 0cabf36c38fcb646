//! Settings from environment variables: `SLUICE__STORE__URL=redis://cache` says `store: { url:
//! "redis://cache" }`.
//!
//! - Names are read without regard to case, and `__` separates keys. A key that begins with `/` is
//!   an endpoint and keeps its case.
//! - A list is written with commas: `SLUICE__CLIENTS__TRUSTED_PROXIES=10.0.0.0/8,192.168.0.0/16`.
//! - A value in `[...]` or `{...}` is YAML: `SLUICE__ENDPOINTS={/api/v1.2/Chat: 20}`.
//! - An empty value says nothing, as if the variable were not set: that is how Compose files pass
//!   variables on.

use std::ffi::OsString;

use config::{Map, Value, ValueKind};

use super::{document, error::ConfigError, layers::SparseLayer, origin::Origin, path::Path};

/// What our variables begin with.
const PREFIX: &str = "SLUICE__";
const SEPARATOR: &str = "__";

/// What is a list, so that a value of several words is split at its commas; `*` is any key.
const LISTS: [&[&str]; 5] = [
    &["clients", "identify"],
    &["clients", "trusted_proxies"],
    &["exempt"],
    &["gateway", "upstream"],
    &["tiers", "*", "clients"],
];

/// The settings among `variables`, and what is wrong with them.
pub(crate) fn read(variables: &[(OsString, OsString)]) -> (Map<String, Value>, Vec<ConfigError>) {
    let mut ours: Vec<(String, &OsString)> = variables
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, value)| {
            name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
                && !value.is_empty()
        })
        .collect();
    // The order of an environment means nothing; mistakes should come in the same order each time.
    ours.sort();
    let mut layer = SparseLayer::default();
    for (name, value) in ours {
        let segments: Vec<String> = name[PREFIX.len()..].split(SEPARATOR).map(key).collect();
        let origin = Origin::Variable(name);
        let path = segments.iter().fold(Path::root(), |path, segment| path.key(segment));
        if segments.iter().any(String::is_empty) {
            layer.refuse(
                origin,
                Path::root(),
                "a key is missing: write `SLUICE__STORE__URL`, with two underscores between keys"
                    .to_owned(),
            );
            continue;
        }
        let Some(text) = value.to_str() else {
            layer.refuse(origin, path, "the value is not UTF-8".to_owned());
            continue;
        };
        match read_value(&origin, &segments, text) {
            Ok(value) => layer.put(&segments, &origin, value),
            Err(mistakes) => layer.refuse_all(mistakes),
        }
    }
    layer.finish()
}

/// Warns of variables that look as if one of `sections` were meant, but are none of ours for lack
/// of an underscore.
pub(crate) fn misspelt(variables: &[(OsString, OsString)], sections: &[&str]) -> Vec<ConfigError> {
    // Kubernetes sets SLUICE_STORE_SERVICE_HOST and SLUICE_STORE_PORT for a service that happens to
    // be called so.
    let by_kubernetes =
        |rest: &str| rest.starts_with("service_") || rest == "port" || rest.starts_with("port_");
    let is_misspelt = |name: &str| {
        let said = name.to_lowercase();
        let said = said
            .strip_prefix("sluice_")
            .filter(|rest| !rest.starts_with('_'))
            .and_then(|rest| rest.split_once('_'));
        said.is_some_and(|(section, rest)| sections.contains(&section) && !by_kubernetes(rest))
    };
    let mut names: Vec<String> = variables
        .iter()
        .filter_map(|(name, _)| name.to_str().map(str::to_owned))
        .filter(|name| is_misspelt(name))
        .collect();
    names.sort();
    let message = "is not looked at: write `SLUICE__STORE__URL`, with two underscores between keys"
        .to_owned();
    names
        .into_iter()
        .map(|name| ConfigError {
            origin: Origin::Variable(name),
            path: Path::root(),
            message: message.clone(),
        })
        .collect()
}

fn key(segment: &str) -> String {
    if segment.starts_with('/') { segment.to_owned() } else { segment.to_lowercase() }
}

/// The value that `text` is for the place that `segments` lead to: YAML in brackets or braces, a
/// list, or the text itself.
pub(crate) fn read_value(
    origin: &Origin,
    segments: &[String],
    text: &str,
) -> Result<Value, Vec<ConfigError>> {
    let text = text.trim();
    let enclosed = |open, close| text.starts_with(open) && text.ends_with(close);
    if enclosed('[', ']') || enclosed('{', '}') {
        let (value, mistakes) = document::parse_yaml(origin, text);
        return value.filter(|_| mistakes.is_empty()).ok_or(mistakes);
    }
    let value = |kind: ValueKind| Value::new(Some(&origin.to_tag()), kind);
    if is_list(segments) {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        return Ok(value(ValueKind::Array(words.map(|word| value(word.into())).collect())));
    }
    Ok(value(text.into()))
}

fn is_list(segments: &[String]) -> bool {
    let fits = |(key, segment): (&&str, &String)| *key == "*" || key == segment;
    LISTS.iter().any(|list| list.len() == segments.len() && list.iter().zip(segments).all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(variables: &[(&str, &str)]) -> (Map<String, Value>, Vec<String>) {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let (values, mistakes) = read(&variables);
        (values, mistakes.iter().map(ToString::to_string).collect())
    }

    fn shown(variables: &[(&str, &str)]) -> String {
        let (values, mistakes) = read_all(variables);
        assert_eq!(mistakes, Vec::<String>::new());
        Value::new(None, values).to_string()
    }

    #[test]
    fn names_are_read_without_regard_to_case_but_endpoints_keep_theirs() {
        assert_eq!(
            shown(&[("SLUICE__STORE__URL", "redis://Cache")]),
            "{ store => { url => redis://Cache,  },  }"
        );
        assert_eq!(
            shown(&[("sluice__store__on_failure", "deny")]),
            "{ store => { on_failure => deny,  },  }"
        );
        assert_eq!(
            shown(&[("SLUICE__ENDPOINTS__/api/v1.2/Chat", "20")]),
            "{ endpoints => { /api/v1.2/Chat => 20,  },  }"
        );
    }

    #[test]
    fn other_variables_and_empty_values_say_nothing() {
        assert_eq!(
            shown(&[
                ("SLUICE_PORT", "tcp://10.0.0.1:8000"),
                ("SLUICE__STORE__URL", ""),
                ("PATH", "/bin")
            ]),
            "{  }"
        );
    }

    #[test]
    fn values_in_brackets_and_braces_are_yaml_and_an_ipv6_address_is_not() {
        assert_eq!(
            shown(&[("SLUICE__EXEMPT", "[/a, /B]")]),
            shown(&[("SLUICE__EXEMPT", "['/a', '/B']")])
        );
        assert_eq!(
            shown(&[("SLUICE__ENDPOINTS", "{/Api: 20}")]),
            "{ endpoints => { /Api => 20,  },  }"
        );
        assert_eq!(
            shown(&[("SLUICE__LISTEN__HTTP", "[::]:8000")]),
            "{ listen => { http => [::]:8000,  },  }"
        );
        let (_, mistakes) = read_all(&[("SLUICE__LIMITS", "[{name: a, name: b}]")]);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }

    #[test]
    fn a_variable_with_too_few_underscores_is_warned_of() {
        let names = [
            "SLUICE_STORE_URL",
            "sluice_log__level",
            "SLUICE_STORE_SERVICE_HOST",
            "SLUICE_STORE_PORT_6379_TCP",
            "SLUICE_CONFIG",
            "SLUICE__STORE__URL",
        ];
        let variables: Vec<(OsString, OsString)> =
            names.iter().map(|name| (name.into(), "x".into())).collect();
        let warned: Vec<String> = misspelt(&variables, &["store", "log"])
            .iter()
            .map(|warning| warning.origin.to_string())
            .collect();
        assert_eq!(warned, ["SLUICE_STORE_URL", "sluice_log__level"]);
    }

    #[test]
    fn lists_are_split_at_their_commas_and_other_text_is_not() {
        let (values, _) = read_all(&[
            ("SLUICE__CLIENTS__TRUSTED_PROXIES", "10.0.0.0/8, ::1,"),
            ("SLUICE__LOG__LEVEL", "info,sluice=debug"),
        ]);
        let ValueKind::Table(clients) = &values["clients"].kind else { panic!("a table") };
        let ValueKind::Array(proxies) = &clients["trusted_proxies"].kind else { panic!("a list") };
        assert_eq!(
            proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "::1"]
        );
        assert_eq!(values["log"].to_string(), "{ level => info,sluice=debug,  }");
        assert!(is_list(&["tiers".to_owned(), "pro".to_owned(), "clients".to_owned()]));
    }

    #[test]
    fn a_name_that_lacks_a_key_or_says_the_same_place_twice_is_refused() {
        let (_, mistakes) = read_all(&[
            ("SLUICE__", "x"),
            ("SLUICE__STORE____URL", "x"),
            ("SLUICE__A", "x"),
            ("sluice__a", "y"),
        ]);
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(mistakes[0].starts_with("SLUICE__: a key is missing"), "{mistakes:?}");
        assert_eq!(mistakes[2], "sluice__a: a: already said by SLUICE__A: keep one of them");
    }
}
