"""The settings of the flow orchestrator: read, refused, and applied to the machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import movant
from examples.governance.config import (
    CONFIG,
    DEMO,
    MACHINE,
    FlowOrchestrator,
    RetrySettings,
    configured,
    load,
    read,
)
from protocols.directives import Directive

HOUR_S = 3_600


def test_the_settings_are_those_of_the_story() -> None:
    """A hundred motions, hours by state, and three retries with a delay each."""
    settings = read(CONFIG)

    assert settings == FlowOrchestrator(
        max_concurrent_motions=100,
        state_timeout_hours={
            "deliberating": 168,
            "planning": 72,
            "executing": 168,
            "judging": 48,
            "witnessing": 24,
        },
        retry=RetrySettings(max_attempts=3, backoff_seconds=(5.0, 30.0, 300.0)),
    )
    assert settings.retry.policy.attempts == 4


def test_a_machine_has_the_times_of_its_settings() -> None:
    """Of a state that is not listed: a day."""
    machine = configured(load(MACHINE), read(CONFIG))

    assert {name: machine.timeout_s(name) / HOUR_S for name in machine.states} == {
        "INTRODUCED": 24,
        "DELIBERATING": 168,
        "TABLED": 0,
        "RATIFIED": 24,
        "PLANNING": 72,
        "EXECUTING": 168,
        "JUDGING": 48,
        "WITNESSING": 24,
        "ACKNOWLEDGED": 24,
        "REJECTED": 24,
    }


def test_every_retry_follows_the_policy_of_the_settings() -> None:
    """Those for all states, those of one, and those that come after something else."""
    quick = FlowOrchestrator(retry=RetrySettings(max_attempts=1, backoff_seconds=(0.1,)))
    plain = load(MACHINE)
    behind = Directive(do="review", then=Directive(do="retry"))
    plain = msgspec.structs.replace(plain, on_error={**plain.directives, "system": behind})

    machine = configured(plain, quick)

    found = [machine.directives["timeout"], machine.directives["system"].then]
    found += [machine.states["EXECUTING"].directives["network"]]
    policies = [each.policy for each in found if isinstance(each, Directive)]
    assert [(each.attempts, each.delays) for each in policies] == [(2, (0.1,))] * 3
    network = machine.states["EXECUTING"].directives["network"]
    assert network.after.services == ("earl_service",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_concurent_motions: 5", "file.yaml:2:3: 'max_concurent_motions' is not known"),
        ("max_concurrent_motions: 0", "file.yaml:2:27: a whole number >= 1"),
        ("state_timeout_hours: {judging: soon}", "file.yaml:2:34: a number is expected"),
        ("state_timeout_hours: {judging: 0}", "file.yaml:2:34: a number > 0"),
        ("retry: {max_attempts: 3, backoff: [1]}", "file.yaml:2:28: 'backoff' is not known"),
        ("retry: {backoff_seconds: [5, -1]}", "file.yaml:2:32: a number >= 0"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    """A slip must not be a default."""
    path = tmp_path / "file.yaml"
    path.write_text(f"flow_orchestrator:\n  {text}\n")

    with pytest.raises(movant.ConfigurationError) as refused:
        read(path)

    assert said in refused.value.message


def test_a_time_for_a_state_where_nobody_works_is_refused() -> None:
    """Its name may be wrong."""
    settings = FlowOrchestrator(state_timeout_hours={"judgeing": 1, "tabled": 2})

    with pytest.raises(movant.ConfigurationError, match="judgeing, tabled"):
        configured(load(MACHINE), settings)


def test_the_settings_of_the_demonstration_have_the_same_words() -> None:
    """Only other times."""
    machine = configured(load(MACHINE), read(DEMO))

    assert read(DEMO).state_timeout_hours.keys() == read(CONFIG).state_timeout_hours.keys()
    assert machine.timeout_s("JUDGING") < 5
