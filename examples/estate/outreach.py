"""An MCP server with one tool, over stdio: messages to phones by SMS, through the gateway."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.request import Request, urlopen

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("reengine-outreach", log_level="CRITICAL")


@server.tool()
def send_imessage(
    contacts: list[dict[str, Any]],
    ctx: Context[Any, Any],
    messageTemplate: str = "Hello {name}",  # noqa: N803 - the name of the parameter
    scheduling: str = "now",
) -> dict[str, Any]:
    """Send a message to owners of homes."""
    key = str(dict(ctx.request_context.meta or {}).get("movant/key") or "")
    body = {"contacts": contacts, "messageTemplate": messageTemplate, "scheduling": scheduling}
    request = Request(  # noqa: S310 - the address is the gateway's
        f"{os.environ['ESTATE_GATEWAY']}/messages/sms",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": key},
    )
    try:
        with urlopen(request, timeout=5) as answer:  # noqa: S310 - as above
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except OSError as error:
        raise ToolError(f"the gateway: {error}") from None


if __name__ == "__main__":
    server.run("stdio")
