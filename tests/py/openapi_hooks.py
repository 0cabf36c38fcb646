"""Tells Schemathesis how to serialise request bodies of type NDJSON."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    # Schemathesis also sends values that do not match the schema; they can have any type.
    return value.encode() if isinstance(value, str) else str(value).encode()
