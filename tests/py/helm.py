"""Renders and lints a chart with Helm, and validates the result against Kubernetes' schemas.

stdin: {"chart": DIRECTORY, "kube_version": "1.32.0", "cases": [VALUES]}. stdout: for each case
  {"error": TEXT}                       the chart cannot be rendered
  {"lint": [TEXT],                      warnings and errors of `helm lint --strict`
   "documents": [[TEMPLATE, DOCUMENT]], the rendered documents
   "notes": TEXT,
   "valid": [KIND], "unknown": [KIND], "invalid": [TEXT]}   the result of the validation;
                                                            unknown kinds have no schema
"""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml

INFORMATIVE = 1


def lint(chart, values, kube_version):
    report = helm.lint(chart, values, strict=True, kube_version=f"v{kube_version}")
    messages = [m for m in report["messages"] if m["severity"] != INFORMATIVE]
    texts = [f"{message['path']}: {message['error']}" for message in messages]
    return texts + report["errors"]


def validate(documents, kube_version):
    valid, unknown, invalid = [], [], []
    for template, document in documents:
        try:
            kubernetes_validate.validate(document, kube_version, strict=True)
            valid.append(document["kind"])
        except kubernetes_validate.SchemaNotFoundError:
            unknown.append(document["kind"])
        except kubernetes_validate.ValidationError as error:
            place = ".".join(str(part) for part in error.path)
            invalid.append(f"{template}: {place}: {error.message}")
    return {"valid": sorted(valid), "unknown": sorted(unknown), "invalid": invalid}


def case(chart, path, values, kube_version):
    try:
        rendered = chart.render(values=values, name="rl", namespace="limits")
    except helm.HelmError as error:
        return {"error": str(error)}
    notes = next((text for name, text in rendered.items() if name.endswith("NOTES.txt")), "")
    documents = []
    for name, text in sorted(rendered.items()):
        if name.endswith(".yaml"):
            file = name.rsplit("/", 1)[1]
            documents += [[file, document] for document in yaml.safe_load_all(text) if document]
    messages = lint(path, values, kube_version)
    validity = validate(documents, kube_version)
    return {"lint": messages, "documents": documents, "notes": notes, **validity}


request = json.load(sys.stdin)
with helm.Chart.load(request["chart"]) as loaded:
    chart, kube_version = request["chart"], request["kube_version"]
    results = [case(loaded, chart, values, kube_version) for values in request["cases"]]
json.dump(results, sys.stdout)
