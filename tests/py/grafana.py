"""Prints the keys of the given dashboards that Grafana's types do not know.

The output is a JSON list of `FILE: PATH`.

Each dashboard is parsed into Grafana's types and serialised again. A key that is lost on the way is
misspelt or in the wrong place.
"""

import json
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

plugins.register_default_plugins()


def unknown(before, after, path):
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            place = f"{path}.{key}"
            if key in after:
                yield from unknown(value, after[key], place)
            else:
                yield place
    elif isinstance(before, list) and isinstance(after, list):
        for index, (left, right) in enumerate(zip(before, after, strict=True)):
            yield from unknown(left, right, f"{path}[{index}]")


def main():
    found = []
    for name in sys.argv[1:]:
        with open(name, encoding="utf-8") as file:
            before = json.load(file)
        after = json.loads(JSONEncoder().encode(Dashboard.from_json(before)))
        found += [f"{name}: {place.lstrip('.')}" for place in unknown(before, after, "")]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
