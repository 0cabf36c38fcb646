"""A chart, through Helm's own engine and Kubernetes' own schemas.

stdin: {"chart": DIRECTORY, "kube_version": "1.32.0", "cases": [VALUES]}. stdout: for each case
  {"error": TEXT}                       it cannot be rendered
  {"lint": [TEXT],                      the messages of `helm lint --strict`, without information
   "documents": [[TEMPLATE, DOCUMENT]], what is rendered
   "notes": TEXT,
   "valid": [KIND], "unknown": [KIND], "invalid": [TEXT]}   by Kubernetes' schemas, strictly;
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
    said = [f"{message['path']}: {message['error']}" for message in messages]
    return said + report["errors"]


def judged(documents, kube_version):
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
    validity = judged(documents, kube_version)
    return {"lint": messages, "documents": documents, "notes": notes, **validity}


asked = json.load(sys.stdin)
with helm.Chart.load(asked["chart"]) as loaded:
    chart, kube_version = asked["chart"], asked["kube_version"]
    answers = [case(loaded, chart, values, kube_version) for values in asked["cases"]]
json.dump(answers, sys.stdout)
