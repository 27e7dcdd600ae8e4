"""The service of outreach.yaml: ``movant service run docs/examples/outreach.py:writer``."""

from typing import Any

from movant import Service

writer = Service("writer", description="Writes about a topic.")


@writer.operation("write")
def write(request: dict[str, Any]) -> dict[str, Any]:
    """Write, and say what it has cost."""
    return {"text": f"About {request['about']}.", "usage": {"tokens": 40, "cost": 0.75}}
