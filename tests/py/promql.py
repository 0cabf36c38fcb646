"""Parses PromQL expressions, and prints their selectors and groupings.

stdin: a JSON list of expressions. stdout: for each expression
  {"error": TEXT}                                    the expression cannot be parsed
  {"selectors": [{"metric", "matchers": [[LABEL, OPERATOR, VALUE]]}],
   "groupings": [{"labels": [LABEL], "metrics": [METRIC]}]}     the labels of `by`, and the metrics
"""

import json
import sys

import promql_parser as promql

OPERATORS = [
    (promql.MatchOp.Equal, "="),
    (promql.MatchOp.NotEqual, "!="),
    (promql.MatchOp.Re, "=~"),
    (promql.MatchOp.NotRe, "!~"),
]


def operator_text(operator):
    return next(text for known, text in OPERATORS if known == operator)


def selectors(expr):
    found = []

    def visit(node):
        if isinstance(node, promql.VectorSelector):
            matchers = [[m.name, operator_text(m.op), m.value] for m in node.matchers.matchers]
            found.append({"metric": node.name, "matchers": matchers})

    promql.walk(expr, visit)
    return found


def groupings(expr):
    found = []

    def visit(node):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            metrics = [selector["metric"] for selector in selectors(node.expr)]
            found.append({"labels": node.modifier.labels, "metrics": metrics})
        elif isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            labels = node.modifier.matching.labels + (node.modifier.group_labels or [])
            found.append({"labels": labels, "metrics": [s["metric"] for s in selectors(node)]})

    promql.walk(expr, visit)
    return found


def parse(text):
    try:
        expr = promql.parse(text)
    except ValueError as error:
        return {"error": str(error)}
    return {"selectors": selectors(expr), "groupings": groupings(expr)}


json.dump([parse(text) for text in json.load(sys.stdin)], sys.stdout)
