//! `deploy/helm/sluice`, rendered and linted by Helm, and validated against Kubernetes' schemas.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};
use sluice_testkit::built_sluice;
use tempfile::TempDir;

use crate::{
    programs::{PROMTOOL, files, python, read, root, succeed, yaml, yaml_document},
    prometheus::rules,
};

const CHART: &str = "deploy/helm/sluice";

/// The result of rendering the chart with some values.
#[derive(Debug)]
pub(crate) struct Rendered(Value);

// === impl Rendered ===

impl Rendered {
    /// The objects of a kind.
    fn all(&self, kind: &str) -> Vec<&Value> {
        let documents = self.0["documents"]
            .as_array()
            .unwrap_or_else(|| panic!("the chart is not rendered: {}", self.0))
            .iter();
        documents.map(|document| &document[1]).filter(|document| document["kind"] == kind).collect()
    }

    /// The only object of a kind.
    pub(crate) fn one(&self, kind: &str) -> &Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{kind}");
        all[0]
    }

    fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    /// The configuration files, by name.
    pub(crate) fn configuration(&self) -> &serde_json::Map<String, Value> {
        let maps = self.all("ConfigMap").into_iter().filter_map(|map| map["data"].as_object());
        maps.into_iter()
            .find(|files| files.contains_key("sluice.yaml"))
            .expect("a ConfigMap has the configuration")
    }

    fn kinds(&self, result: &str) -> Vec<String> {
        list(&self.0[result]).iter().map(|kind| text(kind).to_owned()).collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} should be a string"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn render_for(kube_version: &str, cases: &[Value]) -> Vec<Rendered> {
    let responses = python(
        "helm",
        &[""; 0],
        &json!({ "chart": CHART, "kube_version": kube_version, "cases": cases }),
    );
    let responses: Vec<Value> =
        serde_json::from_value(responses).expect("the script prints a list");
    assert_eq!(responses.len(), cases.len());
    responses.into_iter().map(Rendered).collect()
}

/// Adds the image that every set of values needs, unless the values have their own.
fn with_image(values: &Value) -> Value {
    let mut values = values.clone();
    if values["image"].get("repository").is_none() {
        values["image"]["repository"] = json!("registry.internal/sluice");
    }
    values
}

pub(crate) fn render(cases: &[Value]) -> Vec<Rendered> {
    render_for("1.32.0", cases)
}

/// The sets of values that the chart has for its tests, by name.
fn sets() -> Vec<(String, Value)> {
    let paths = files(&format!("{CHART}/ci"));
    let names = paths
        .iter()
        .map(|path| path.rsplit(['/', '.']).nth(1).expect("they end in .yaml").to_owned());
    names.zip(yaml(&paths).into_iter().map(|mut documents| documents.remove(0))).collect()
}

fn set(name: &str) -> Value {
    sets()
        .into_iter()
        .find(|(known, _)| known == name)
        .unwrap_or_else(|| panic!("there is no {name}"))
        .1
}

/// Returns the path of each value that is not a table, such as `store.url`, and of each table whose
/// keys users choose.
fn leaves(values: &Value, path: &str) -> Vec<(String, Value)> {
    // Tables whose keys users choose.
    let open = [
        "autoscaling.behavior",
        "config",
        "configFiles",
        "dashboards.labels",
        "podSecurityContext",
        "probes.liveness",
        "probes.readiness",
        "probes.startup",
        "resources",
        "securityContext",
        "updateStrategy",
    ];
    match values.as_object() {
        Some(table) if !table.is_empty() && !open.contains(&path) => {
            let child =
                |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            table.iter().flat_map(|(key, value)| leaves(value, &child(key))).collect()
        }
        _ => vec![(path.to_owned(), values.clone())],
    }
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, key| value.get(key))
}

#[test]
fn every_set_of_values_is_rendered_linted_and_valid() {
    let (names, values): (Vec<_>, Vec<_>) = sets().into_iter().unzip();
    let expected: [(&str, &[&str], &[&str]); 5] = [
        (
            "behind-sentinels",
            &[
                "ConfigMap",
                "Deployment",
                "HorizontalPodAutoscaler",
                "NetworkPolicy",
                "PodDisruptionBudget",
                "Service",
                "Service",
                "ServiceAccount",
            ],
            &[],
        ),
        (
            "everything",
            &[
                "ConfigMap",
                "ConfigMap",
                "Deployment",
                "HorizontalPodAutoscaler",
                "Ingress",
                "LimitRange",
                "NetworkPolicy",
                "PodDisruptionBudget",
                "ResourceQuota",
                "Service",
                "Service",
                "Service",
                "ServiceAccount",
            ],
            &["PrometheusRule", "ServiceMonitor"],
        ),
        (
            "minimal",
            &[
                "ConfigMap",
                "Deployment",
                "HorizontalPodAutoscaler",
                "NetworkPolicy",
                "PodDisruptionBudget",
                "Service",
                "Service",
                "ServiceAccount",
            ],
            &[],
        ),
        ("one-in-memory", &["ConfigMap", "Deployment", "Service"], &[]),
        (
            "url-in-a-secret",
            &[
                "ConfigMap",
                "Deployment",
                "NetworkPolicy",
                "PodDisruptionBudget",
                "Service",
                "Service",
                "ServiceAccount",
            ],
            &[],
        ),
    ];
    assert_eq!(names, expected.map(|(name, _, _)| name));
    // The oldest version that the chart supports, and the newest that has a schema here.
    for kube_version in ["1.27.0", "1.37.0"] {
        for (rendered, (name, valid, without_schema)) in
            render_for(kube_version, &values).iter().zip(expected)
        {
            assert_eq!(rendered.kinds("invalid"), [""; 0], "{name}");
            assert_eq!(rendered.kinds("lint"), [""; 0], "{name}");
            assert_eq!(
                (rendered.kinds("valid"), rendered.kinds("unknown")),
                (
                    valid.iter().map(|&kind| kind.to_owned()).collect(),
                    without_schema.iter().map(|&kind| kind.to_owned()).collect()
                ),
                "{name}"
            );
        }
    }
}

#[test]
fn an_unknown_kubernetes_field_is_found() {
    let values = json!({
        "image": { "repository": "r/sluice" },
        "store": { "url": "redis://redis" },
        "affinity": { "nodeAfinity": {} },
        "tolerations": [{ "key": 5 }],
    });
    let rendered = render(&[values]).remove(0);
    let invalid = rendered.kinds("invalid").join("\n");
    // The validator reports one error of an object at a time.
    assert!(invalid.contains("nodeAfinity") || invalid.contains("5 is not of type"), "{invalid}");
}

#[test]
fn every_value_is_used_in_a_test() {
    let defaults = yaml_document(&format!("{CHART}/values.yaml"));
    let sets = sets();
    let leaves = leaves(&defaults, "");
    assert!(leaves.len() > 60, "{}", leaves.len());
    for (path, default) in leaves {
        // A tag has no effect when there is a digest. The key has its usual name.
        if ["image.tag", "store.urlSecret.key"].contains(&path.as_str()) {
            continue;
        }
        let is_tested =
            sets.iter().filter_map(|(_, values)| at(values, &path)).any(|value| *value != default);
        assert!(is_tested, "no set in {CHART}/ci changes {path} from its default");
    }
}

#[test]
fn every_value_is_in_the_schema_and_in_the_readme() {
    let defaults = yaml_document(&format!("{CHART}/values.yaml"));
    let schema: Value =
        serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))).unwrap();
    let readme = read(&format!("{CHART}/README.md"));
    for (path, _) in leaves(&defaults, "") {
        let in_schema =
            path.split('.').try_fold(&schema, |schema, key| schema["properties"].get(key));
        assert!(in_schema.is_some(), "{path} is not in values.schema.json");
        assert!(readme.contains(&format!("`{path}`")), "{path} is not in README.md");
    }
}

#[test]
fn invalid_values_are_rejected_with_a_reason() {
    let url = "redis://redis";
    let cases = [
        (json!({}), "store.url: no store is set"),
        (
            json!({ "store": { "url": url, "urlSecret": { "name": "redis" } } }),
            "store.url and store.urlSecret.name are both set",
        ),
        (
            json!({ "store": { "url": "memory://" } }),
            "each replica would grant every client the whole limit",
        ),
        (
            json!({ "store": { "url": "memory://" }, "autoscaling": { "enabled": false } }),
            "each replica would grant every client the whole limit",
        ),
        (
            json!({
                "store": { "url": url },
                "autoscaling": { "minReplicas": 9, "maxReplicas": 3 },
            }),
            "minReplicas is above",
        ),
        (json!({ "store": { "url": "http://redis" } }), "/store/url"),
        (json!({ "store": { "url": "redis+servers://a,b" } }), "/store/url"),
        (
            json!({ "store": { "url": url, "sentinel": { "passwordSecret": { "name": "s" } } } }),
            "store.url has no Sentinels",
        ),
        (
            json!({ "store": { "url": url, "clientCertificateSecret": "redis-client" } }),
            "only TLS has certificates",
        ),
        (
            json!({ "store": { "url": url }, "image": { "repository": "" } }),
            "docker push REGISTRY/sluice",
        ),
        (
            json!({
                "store": { "url": url },
                "service": { "grpc": { "type": "LoadBalancer", "headless": true } },
            }),
            "a Service of type LoadBalancer cannot be headless",
        ),
        (
            json!({ "store": { "url": url }, "podDisruptionBudget": { "minAvailable": 1 } }),
            "set one of maxUnavailable and minAvailable",
        ),
        (json!({ "store": { "url": url }, "ingress": { "enabled": true } }), "ingress.hosts"),
        (json!({ "store": { "url": url }, "listen": { "address": "::" } }), "/listen/address"),
        (json!({ "store": { "url": url, "timeout": "25" } }), "/store/timeout"),
        (json!({ "store": { "url": url }, "replicas": 3 }), "'replicas' not allowed"),
        (
            json!({ "store": { "url": url }, "service": { "grpc": { "ports": 1 } } }),
            "'ports' not allowed",
        ),
        (
            json!({ "store": { "url": url }, "config": { "listen": { "http": "0.0.0.0:80" } } }),
            "/config/listen",
        ),
        (
            json!({ "store": { "url": url }, "config": { "store": { "url": url } } }),
            "'url' not allowed",
        ),
        (
            json!({ "store": { "url": url }, "configFiles": { "a/b": "" } }),
            "invalid propertyName 'a/b'",
        ),
        (json!({ "store": { "url": url }, "admin": { "port": 8000 } }), "/admin/port"),
        (
            json!({
                "store": { "url": url },
                "config": { "defaults": { "requests_per_minut": 60 } },
            }),
            "requests_per_minut",
        ),
        (
            json!({
                "store": { "url": url },
                "config": { "limits": [{ "name": "a", "rate": "1/day", "burst": -1 }] },
            }),
            "/config/limits/0/burst",
        ),
        (
            json!({ "store": { "url": url }, "config": { "gateway": { "protocol": "http3" } } }),
            "/config/gateway",
        ),
        (
            json!({ "store": { "url": url }, "config": { "endpoint": { "/a": 20 } } }),
            "'endpoint' not allowed",
        ),
        (json!({ "store": { "url": url }, "image": { "digest": "sha256:1" } }), "/image/digest"),
    ];
    let values: Vec<Value> = cases.iter().map(|(values, _)| with_image(values)).collect();
    for (rendered, (values, reason)) in render(&values).iter().zip(&cases) {
        let error =
            rendered.0["error"].as_str().unwrap_or_else(|| panic!("{values} is not rejected"));
        assert!(error.contains(reason), "{values}: {error}");
    }
}

#[test]
fn a_replica_has_only_the_privileges_it_needs() {
    for rendered in render(&[set("minimal"), set("everything")]) {
        let (pod, container) = (rendered.pod(), rendered.container());
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        for (key, value) in [
            ("allowPrivilegeEscalation", json!(false)),
            ("readOnlyRootFilesystem", json!(true)),
            ("capabilities", json!({ "drop": ["ALL"] })),
        ] {
            assert_eq!(container["securityContext"][key], value);
        }
        assert!(
            list(&container["volumeMounts"]).iter().all(|mount| mount["readOnly"] == true),
            "{container}"
        );
    }
    // OpenShift chooses users by itself, and rejects pods that name one.
    let context = |name: &str| render(&[set(name)])[0].pod()["securityContext"].clone();
    assert_eq!(context("minimal")["runAsUser"], 65532);
    let context = context("everything");
    assert_eq!(context["supplementalGroups"], json!([2000]));
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert!(context.get(key).is_none(), "{context}");
    }
    // The image has the same user.
    assert!(read("deploy/Dockerfile").contains("\nUSER 65532:65532\n"));
}

#[test]
fn what_needs_a_restart_replaces_the_replicas() {
    let annotation = |config: Value| {
        let store = json!({ "url": "redis://redis" });
        let image = json!({ "repository": "sluice" });
        let values = json!({ "config": config, "store": store, "image": image });
        let rendered = render(&[values]).remove(0);
        let metadata = &rendered.one("Deployment")["spec"]["template"]["metadata"];
        text(&metadata["annotations"]["checksum/needs-restart"]).to_owned()
    };
    let upstream = |url: &str| json!({ "gateway": { "upstream": url } });
    let first = annotation(upstream("http://a"));
    assert_ne!(first, annotation(upstream("http://b")));
    let limits = json!({ "gateway": { "upstream": "http://a" }, "endpoints": { "/a": 5 } });
    assert_eq!(first, annotation(limits), "limits become active without a restart");
}

#[test]
fn a_replica_has_probes_and_time_to_stop() {
    let expected = [(5 + 25 + 5, None), (10 + 60 + 5, Some("HTTPS"))];
    for (rendered, (grace, scheme)) in
        render(&[set("minimal"), set("everything")]).iter().zip(expected)
    {
        let container = rendered.container();
        let mut request = json!({ "path": "/ready", "port": "http" });
        if let Some(scheme) = scheme {
            request["scheme"] = json!(scheme);
        }
        assert_eq!(container["readinessProbe"]["httpGet"], request);
        assert_eq!(rendered.pod()["terminationGracePeriodSeconds"], grace);
        let ports: Vec<_> = list(&container["ports"])
            .iter()
            .map(|port| (text(&port["name"]), &port["containerPort"]))
            .collect();
        assert_eq!(ports[..2], [("http", &json!(8000)), ("grpc", &json!(8081))]);
    }
    let [minimal, everything] =
        <[Rendered; 2]>::try_from(render(&[set("minimal"), set("everything")])).unwrap();
    for probe in ["startupProbe", "livenessProbe"] {
        let request = &minimal.container()[probe]["httpGet"];
        assert_eq!(*request, json!({ "path": "/health", "port": "http" }));
    }
    let container = everything.container();
    assert!(container.get("startupProbe").is_none(), "{container}");
    assert_eq!(container["livenessProbe"]["tcpSocket"], json!({ "port": "http" }));
    assert!(container["livenessProbe"].get("httpGet").is_none(), "{container}");
    assert_eq!(container["readinessProbe"]["periodSeconds"], 2);
}

#[test]
fn replicas_are_spread_over_nodes_and_have_a_disruption_budget() {
    let rendered = render(&[set("minimal")]).remove(0);
    let keys: Vec<_> = list(&rendered.pod()["topologySpreadConstraints"])
        .iter()
        .map(|constraint| text(&constraint["topologyKey"]))
        .collect();
    assert_eq!(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]);
    assert_eq!(
        rendered.one("Deployment")["spec"]["strategy"]["rollingUpdate"],
        json!({ "maxUnavailable": 0, "maxSurge": 1 })
    );
    // An upgrade must not reset the number that the autoscaler chose.
    assert!(rendered.one("Deployment")["spec"].get("replicas").is_none());
    let scaler = rendered.one("HorizontalPodAutoscaler");
    assert_eq!(
        (&scaler["spec"]["minReplicas"], &scaler["spec"]["maxReplicas"]),
        (&json!(3), &json!(12))
    );
    assert_eq!(
        scaler["spec"]["scaleTargetRef"]["name"],
        rendered.one("Deployment")["metadata"]["name"]
    );
    assert_eq!(render(&[set("url-in-a-secret")])[0].one("Deployment")["spec"]["replicas"], 5);
}

#[test]
fn limits_change_without_a_restart_and_other_settings_with_one() {
    let mut limits = set("minimal");
    limits["config"] = json!({ "defaults": { "requests_per_minute": 7, "burst_size": 1 } });
    let mut store = set("minimal");
    store["store"]["url"] = json!("redis://elsewhere:6379");
    let [before, limits, store] =
        <[Rendered; 3]>::try_from(render(&[set("minimal"), limits, store])).unwrap();
    assert_ne!(before.configuration(), limits.configuration());
    assert_eq!(before.one("Deployment"), limits.one("Deployment"));
    assert_ne!(before.one("Deployment"), store.one("Deployment"));

    let mounts = list(&before.container()["volumeMounts"]);
    let mount = mounts.iter().find(|mount| mount["name"] == "config").unwrap();
    assert_eq!((&mount["mountPath"], mount.get("subPath")), (&json!("/etc/sluice"), None));
    assert_eq!(before.container()["args"], json!(["serve", "--config", "/etc/sluice/sluice.yaml"]));
}

/// Checks that an environment variable is the path of a file in a Secret, which is mounted as a
/// directory, since a file that is mounted by subPath never changes.
#[track_caller]
fn assert_mounted(rendered: &Rendered, (name, path, secret): (&str, &str, &str)) {
    let by = |list: &'_ Value, key: &str, value: &str| {
        let found = list.as_array().and_then(|all| all.iter().find(|one| one[key] == value));
        found.unwrap_or_else(|| panic!("no {key} is {value} in {list}")).clone()
    };
    assert_eq!(by(&rendered.container()["env"], "name", name)["value"], path);
    let directory = path.rsplit_once('/').expect("a file is in a directory").0;
    let mount = by(&rendered.container()["volumeMounts"], "mountPath", directory);
    assert!(mount.get("subPath").is_none());
    let volume = by(&rendered.pod()["volumes"], "name", text(&mount["name"]));
    assert_eq!(volume["secret"]["secretName"], secret);
}

#[test]
fn secrets_are_mounted_as_files() {
    let [everything, sentinels] =
        <[Rendered; 2]>::try_from(render(&[set("everything"), set("behind-sentinels")])).unwrap();
    for mounted in [
        ("SLUICE__STORE__PASSWORD_FILE", "/run/secrets/store/secret", "redis"),
        ("SLUICE__STORE__CA_FILE", "/run/secrets/store-ca/ca.pem", "redis-ca"),
        ("SLUICE__CLIENTS__SECRET_FILE", "/run/secrets/clients/hash", "sluice-clients"),
        ("SLUICE__ADMIN__BEARER__TOKEN_FILE", "/run/secrets/admin/reader", "metrics"),
        ("SLUICE__STORE__CLIENT_CERTIFICATE", "/run/secrets/store-client/tls.crt", "gate-redis"),
        ("SLUICE__STORE__CLIENT_KEY", "/run/secrets/store-client/tls.key", "gate-redis"),
    ] {
        assert_mounted(&everything, mounted);
    }
    for mounted in [
        ("SLUICE__STORE__PASSWORD_FILE", "/run/secrets/store/password", "redis"),
        ("SLUICE__STORE__CA_FILE", "/run/secrets/store-ca/ca.crt", "redis-ca"),
        ("SLUICE__STORE__SENTINEL__PASSWORD_FILE", "/run/secrets/sentinel/finder", "sentinels"),
        ("SLUICE__STORE__SENTINEL__CA_FILE", "/run/secrets/sentinel-ca/ca.pem", "sentinels-ca"),
    ] {
        assert_mounted(&sentinels, mounted);
    }
    let rendered = render(&[set("url-in-a-secret")]).remove(0);
    let url = list(&rendered.container()["env"])
        .iter()
        .find(|variable| variable["name"] == "SLUICE__STORE__URL")
        .unwrap();
    assert_eq!(
        *url,
        json!({
            "name": "SLUICE__STORE__URL",
            "valueFrom": { "secretKeyRef": { "name": "redis", "key": "url" } },
        })
    );
}

/// Sluice reads the rendered `ConfigMap` and environment variables. Paths in `/run` are moved into
/// a temporary directory.
#[test]
fn sluice_accepts_its_file_and_its_settings() {
    for (name, values) in sets() {
        let rendered = render(&[values]).remove(0);
        let directory = TempDir::new().unwrap();
        let run = |text: &str| text.replace("/run/", &format!("{}/", directory.path().display()));
        for (name, content) in rendered.configuration() {
            fs::write(directory.path().join(name), run(text(content))).unwrap();
        }
        let file = directory.path().join("sluice.yaml");
        let mut sluice = Command::new(built_sluice());
        sluice.args(["config", "show", "--config"]).arg(&file).env_clear();
        for variable in list(&rendered.container()["env"]) {
            let value = variable.get("value").map_or("redis://redis", text);
            let name = text(&variable["name"]);
            let is_of_tls =
                ["_CERTIFICATE", "_KEY", "__CLIENT_CA"].iter().any(|end| name.ends_with(end));
            if is_of_tls || name.ends_with("_FILE") {
                let path = run(value);
                fs::create_dir_all(path.rsplit_once('/').unwrap().0).unwrap();
                let content =
                    if name.contains("TOKENS") { "secrets/tokens" } else { "secrets/ca.pem" };
                fs::copy(root().join("crates/config/tests/config/good").join(content), path)
                    .unwrap();
            }
            sluice.env(text(&variable["name"]), run(value));
        }
        // What `extraVolumes` would mount.
        fs::create_dir_all(directory.path().join("tiers")).unwrap();
        fs::write(directory.path().join("tiers/pro"), "alice\n").unwrap();
        let output = sluice.output().expect("sluice runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            output.stderr.is_empty()
                || !String::from_utf8_lossy(&output.stderr).contains("unknown"),
            "{name}: {output:?}"
        );
    }
}

#[test]
fn selectors_match_the_replicas_and_nothing_else() {
    let rendered = render(&[set("everything")]).remove(0);
    let labels = &rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"];
    let selectors = [
        &rendered.one("Deployment")["spec"]["selector"]["matchLabels"],
        &rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ];
    let services = rendered.all("Service");
    for selector in
        selectors.into_iter().chain(services.iter().map(|service| &service["spec"]["selector"]))
    {
        assert_eq!(
            *selector,
            json!({ "app.kubernetes.io/name": "limiter", "app.kubernetes.io/instance": "rl" })
        );
        assert!(selector.as_object().unwrap().iter().all(|(key, value)| labels[key] == *value));
    }
}

#[test]
fn each_replica_is_scraped_once_with_the_token() {
    let mut on_the_http_port = set("everything");
    on_the_http_port["admin"] = json!({});
    for (rendered, port, shown) in [
        (
            render(&[set("everything")]).remove(0),
            "admin",
            Some(json!({ "credentials": { "name": "metrics", "key": "reader" } })),
        ),
        (render(&[on_the_http_port]).remove(0), "http", None),
    ] {
        let monitor = &rendered.one("ServiceMonitor")["spec"];
        let wanted = monitor["selector"]["matchLabels"].as_object().unwrap();
        let chosen = |service: &&Value| {
            wanted.iter().all(|(key, value)| service["metadata"]["labels"][key] == *value)
        };
        let chosen: Vec<&Value> = rendered.all("Service").into_iter().filter(chosen).collect();
        assert_eq!(chosen.len(), 1, "{chosen:?}");
        let endpoint = &monitor["endpoints"][0];
        assert_eq!(
            (&chosen[0]["spec"]["ports"][0]["name"], &endpoint["port"]),
            (&json!(port), &json!(port))
        );
        assert_eq!(endpoint.get("authorization"), shown.as_ref());
        // The container has this port, and the network policy allows it.
        assert!(list(&rendered.container()["ports"]).iter().any(|known| known["name"] == port));
        let ingress = list(&rendered.one("NetworkPolicy")["spec"]["ingress"]);
        assert!(
            ingress.iter().any(|rule| list(&rule["ports"]).iter().any(|open| open["port"] == port))
        );
    }
}

#[test]
fn the_admin_port_is_not_exposed() {
    let rendered = render(&[set("everything")]).remove(0);
    let admin = rendered
        .all("Service")
        .into_iter()
        .find(|service| service["metadata"]["name"] == "gate-admin")
        .unwrap();
    assert_eq!(
        (&admin["spec"]["type"], &admin["spec"]["ports"][0]["port"]),
        (&json!("ClusterIP"), &json!(9000))
    );
    let listen = list(&rendered.container()["env"])
        .iter()
        .find(|variable| variable["name"] == "SLUICE__ADMIN__LISTEN")
        .unwrap();
    assert_eq!(listen["value"], "[::]:9000");
    let ingress = list(&rendered.one("NetworkPolicy")["spec"]["ingress"]);
    let rule = ingress.iter().find(|rule| rule["ports"][0]["port"] == "admin").unwrap();
    assert_eq!(rule["from"][0]["namespaceSelector"]["matchLabels"]["team"], "watchers");
}

#[test]
fn the_network_policy_allows_what_the_values_name() {
    let egress = |values: Value| {
        let rendered = render(&[with_image(&values)]).remove(0);
        list(&rendered.one("NetworkPolicy")["spec"]["egress"])
            .iter()
            .map(|rule| list(&rule["ports"]).iter().map(|port| port["port"].clone()).collect())
            .collect::<Vec<Vec<Value>>>()
    };
    let dns_and_store = [vec![json!(53), json!(53)], vec![json!(6379)]];
    let with = |more: &[u16]| {
        let more = more.iter().map(|port| json!(port)).collect::<Vec<_>>();
        [dns_and_store.as_slice(), &[more]].concat()
    };
    let upstream = |upstream: Value| {
        json!({
            "store": { "url": "redis://redis" },
            "config": { "gateway": { "upstream": upstream } },
        })
    };
    assert_eq!(egress(upstream(json!("http://api:9000/base"))), with(&[9000]));
    assert_eq!(egress(upstream(json!("https://api.example.com"))), with(&[443]));
    assert_eq!(egress(upstream(json!("http://[fd00::1]:7000"))), with(&[7000]));
    let several = json!(["http://a:9000", "http://b:9000", "https://c", "http://d"]);
    assert_eq!(egress(upstream(several)), with(&[9000, 443, 80]));
    let collector =
        |entry: Value| json!({ "store": { "url": "redis://redis" }, "extraEnv": [entry] });
    let named = |name: &str, value: &str| collector(json!({ "name": name, "value": value }));
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    assert_eq!(egress(named(endpoint, "http://otel:4317")), with(&[4317]));
    let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    assert_eq!(egress(named(traces, "https://otel.example.com/v1/traces")), with(&[443]));
    let node = json!({ "name": "OTEL_EXPORTER_OTLP_ENDPOINT", "valueFrom": { "fieldRef": {} } });
    assert_eq!(egress(collector(node)), with(&[4317, 4318]));
    assert_eq!(egress(named("OTEL_SERVICE_NAME", "limits")), dns_and_store);
}

#[test]
fn services_have_the_type_that_is_asked_for() {
    let grpc = |values: &Value| {
        let mut values = values.clone();
        values["store"] = json!({ "url": "redis://redis" });
        let rendered = render(&[with_image(&values)]).remove(0);
        let services = rendered.all("Service");
        let service = services
            .iter()
            .find(|service| service["metadata"]["labels"]["app.kubernetes.io/component"] == "grpc");
        service.unwrap()["spec"].clone()
    };
    assert_eq!(grpc(&json!({}))["clusterIP"], "None");
    for kind in ["LoadBalancer", "NodePort"] {
        let spec = grpc(&json!({ "service": { "grpc": { "type": kind } } }));
        assert_eq!((&spec["type"], spec.get("clusterIP")), (&json!(kind), None));
    }
    let spec = grpc(&json!({ "service": { "grpc": { "headless": false } } }));
    assert_eq!((&spec["type"], spec.get("clusterIP")), (&json!("ClusterIP"), None));
}

#[test]
fn containers_listen_where_they_are_told_to() {
    for (name, address) in [("minimal", "0.0.0.0"), ("everything", "[::]")] {
        let rendered = render(&[set(name)]).remove(0);
        let listens: Vec<_> = list(&rendered.container()["env"])
            .iter()
            .filter(|variable| {
                let name = text(&variable["name"]);
                name.contains("LISTEN")
                    && name != "SLUICE__LISTEN__ANY_PATH"
                    && !name.contains("TLS")
            })
            .map(|variable| text(&variable["value"]).rsplit_once(':').unwrap().0.to_owned())
            .collect();
        assert!(listens.len() >= 2);
        assert!(listens.iter().all(|listen| listen == address), "{listens:?}");
    }
}

#[test]
fn replicas_know_how_many_they_should_be() {
    for (name, least) in [("minimal", "3"), ("everything", "4"), ("url-in-a-secret", "5")] {
        let rendered = render(&[set(name)]).remove(0);
        let environment = list(&rendered.container()["env"]);
        let expected = environment
            .iter()
            .find(|variable| variable["name"] == "SLUICE__STORE__EXPECTED_REPLICAS");
        assert_eq!(expected.unwrap()["value"], least, "{name}");
    }
}

/// Flux and other tools drop links, and what they point to, from a chart.
#[test]
fn a_chart_without_its_files_is_not_rendered() {
    let whole = TempDir::new().unwrap();
    let copy = whole.path().join("sluice");
    let copied = Command::new("cp").arg("-r").arg(root().join(CHART)).arg(&copy).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(copy.join("files")).unwrap();
    let values = |object: &str| {
        let mut values = set("minimal");
        values[object] = json!({ "enabled": true });
        values
    };
    let cases = [values("prometheusRule"), values("dashboards")];
    let request = json!({ "chart": copy, "kube_version": "1.32.0", "cases": cases });
    let responses = python("helm", &[""; 0], &request);
    for (response, directory) in list(&responses).iter().zip(["files/rules", "files/dashboards"]) {
        let error = text(&response["error"]);
        assert!(error.contains(&format!("{directory} is missing")), "{error}");
    }
}

#[test]
fn the_network_policy_allows_the_store() {
    let url = |url: &str| with_image(&json!({ "store": { "url": url } }));
    let cases = [
        (url("redis://redis"), vec![6379]),
        (url("redis://redis:6400/2"), vec![6400]),
        (url("rediss://user:pass%40word@redis.internal:6380/0"), vec![6380]),
        (url("redis+cluster://:p@n1:7000,n2:7001,n3"), vec![7000, 7001, 6379]),
        (url("rediss+sentinel://s1,s2,s3:26380/main"), vec![6379, 26_379, 26_380]),
        (set("url-in-a-secret"), vec![6390, 6391]),
        (with_image(&json!({ "store": { "urlSecret": { "name": "redis" } } })), vec![6379]),
    ];
    let values: Vec<Value> = cases.iter().map(|(values, _)| values.clone()).collect();
    for (rendered, (values, ports)) in render(&values).iter().zip(&cases) {
        let store = &rendered.one("NetworkPolicy")["spec"]["egress"][1];
        let found: Vec<_> = list(&store["ports"])
            .iter()
            .map(|port| port["port"].as_u64().unwrap_or_default())
            .collect();
        assert_eq!(found, *ports, "{values}");
    }
    let everything = render(&[set("everything")]).remove(0);
    let spec = &everything.one("NetworkPolicy")["spec"];
    assert_eq!(spec["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"]["team"], "api");
    assert_eq!(
        spec["egress"][1],
        json!({
            "ports": [{ "port": 6380, "protocol": "TCP" }],
            "to": [{ "ipBlock": { "cidr": "10.1.0.0/16" } }],
        })
    );
    let ports: Vec<_> = list(&spec["egress"])
        .iter()
        .map(|rule| {
            (&rule["ports"][0]["port"], &rule["to"][0]["podSelector"]["matchLabels"]["app"])
        })
        .collect();
    assert_eq!(
        ports[2..],
        [
            (&json!(8443), &json!("api")),
            (&json!(4319), &json!("collector")),
            (&json!(5000), &Value::Null)
        ]
    );
}

#[test]
fn the_rules_are_those_of_the_prometheus_directory() {
    let mut fewer = set("everything");
    fewer["prometheusRule"]["runbookBase"] = json!("");
    let mut all = fewer.clone();
    all["prometheusRule"]["without"] = json!([]);
    let [fewer, all] = <[Rendered; 2]>::try_from(render(&[fewer, all])).unwrap();
    let rules_of = |rendered: &Rendered| {
        list(&rendered.one("PrometheusRule")["spec"]["groups"])
            .iter()
            .flat_map(|group| list(&group["rules"]).to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(rules_of(&all), rules());
    let names = |rules: Vec<Value>| rules.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let left_out: Vec<Value> = rules()
        .into_iter()
        .filter(|rule| !names(rules_of(&fewer)).contains(&rule.to_string()))
        .collect();
    assert_eq!(
        left_out.iter().map(|rule| text(&rule["alert"])).collect::<Vec<_>>(),
        ["DeploymentBacklog", "SluiceLabelsFolded"]
    );

    let directory = TempDir::new().unwrap();
    let path = directory.path().join("rules.json");
    fs::write(&path, all.one("PrometheusRule")["spec"].to_string()).unwrap();
    let output = succeed(&PROMTOOL, &["check", "rules", path.to_str().unwrap()]);
    assert!(output.contains(&format!("SUCCESS: {} rules found", rules().len())), "{output}");
}

#[test]
fn the_runbooks_of_alerts_are_where_the_values_say() {
    let rendered = render(&[set("everything")]).remove(0);
    let groups = list(&rendered.one("PrometheusRule")["spec"]["groups"]);
    let rules = groups.iter().flat_map(|group| list(&group["rules"]));
    let alerts: Vec<_> = rules.filter(|rule| rule["alert"].is_string()).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let page = format!("docs/runbooks/{}.md", text(&alert["alert"]));
        assert_eq!(
            alert["annotations"]["runbook_url"],
            format!("https://git.internal/sluice/blob/main/{page}")
        );
    }
}

#[test]
fn the_dashboards_are_those_of_the_grafana_directory() {
    let rendered = render(&[set("everything")]).remove(0);
    let map = rendered
        .all("ConfigMap")
        .into_iter()
        .find(|map| map["metadata"]["name"] == "gate-dashboards")
        .unwrap();
    assert_eq!(
        (&map["metadata"]["labels"]["grafana"], &map["metadata"]["annotations"]["grafana_folder"]),
        (&json!("yes"), &json!("Limits"))
    );
    let data = map["data"].as_object().unwrap();
    let paths = files("deploy/grafana/dashboards");
    assert_eq!(data.len(), paths.len());
    for path in paths {
        assert_eq!(text(&data[path.rsplit_once('/').unwrap().1]), read(&path), "{path}");
    }
}

#[test]
fn the_notes_explain_the_next_steps() {
    let [minimal, memory, everything] = <[Rendered; 3]>::try_from(render(&[
        set("minimal"),
        set("one-in-memory"),
        set("everything"),
    ]))
    .unwrap();
    let notes = |rendered: &Rendered| text(&rendered.0["notes"]).to_owned();
    assert!(
        notes(&minimal).contains("http://rl-sluice.limits.svc:8000")
            && notes(&minimal).contains("without clients.secret"),
        "{}",
        notes(&minimal)
    );
    assert!(
        notes(&memory).contains("buckets are kept in memory") && !notes(&memory).contains("gRPC"),
        "{}",
        notes(&memory)
    );
    assert!(!notes(&everything).contains("Note:"), "{}", notes(&everything));
}

#[test]
fn the_chart_has_the_workspaces_version() {
    let chart = yaml_document(&format!("{CHART}/Chart.yaml"));
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(env!("CARGO_PKG_VERSION")))
    );
}
