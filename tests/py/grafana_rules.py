"""Prints the keys of Grafana's alert rules in the given YAML files that Grafana does not know.

The output is a JSON list of `FILE: PATH`.

A rule and its queries are parsed into Grafana's types of the API and serialised again, as
`grafana.py` does. The keys that files have and the API does not are those of the documentation of
"file provisioning".
"""

import json
import sys

import yaml
from grafana import unknown
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import expr, prometheus
from grafana_foundation_sdk.models.alerting import Rule

FILE = {"apiVersion", "groups", "deleteRules"}
GROUP = {"orgId", "name", "folder", "interval", "rules"}
RULE_IN_FILES = {"dashboardUid", "panelId", "keepFiringFor", "notification_settings", "record"}
NOTIFICATION = {
    "receiver",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat_interval",
    "mute_time_intervals",
    "active_time_intervals",
}
EXPRESSIONS = {"reduce": expr.TypeReduce, "threshold": expr.TypeThreshold, "math": expr.TypeMath}


def in_types(value, kind):
    return json.loads(JSONEncoder().encode(kind.from_json(value)))


def without_model(query):
    return {key: value for key, value in query.items() if key != "model"}


def of_query(query, path):
    if query["datasourceUid"] == "__expr__":
        kind = EXPRESSIONS.get(query["model"].get("type"))
    else:
        kind = prometheus.Dataquery
    if kind is None:
        yield f"{path}.model.type"
    else:
        yield from unknown(query["model"], in_types(query["model"], kind), f"{path}.model")


def of_rule(rule, path):
    own = {key: value for key, value in rule.items() if key not in RULE_IN_FILES}
    # Their models are checked by their own types.
    before = own | {"data": [without_model(query) for query in own["data"]]}
    yield from unknown(before, in_types(before, Rule), path)
    settings = rule.get("notification_settings", {})
    yield from (f"{path}.notification_settings.{key}" for key in settings.keys() - NOTIFICATION)
    for index, query in enumerate(rule["data"]):
        yield from of_query(query, f"{path}.data[{index}]")


def of_file(content):
    yield from sorted(content.keys() - FILE)
    for index, group in enumerate(content["groups"]):
        path = f"groups[{index}]"
        yield from (f"{path}.{key}" for key in sorted(group.keys() - GROUP))
        for number, rule in enumerate(group["rules"]):
            yield from of_rule(rule, f"{path}.rules[{number}]")


found = []
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        found += [f"{name}: {place}" for place in of_file(yaml.safe_load(file))]
json.dump(found, sys.stdout)
