"""Validates documents against a JSON Schema.

stdin: {"schema": SCHEMA, "documents": [DOCUMENT]}. stdout: for each document, the list of its
errors.
"""

import json
import sys

import jsonschema

request = json.load(sys.stdin)
jsonschema.Draft7Validator.check_schema(request["schema"])
validator = jsonschema.Draft7Validator(request["schema"])


def text(error):
    return f"{error.json_path}: {error.message}"


found = [[text(error) for error in validator.iter_errors(it)] for it in request["documents"]]
json.dump(found, sys.stdout)
