"""Prints the given YAML files as one JSON list, which has a list of documents for each file.

A key that occurs twice is an error.
"""

import json
import sys

import yaml


class Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in own]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            problem = f"{twice[0]!r} occurs twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def documents(path):
    with open(path, encoding="utf-8") as file:
        return list(yaml.load_all(file, Loader=Strict))


json.dump([documents(path) for path in sys.argv[1:]], sys.stdout)
