//! The targets of OTLP, read from the standard variables.

use std::{path::PathBuf, time::Duration};

use super::tls::TlsFiles;
use crate::error::TelemetryError;

/// The targets to which metrics and traces are sent by OTLP. The default has none.
///
/// A signal is sent if `OTEL_EXPORTER_OTLP_ENDPOINT` or its own
/// `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` or `..._TRACES_ENDPOINT` is set, or if
/// `OTEL_METRICS_EXPORTER` or `OTEL_TRACES_EXPORTER` names `otlp`. The latter two switch a signal
/// off if they name only other exporters. `OTEL_SDK_DISABLED=true` switches both signals off.
/// `..._PROTOCOL` is `http/protobuf` (the default) or `grpc`, `..._TIMEOUT` is in milliseconds,
/// `..._CERTIFICATE`, `..._CLIENT_CERTIFICATE` and `..._CLIENT_KEY` name files in PEM format for
/// TLS. Headers, compression, the interval, temporality and the sampler follow their own standard
/// variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp {
    pub(super) metrics: Option<Target>,
    pub(super) traces: Option<Target>,
}

/// The target of one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) transport: Transport,
    pub(super) endpoint: String,
    pub(super) timeout: Duration,
    pub(super) tls: TlsFiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Grpc,
    Http,
}

/// The names that the variables use for one signal.
struct Signal {
    exporter: &'static str,
    own: &'static str,
    path: &'static str,
}

const METRICS: Signal =
    Signal { exporter: "OTEL_METRICS_EXPORTER", own: "METRICS_", path: "/v1/metrics" };
const TRACES: Signal =
    Signal { exporter: "OTEL_TRACES_EXPORTER", own: "TRACES_", path: "/v1/traces" };

// === impl Otlp ===

impl Otlp {
    /// Reads the targets from the environment of the process.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Variable`] if a variable has an invalid value.
    pub fn from_env() -> Result<Self, TelemetryError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Reads the targets from the variables that `get` returns. An empty one counts as not set.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Variable`] if a variable has an invalid value.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, TelemetryError> {
        let get = |name: &str| {
            get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self::default());
        }
        let otlp = Self { metrics: METRICS.target(&get)?, traces: TRACES.target(&get)? };
        if otlp.traces.is_some() {
            check_sampler(&get)?;
        }
        Ok(otlp)
    }

    /// Whether any signal is sent.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.metrics.is_some() || self.traces.is_some()
    }
}

/// Checks the sampler, which the SDK makes. The SDK treats an unknown one as
/// `parentbased_always_on`, and would send every span.
fn check_sampler(get: &impl Fn(&str) -> Option<String>) -> Result<(), TelemetryError> {
    const SAMPLERS: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];
    let invalid = |name: &str, value, expected| {
        Err(TelemetryError::Variable { name: name.to_owned(), value, expected })
    };
    let Some(sampler) = get("OTEL_TRACES_SAMPLER") else { return Ok(()) };
    if !SAMPLERS.contains(&sampler.as_str()) {
        let expected = "`always_on`, `always_off` or `traceidratio`, or one of these after \
                        `parentbased_`";
        return invalid("OTEL_TRACES_SAMPLER", sampler, expected);
    }
    let ratio = get("OTEL_TRACES_SAMPLER_ARG").filter(|_| sampler.ends_with("traceidratio"));
    match ratio {
        Some(ratio) if !ratio.parse().is_ok_and(|ratio: f64| (0.0..=1.0).contains(&ratio)) => {
            invalid("OTEL_TRACES_SAMPLER_ARG", ratio, "a number between 0.0 and 1.0")
        }
        _ => Ok(()),
    }
}

// === impl Target ===

impl Target {
    /// Whether the endpoint is certain not to use TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.endpoint.starts_with("http:")
    }
}

// === impl Signal ===

impl Signal {
    fn target(
        &self,
        get: &impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Target>, TelemetryError> {
        let (_, own_endpoint) = self.variable_names("ENDPOINT");
        let shared_endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let requested = match get(self.exporter) {
            Some(exporters) => exporters.split(',').any(|exporter| exporter.trim() == "otlp"),
            None => get(&own_endpoint).or_else(|| get(shared_endpoint)).is_some(),
        };
        if !requested {
            return Ok(None);
        }
        let transport = self.transport(get)?;
        let endpoint = match (get(&own_endpoint), transport) {
            (Some(endpoint), _) => endpoint,
            (None, Transport::Grpc) => {
                get(shared_endpoint).unwrap_or_else(|| "http://localhost:4317".to_owned())
            }
            (None, Transport::Http) => {
                let base =
                    get(shared_endpoint).unwrap_or_else(|| "http://localhost:4318".to_owned());
                format!("{}{}", base.trim_end_matches('/'), self.path)
            }
        };
        Ok(Some(Target { transport, endpoint, timeout: self.timeout(get)?, tls: self.tls(get)? }))
    }

    fn transport(
        &self,
        get: &impl Fn(&str) -> Option<String>,
    ) -> Result<Transport, TelemetryError> {
        match self.first_set("PROTOCOL", get) {
            None => Ok(Transport::Http),
            Some((_, value)) if value == "http/protobuf" => Ok(Transport::Http),
            Some((_, value)) if value == "grpc" => Ok(Transport::Grpc),
            Some((name, value)) => {
                Err(TelemetryError::Variable { name, value, expected: "`grpc` or `http/protobuf`" })
            }
        }
    }

    fn timeout(&self, get: &impl Fn(&str) -> Option<String>) -> Result<Duration, TelemetryError> {
        let Some((name, value)) = self.first_set("TIMEOUT", get) else {
            return Ok(Duration::from_secs(10));
        };
        match value.parse() {
            Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
            Ok(_) | Err(_) => Err(TelemetryError::Variable {
                name,
                value,
                expected: "a whole number of milliseconds above 0",
            }),
        }
    }

    fn tls(&self, get: &impl Fn(&str) -> Option<String>) -> Result<TlsFiles, TelemetryError> {
        let file = |what| self.first_set(what, get).map(|(_, file)| PathBuf::from(file));
        let client =
            match (self.first_set("CLIENT_CERTIFICATE", get), self.first_set("CLIENT_KEY", get)) {
                (Some((_, certificate)), Some((_, key))) => Some((certificate.into(), key.into())),
                (None, None) => None,
                (Some((name, value)), None) => {
                    return Err(TelemetryError::Variable {
                        name,
                        value,
                        expected: "set together with `..._CLIENT_KEY`",
                    });
                }
                (None, Some((name, value))) => {
                    return Err(TelemetryError::Variable {
                        name,
                        value,
                        expected: "set together with `..._CLIENT_CERTIFICATE`",
                    });
                }
            };
        Ok(TlsFiles { authorities: file("CERTIFICATE"), client })
    }

    /// Returns the name and value of the signal's own variable if it is set, else of the variable
    /// that both signals share.
    fn first_set(
        &self,
        what: &str,
        get: &impl Fn(&str) -> Option<String>,
    ) -> Option<(String, String)> {
        let (shared, own) = self.variable_names(what);
        [own, shared].into_iter().find_map(|name| get(&name).map(|value| (name, value)))
    }

    /// Returns the names of the shared variable and of the signal's own.
    fn variable_names(&self, what: &str) -> (String, String) {
        (format!("OTEL_EXPORTER_OTLP_{what}"), format!("OTEL_EXPORTER_OTLP_{}{what}", self.own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Otlp, TelemetryError> {
        Otlp::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn read_valid(variables: &[(&str, &str)]) -> Otlp {
        read(variables).expect("the variables are valid")
    }

    fn target(transport: Transport, endpoint: &str, timeout_ms: u64) -> Option<Target> {
        Some(Target {
            transport,
            endpoint: endpoint.to_owned(),
            timeout: Duration::from_millis(timeout_ms),
            tls: TlsFiles::default(),
        })
    }

    #[test]
    fn nothing_is_sent_unless_a_variable_requests_it() {
        assert!(!read_valid(&[]).is_on());
        assert!(!read_valid(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).is_on());
        assert!(!read_valid(&[("OTEL_METRICS_EXPORTER", "prometheus")]).is_on());
    }

    #[test]
    fn a_shared_endpoint_gets_both_signals_each_at_its_path() {
        let otlp = read_valid(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")]);
        assert_eq!(
            otlp.metrics,
            target(Transport::Http, "http://collector:4318/v1/metrics", 10_000)
        );
        assert_eq!(otlp.traces, target(Transport::Http, "http://collector:4318/v1/traces", 10_000));
    }

    #[test]
    fn a_grpc_endpoint_gets_no_path() {
        let otlp = read_valid(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ]);
        assert_eq!(otlp.metrics, target(Transport::Grpc, "http://collector:4317", 10_000));
    }

    #[test]
    fn a_signals_own_variables_have_precedence_and_its_endpoint_is_used_unchanged() {
        let otlp = read_valid(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://shared:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:9000/in"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
        ]);
        assert_eq!(otlp.metrics, target(Transport::Grpc, "http://shared:4318", 5_000));
        assert_eq!(otlp.traces, target(Transport::Http, "http://own:9000/in", 250));
    }

    #[test]
    fn a_signals_own_endpoint_enables_only_that_signal() {
        let otlp = read_valid(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://own:9000")]);
        assert!(otlp.metrics.is_some());
        assert_eq!(otlp.traces, None);
    }

    #[test]
    fn the_default_endpoint_is_on_localhost() {
        let otlp = read_valid(&[("OTEL_METRICS_EXPORTER", "prometheus, otlp")]);
        assert_eq!(
            otlp.metrics,
            target(Transport::Http, "http://localhost:4318/v1/metrics", 10_000)
        );
        assert_eq!(otlp.traces, None);
    }

    #[test]
    fn another_exporter_or_none_disables_a_signal() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(read_valid(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).traces, None);
        assert!(!read_valid(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).is_on());
    }

    #[test]
    fn variables_name_the_files_for_tls() {
        let otlp = read_valid(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/authorities.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/etc/own.pem"),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/etc/traces.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/etc/own.key"),
        ]);
        let files = |certificate: &str| TlsFiles {
            authorities: Some("/etc/authorities.pem".into()),
            client: Some((certificate.into(), "/etc/own.key".into())),
        };
        assert_eq!(otlp.metrics.map(|target| target.tls), Some(files("/etc/own.pem")));
        assert_eq!(otlp.traces.map(|target| target.tls), Some(files("/etc/traces.pem")));
    }

    #[test]
    fn an_invalid_variable_is_rejected_with_the_valid_values() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let error = read(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")])
            .expect_err("JSON is not supported");
        assert_eq!(
            error.to_string(),
            "OTEL_EXPORTER_OTLP_PROTOCOL: `http/json` must be `grpc` or `http/protobuf`"
        );
        let error = read(&[endpoint, ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s")])
            .expect_err("the timeout is not a number");
        assert_eq!(
            error.to_string(),
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: `10s` must be a whole number of milliseconds \
             above 0"
        );
        let error = read(&[endpoint, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "own.key")])
            .expect_err("there is no certificate");
        let expected = "OTEL_EXPORTER_OTLP_CLIENT_KEY: `own.key` must be set together with \
                        `..._CLIENT_CERTIFICATE`";
        assert_eq!(error.to_string(), expected);
        let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
        for (variables, expected) in [
            (
                [("OTEL_TRACES_SAMPLER", "sometimes"), endpoint],
                "OTEL_TRACES_SAMPLER: `sometimes` must be `always_on`, ",
            ),
            (
                [("OTEL_TRACES_SAMPLER_ARG", "1 %"), ratio],
                "OTEL_TRACES_SAMPLER_ARG: `1 %` must be a number between 0.0 and 1.0",
            ),
            (
                [("OTEL_TRACES_SAMPLER_ARG", "2"), ratio],
                "OTEL_TRACES_SAMPLER_ARG: `2` must be a number between 0.0 and 1.0",
            ),
        ] {
            let error =
                read(&[&variables[..], &[endpoint]].concat()).expect_err("the sampler is invalid");
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
