"""What people are shown of runs on a real server: masked, raw and logged, hidden in any case."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.errors import RefusedError
from protocols.guardrails.sensitive import HIDDEN
from protocols.service import Service
from protocols.witness import Operator
from runtime.client.client import Client
from runtime.config import RedactionConfig
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

FILE = """
name: private
input:
  mail: string
  tax: {type: string, sensitive: true}
steps:
  ask: {service: desk, operation: ask, params: {to: "{{input.mail}}", id: "{{input.tax}}"}}
  allow:
    needs: ask
    gate:
      title: "Write to {{input.mail}} about {{input.tax}}?"
      values: {phone: "+49 30 1234567"}
"""
GIVEN = {"mail": "ann@example.org", "tax": "NL-77-1"}


async def test_people_see_neither_what_is_sensitive_nor_what_is_hidden(
    nats_server: NatsServer, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mailbox keeps all of it; raw shows what is sensitive, and never what is hidden."""
    file = tmp_path / "private.yaml"
    file.write_text(FILE)
    desk, asked = Service("desk"), list[Any]()

    def ask(request: Any) -> Any:
        asked.append(request)
        return {"said": f"{request['to']} has {request['id']}"}

    desk.operation("ask")(ask)
    async with (
        daemon(nats_server.url, workflows=[file], services=[desk]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("private", GIVEN, id="p-1")
        await movant.waits("p-1", "gate")
        view = await client.show("p-1")
        raw = await client.show("p-1", raw=True, by=Operator(who="ann"))
        history = [each.body async for each in client.history("p-1")]
        gate, (row,) = await client.gate("p-1"), (await client.gates()).gates
        await client.decide("p-1", "approve")
        ended = await client.wait("p-1", timeout_s=20)
        ended_view = await client.show("p-1")
        history_raw = [each.body async for each in client.history("p-1", raw=True)]

    masked = "[redacted email]"
    assert asked == [{"to": "ann@example.org", "id": "NL-77-1"}]
    assert view.input == {"mail": masked, "tax": HIDDEN}
    assert raw.input == {"mail": "ann@example.org", "tax": HIDDEN}
    assert history[0] == view.input
    assert {"said": f"{masked} has {HIDDEN}"} in history
    assert {"said": f"ann@example.org has {HIDDEN}"} in history_raw
    assert gate.title == row.title == f"Write to {masked} about {HIDDEN}?"
    assert gate.values == {"phone": "[redacted phone]"}
    assert ended.status == ended_view.status == "completed"
    assert "NL-77-1" not in str(ended_view)
    log = capsys.readouterr()
    assert "redaction.raw" in log.out + log.err


async def test_a_daemon_may_show_raw_values_to_nobody(nats_server: NatsServer) -> None:
    """Its configuration says so; nor does it give the bytes that are stored."""
    closed = RedactionConfig(raw=False, keys=("x",))
    async with (
        daemon(nats_server.url, redaction=closed) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await movant.run("probe.echo", {"x": 1, "y": 2}, id="e-1")
        view = await client.show("e-1")
        with pytest.raises(RefusedError, match="shows nobody"):
            await client.show("e-1", raw=True)
        with pytest.raises(RefusedError, match="shows nobody"):
            await movant("run.messages", id="e-1")

    assert view.input == {"x": HIDDEN, "y": 2}
