"""The configuration of the flow orchestrator, and the machine as it says.

    machine = configured(load(MACHINE), read(CONFIG))

    python -m examples.governance.config FILE     # is it understood?

A setting that nobody knows is refused: a timeout with a slip in its name would silently be the
default. ``max_attempts`` counts the tries after the first call, one for each backoff.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

import movant
from actors.files import yaml_struct
from actors.files.definitions import load_document
from protocols.directives import Directive
from protocols.findings import Finding

HERE: Final = Path(__file__).parent
MACHINE: Final = HERE / "governance.yaml"
CONFIG: Final = HERE / "config" / "flow-orchestrator.yaml"
DEMO: Final = HERE / "config" / "demo.yaml"
HOUR_S: Final = 3_600

Hours = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]


class RetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often what failed is tried again, and after how long."""

    max_attempts: Annotated[int, Meta(ge=0, le=20)] = 3
    backoff_seconds: tuple[Seconds, ...] = (5.0, 30.0, 300.0)

    @property
    def policy(self) -> movant.Retry:
        """The same as movant says it: calls in all, and the delays between them."""
        return movant.Retry(
            attempts=1 + self.max_attempts, delays=self.backoff_seconds, jitter=0.0
        )


class FlowOrchestrator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. A state that is not listed has a day, as movant's states have."""

    max_concurrent_motions: Annotated[int, Meta(ge=1)] = 100
    state_timeout_hours: dict[str, Hours] = {}
    retry: RetrySettings = RetrySettings()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flow_orchestrator: FlowOrchestrator


def read(path: Path) -> FlowOrchestrator:
    """Return the settings of a file. Raises ConfigurationError with line and column."""
    document = yaml_struct.load(path, partial(yaml_struct.parse, kind=_File, check=_nothing))
    checker = "python -m examples.governance.config"
    return yaml_struct.value_of(document, path, checker).flow_orchestrator


def load(path: Path) -> movant.Machine:
    """Return the machine of a file. Raises ConfigurationError with line and column."""
    found = yaml_struct.value_of(load_document(path), path, "movant workflow validate")
    assert isinstance(found, movant.Machine), "a file with states"
    return found


def _nothing(_: object) -> list[Finding]:
    """Find nothing wrong: the form is all."""
    return []


def configured(machine: movant.Machine, settings: FlowOrchestrator) -> movant.Machine:
    """Return the machine with the times of the settings.

    Raises ConfigurationError for a time of a state where nobody works.
    """
    hours = settings.state_timeout_hours
    working = {name.lower() for name, state in machine.states.items() if state.owner}
    if strange := sorted(hours.keys() - working):
        raise movant.ConfigurationError(
            f"state_timeout_hours: nobody works in {', '.join(strange)}",
            hint=f"known: {', '.join(sorted(working))}",
        )
    policy = settings.retry.policy
    return msgspec.structs.replace(
        machine,
        on_error=_patient(machine.directives, policy),
        states={
            name: msgspec.structs.replace(
                state,
                timeout=hours[name.lower()] * HOUR_S if name.lower() in hours else state.timeout,
                on_error=_patient(state.directives, policy),
            )
            for name, state in machine.states.items()
        },
    )


def _patient(table: Mapping[str, Directive], policy: movant.Retry) -> dict[str, Any]:
    """Return directives whose retries follow the policy."""
    return {kind: _retried(each, policy) for kind, each in table.items()}


def _retried(directive: Directive, policy: movant.Retry) -> Directive:
    then = directive.then
    if isinstance(then, Directive):
        directive = msgspec.structs.replace(directive, then=_retried(then, policy))
    if directive.do != "retry":
        return directive
    return msgspec.structs.replace(directive, policy=policy)


if __name__ == "__main__":
    configured(load(MACHINE), read(Path(sys.argv[1])))
