"""Runs that began with earlier code go on where they stood.

``recorded.json`` has mailboxes of real runs as they were when values above 256 KiB, guardrails,
switches and more kinds of gates did not exist, each with the state that the code of then came
to: graphs at an open gate (one that began without the API, one behind a first decision, one that
was rejected and undone), a motion that waits for a signal, and a workflow with undo and child.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from actors.definitions.loading import load
from actors.kernel.instance import Instance
from protocols.routes import split
from runtime.client.recording import Recording, mails_of

RECORDED: Final = Path(__file__).with_name("recorded.json")
RUNS: Final[dict[str, Any]] = msgspec.json.decode(RECORDED.read_bytes())


@pytest.mark.parametrize("run", RUNS)
def test_a_run_of_earlier_code_folds_to_the_state_that_it_had(run: str) -> None:
    """Everything that its future depends on, the effects that are open included."""
    recording = msgspec.convert(RUNS[run]["recording"], Recording)
    workflows = load(recording.data, split(recording.definition)[0])
    instance = Instance(run, lambda name, _: workflows[name])

    for mail in mails_of(recording):
        instance.fold(mail)

    assert instance.blocked is None
    assert instance.state_hash() == RUNS[run]["state"]
