"""What Schemathesis has to be told of bodies that only Sluice reads."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    # What is made against the schema on purpose may be anything.
    return value.encode() if isinstance(value, str) else str(value).encode()
