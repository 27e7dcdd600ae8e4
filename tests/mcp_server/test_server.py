"""The MCP server as a process, asked by the client of the protocol's own library."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import jsonschema
import mcp
import pytest
from mcp.client.stdio import StdioServerParameters

from protocols.errors import RefusedError
from runtime.mcp_server.tools import TOOLS, Desk, schema
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

SEED: Final = (
    "start_enhanced_workflow",
    "get_enhanced_workflow_status",
    "handle_enhanced_approval",
    "get_enhanced_pending_approvals",
    "get_workflow_templates",
)
TEMPLATE: Final = """\
template: letters
description: Somebody allows a letter.
parameters: {who: {type: string, default: ann}}
name: letter
input: {to: string, approval_mode: {type: string, optional: true}}
steps:
  plan: {set: {to: "{{input.to}}"}}
  send:
    set: {sent: "{{input.to}}"}
    needs: plan
    approval_required: {approvers: "{{template.who}}"}
outputs: {sent: "{{steps.send.result.sent}}"}
"""


def test_every_tool_says_what_it_takes() -> None:
    """As a JSON Schema of its own, that refuses what is not known."""
    for tool in TOOLS.values():
        found = schema(tool)
        jsonschema.Draft202012Validator.check_schema(found)
        assert found["additionalProperties"] is False
        assert "$ref" not in str(found)
    assert [*TOOLS][: len(SEED)] == [*SEED]


def test_a_server_that_speaks_for_one_speaks_for_nobody_else() -> None:
    """Whatever a call says."""
    client: Any = None
    assert Desk(client, "ann").by("").who == "ann"
    assert Desk(client).by("bob").who == "bob"
    with pytest.raises(RefusedError, match="speaks for 'ann'"):
        Desk(client, "ann").by("bob")


def parameters(url: str, *words: str) -> StdioServerParameters:
    """Return how the server is started, as a client's configuration has it."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "runtime", "mcp", "serve", "--nats", url, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.server
async def test_a_workflow_is_started_decided_and_looked_at(nats_server: NatsServer) -> None:
    """From the template to the end, with each of the tools; mistakes are answers, no crashes."""
    async with (
        daemon(nats_server.url) as movant,
        mcp.Client(parameters(nats_server.url)) as client,
    ):

        async def ask(tool: str, *, wrong: bool = False, **fields: Any) -> Any:
            found = await client.call_tool(tool, fields)
            assert found.is_error is wrong, found.content
            return found.structured_content

        await movant("template.register", text=TEMPLATE)
        listed = await client.list_tools()
        assert [each.name for each in listed.tools] == [*TOOLS]
        (template,) = (await ask("get_workflow_templates"))["templates"]
        jsonschema.validate({"who": "bob"}, template["parameters"])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"who": 7}, template["parameters"])

        told = await ask(
            "start_enhanced_workflow", technology="letters", input={"to": "eve"}, workflow_id="l-1"
        )
        assert (told["workflow_id"], told["workflow"]) == ("l-1", "letter")
        other = await ask(
            "start_enhanced_workflow",
            technology="letters",
            parameters={"who": "bob"},
            input={"to": "eve"},
            workflow_id="l-2",
        )
        assert other["workflow"].startswith("letter-")
        await movant.waits("l-1", "gate")
        await movant.waits("l-2", "gate")
        waiting = await ask("get_enhanced_pending_approvals", workflow_id="l-1")
        assert [each["phase_id"] for each in waiting["approvals"]] == ["send"]
        status = await ask("get_enhanced_workflow_status", workflow_id="l-1")
        assert (status["status"], status["progress"]["percentage"]) == ("running", 33)
        assert status["pending_approvals"][0]["actions"] == waiting["approvals"][0]["actions"]

        word: dict[str, Any] = {"workflow_id": "l-1", "phase_id": "send", "action": "approve"}
        refused = await ask("handle_enhanced_approval", wrong=True, **word, user_id="mallory")
        assert refused["code"].startswith("refused")
        done = await ask("handle_enhanced_approval", **word, user_id="ann")
        assert done["decision"]["by"] == {"who": "ann", "where": "mcp"}
        await movant.ended("l-1")
        status = await ask("get_enhanced_workflow_status", workflow_id="l-1")
        assert (status["progress"]["percentage"], status["result"]) == (100, {"sent": "eve"})

        found = await ask("search_runs", contains="-1", workflow="letter")
        assert [each["id"] for each in found["runs"]] == ["l-1"]
        history = await ask("get_run_history", workflow_id="l-1", limit=1)
        assert (history["entries"][0]["kind"], history["next"] > 0) == ("start", True)
        await ask("cancel_run", workflow_id="l-2", reason="enough", user_id="ann")
        assert (await movant.ended("l-2"))["status"] == "cancelled"

        good = await ask("validate_definition", definition="name: x\nsteps: {a: {sleep: 1s}}\n")
        bad = await ask("validate_definition", definition="name: x\nsteps: {a: {slep: 1s}}\n")
        assert (good["valid"], bad["valid"]) == (True, False)
        assert bad["problems"][0]["line"] == 2
        gone = await ask("get_enhanced_workflow_status", wrong=True, workflow_id="no-such")
        assert gone["code"] == "refused.not_found"
        missing = await ask("handle_enhanced_approval", wrong=True, workflow_id="l-1")
        assert missing["code"] == "invalid_arguments"
