"""What schemathesis has to be told for this API (scripts/check-openapi sets SCHEMATHESIS_HOOKS to this file)."""

import schemathesis


@schemathesis.serializer("application/x-protobuf")
def protobuf(ctx, value):
    """Bytes as they were generated: noise, which has to be refused as declared."""
    data = value if isinstance(value, bytes) else getattr(value, "data", None)
    return data if isinstance(data, bytes) else str(value).encode()
