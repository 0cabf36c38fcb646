//! Variables that begin with `SLUICE_` and are no settings.
//!
//! One that means a key, as `SLUICE_STORE_URL` does, is a mistake: a replica that ignored it would
//! run with another store than its operator believes. Of any other, one line warns. Left alone are
//! the names that our own programs read, and those that Kubernetes sets in every container for each
//! Service of its namespace: a Service called `sluice-grpc` sets `SLUICE_GRPC_SERVICE_HOST`. A
//! message never shows a value, which may be a secret.

use std::ffi::OsString;

use crate::{error::ErrorLog, keys::Keys, origin::Origin, path::Path, words::most_like};

const PREFIX: &str = "SLUICE_";

/// The names that are read elsewhere.
const OURS: [&str; 31] = [
    // The command line, and the build of the binary.
    "SLUICE_CONFIG",
    "SLUICE_TOKEN",
    "SLUICE_REVISION",
    "SLUICE_CREATED",
    // The Compose file.
    "SLUICE_CLIENT_SECRET",
    "SLUICE_REPLICAS",
    // The example of an application that asks Sluice.
    "SLUICE_URL",
    "SLUICE_TIMEOUT",
    "SLUICE_ON_FAILURE",
    "SLUICE_KEYS_ARE_VERIFIED",
    // Programs that tests run.
    "SLUICE_ALERTMANAGER",
    "SLUICE_AMTOOL",
    "SLUICE_ASGI_PYTHON",
    "SLUICE_CADDY",
    "SLUICE_DEPLOY_PYTHON",
    "SLUICE_DOCKER_COMPOSE",
    "SLUICE_ENVOY",
    "SLUICE_GRAFANA_TSC",
    "SLUICE_HADOLINT",
    "SLUICE_HAPROXY",
    "SLUICE_MODELS_PYTHON",
    "SLUICE_NGINX",
    "SLUICE_PROMETHEUS",
    "SLUICE_PROMTOOL",
    "SLUICE_REDIS_SERVER",
    "SLUICE_ROTEL",
    "SLUICE_SCHEMATHESIS",
    "SLUICE_TOOL",
    "SLUICE_TRAEFIK",
    "SLUICE_XTASK_LEFT_OUT",
    "SLUICE_XTASK_MISSING_TOOLS",
];

/// Returns whether any of `variables` begins as ours do, settings included.
pub(crate) fn has_any_of_ours(variables: &[(OsString, OsString)]) -> bool {
    variables.iter().any(|(name, _)| strip_prefix(&name.to_string_lossy()).is_some())
}

/// Refuses the variables that mean a key of `keys` but are not read, and warns of others that begin
/// as ours do.
pub(crate) fn refuse(
    variables: &[(OsString, OsString)],
    keys: &Keys,
    errors: &ErrorLog,
    warnings: &ErrorLog,
) {
    let mut strays: Vec<(String, String)> = variables
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, value)| {
            // What begins with `SLUICE__` is read as a setting.
            strip_prefix(name).is_some_and(|rest| !rest.starts_with('_'))
                && !OURS.contains(&name.as_str())
                && !is_service_link(name, &value.to_string_lossy())
        })
        .map(|(name, _)| (single_underscores(&name[PREFIX.len()..].to_lowercase()), name))
        .collect();
    // An environment has no order; messages should come in the same order each time.
    strays.sort();
    for (single, name) in strays {
        let origin = || Origin::Variable(name.clone());
        match keys.of_single(&single).or_else(|| with_a_free_name(&single)) {
            Some(meant) => {
                errors.refuse(origin, Path::root, || {
                    format!("is not read: write `{meant}`, with two underscores between keys")
                });
            }
            None => {
                warnings.refuse(origin, Path::root, || {
                    let similar = most_like(&single, keys.singles());
                    match similar.and_then(|similar| keys.of_single(similar)) {
                        Some(similar) => format!("is not read: did you mean `{similar}`?"),
                        None => "is not read: settings begin with `SLUICE__`, as in \
                                 `SLUICE__STORE__URL`"
                            .to_owned(),
                    }
                });
            }
        }
    }
}

/// Returns how a variable below a table with free names is written, if `single` means one.
fn with_a_free_name(single: &str) -> Option<String> {
    let tables =
        [("tiers_", "SLUICE__TIERS__NAME__KEY"), ("endpoints_", "SLUICE__ENDPOINTS__/PATH")];
    let table = tables.into_iter().find(|(start, _)| single.starts_with(start));
    table.map(|(_, meant)| meant.to_owned())
}

fn strip_prefix(name: &str) -> Option<&str> {
    let (start, rest) = name.split_at_checked(PREFIX.len())?;
    start.eq_ignore_ascii_case(PREFIX).then_some(rest)
}

/// Joins keys by single underscores, however many stand between them.
fn single_underscores(name: &str) -> String {
    name.split('_').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_")
}

/// Returns whether Kubernetes sets a variable with this name and value for a Service whose name is
/// `sluice` or begins with `sluice-`.
fn is_service_link(name: &str, value: &str) -> bool {
    let Some((_, link)) = name.split_at_checked(PREFIX.len() - 1) else { return false };
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|start| value.starts_with(start));
    link.ends_with("_SERVICE_HOST")
        || link.ends_with("_SERVICE_PORT")
        || link.contains("_SERVICE_PORT_")
        || (link.ends_with("_PORT") && is_address)
        || names_a_port(link)
}

/// Returns whether `link` ends as in `_PORT_8000_TCP` or `_PORT_8000_TCP_ADDR`.
fn names_a_port(link: &str) -> bool {
    let link =
        ["_PROTO", "_PORT", "_ADDR"].iter().find_map(|end| link.strip_suffix(end)).unwrap_or(link);
    let Some(link) = ["_TCP", "_UDP", "_SCTP"].iter().find_map(|end| link.strip_suffix(end)) else {
        return false;
    };
    link.rsplit_once("_PORT_").is_some_and(|(_, number)| number.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages about these variables: errors, and warnings.
    fn messages(variables: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let variables: Vec<(OsString, OsString)> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let keys = Keys::new(crate::read::keys());
        let (errors, warnings) = (ErrorLog::default(), ErrorLog::default());
        refuse(&variables, &keys, &errors, &warnings);
        let lines = |log: ErrorLog| log.into_errors().lines().collect();
        (lines(errors), lines(warnings))
    }

    #[test]
    fn a_key_with_single_underscores_is_a_mistake() {
        for (name, meant) in [
            ("SLUICE_STORE_URL", "SLUICE__STORE__URL"),
            ("sluice_store_url", "SLUICE__STORE__URL"),
            ("Sluice_Store__Url", "SLUICE__STORE__URL"),
            ("SLUICE_STORE_ON_FAILURE", "SLUICE__STORE__ON_FAILURE"),
            ("SLUICE_SHUTDOWN_DELAY", "SLUICE__SHUTDOWN_DELAY"),
            ("SLUICE_LIMITS", "SLUICE__LIMITS"),
            ("SLUICE_STORE", "SLUICE__STORE"),
            ("SLUICE_RLS_FILES", "SLUICE__RLS__FILES"),
            ("SLUICE_GATEWAY_HEALTH_PATH", "SLUICE__GATEWAY__HEALTH__PATH"),
            ("SLUICE_ADMIN_BASIC_PASSWORD", "SLUICE__ADMIN__BASIC__PASSWORD"),
            ("SLUICE_CLIENTS_SECRET", "SLUICE__CLIENTS__SECRET"),
            ("SLUICE_TIERS_PRO_MULTIPLY", "SLUICE__TIERS__NAME__KEY"),
            ("SLUICE_ENDPOINTS_/api/v1", "SLUICE__ENDPOINTS__/PATH"),
        ] {
            let message =
                format!("{name}: is not read: write `{meant}`, with two underscores between keys");
            assert_eq!(messages(&[(name, "hunter2")]), (vec![message], vec![]));
        }
    }

    #[test]
    fn names_of_kubernetes_and_of_our_own_programs_are_left_alone() {
        let links = [
            ("SLUICE_PORT", "tcp://10.0.0.1:8000"),
            ("SLUICE_SERVICE_HOST", "10.0.0.1"),
            ("SLUICE_SERVICE_PORT", "8000"),
            ("SLUICE_SERVICE_PORT_HTTP", "8000"),
            ("SLUICE_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
            ("SLUICE_PORT_8000_TCP_PROTO", "tcp"),
            ("SLUICE_PORT_8000_TCP_PORT", "8000"),
            ("SLUICE_PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("SLUICE_PORT_53_UDP", "udp://10.0.0.1:53"),
            ("SLUICE_GRPC_SERVICE_HOST", "10.0.0.1"),
            ("SLUICE_GRPC_SERVICE_PORT_GRPC_WEB", "8081"),
            ("SLUICE_GRPC_PORT", "tcp://10.0.0.1:8081"),
            ("SLUICE_STORE_PORT", "tcp://10.0.0.1:6379"),
            ("SLUICE_STORE_PORT_6379_TCP_ADDR", "10.0.0.1"),
            ("SLUICE_CONFIG", "/etc/sluice.yaml"),
            ("SLUICE_REVISION", "abc123"),
            ("SLUICE_REDIS_SERVER", "/usr/bin/redis-server"),
            ("SLUICE__STORE__URL", "memory://"),
            ("SLUICE_STORE_URL", ""),
            ("SLUICER_STORE_URL", "x"),
            ("PATH", "/bin"),
        ];
        assert_eq!(messages(&links), (vec![], vec![]));
    }

    #[test]
    fn any_other_name_is_one_warning() {
        let (errors, warnings) = messages(&[
            ("SLUICE_STORE_URI", "redis://:hunter2@cache"),
            ("SLUICE_PORT", "8000"),
            ("SLUICE_PORT_HTTP_TCP", "x"),
            ("SLUICE_COLOUR", "red"),
        ]);
        assert_eq!(errors, Vec::<String>::new());
        let general = "is not read: settings begin with `SLUICE__`, as in `SLUICE__STORE__URL`";
        let expected = [
            format!("SLUICE_COLOUR: {general}"),
            format!("SLUICE_PORT: {general}"),
            format!("SLUICE_PORT_HTTP_TCP: {general}"),
            "SLUICE_STORE_URI: is not read: did you mean `SLUICE__STORE__URL`?".to_owned(),
        ];
        assert_eq!(warnings, expected);
    }
}
