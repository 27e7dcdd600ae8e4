"""The connector ``subprocess``, with real programs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from actors.files.connectors import parse
from protocols.service import Call, Failed, Refused, Unknown
from runtime.connectors.frame import opened
from runtime.connectors.secrets import Secrets

PYTHON: Final = sys.executable
SHOW: Final = (
    "import json, os, sys;"
    "print(json.dumps({{'arguments': sys.argv[1:], 'stdin': sys.stdin.read(),"
    " 'environment': dict(os.environ), 'directory': os.getcwd()}}))"
)
CHILDREN: Final = 'sleep 60 & echo $! > "$0.new"; mv "$0.new" "$0"; [ "$1" = go ] || wait'
STUBBORN: Final = "trap '' TERM; while :; do sleep 1; done"
COMMANDS: Final[dict[str, Any]] = {
    "show": {
        "run": [PYTHON, "-c", SHOW, "--name={name}", "{free}", "fixed"],
        "params": {"name": "string", "free": {"type": "string", "default": "x"}},
        "stdin": "json",
        "output": "json",
    },
    "lines": {"run": ["printf", "%s", "a\nb\n"], "output": "lines"},
    "exit": {
        "run": [PYTHON, "-c", "raise SystemExit({code})"],
        "params": {"code": "integer"},
        "exit_codes": {"3": "refused:validation", "4": "failed:network", "5": "ok"},
    },
    "look": {"run": ["false"], "reads_only": True},
    "complain": {"run": [PYTHON, "-c", "import sys; sys.exit('the door is broken')"]},
    "flood": {"run": ["yes"], "output_bytes_max": 1000},
    "children": {
        "run": ["sh", "-c", CHILDREN, "{file}", "{how}"],
        "params": {"file": "string", "how": "string"},
        "timeout": "1s",
    },
    "stubborn": {
        "run": ["sh", "-c", STUBBORN],
        "timeout": "600ms",
        "reads_only": True,
    },
    "binary": {"run": ["printf", r"\377"]},
    "absent": {"run": ["no-such-program"]},
}


@asynccontextmanager
async def programs(**changes: Any) -> AsyncIterator[Any]:
    """Open the connector; call what it yields with operation, key and parameters."""
    given = {"kind": "subprocess", "commands": COMMANDS, "stop_grace": 0.2, **changes}
    text = msgspec.json.encode({"connectors": {"programs": given}})
    read = parse(text)
    assert read.problems == []
    assert read.value is not None
    secrets = Secrets(Path(), {"TOKEN": "open-sesame"})
    async with opened("programs", read.value.connectors["programs"], secrets) as found:

        async def ask(operation: str, key: str = "", /, undoes: str = "", **values: Any) -> Any:
            call = Call("programs", operation, key=key, undoes=undoes)
            return await found.service.operations[operation].function(values, call)

        yield ask


async def test_a_program_gets_its_arguments_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No shell reads them; the environment is what was allowed, with the key; a new directory."""
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    async with programs(variables={"HIDDEN": "${env:TOKEN}"}) as ask:
        result = await ask("show", "run/1/s", name="$(id); 'a' \n|", free="é")

    shown = result["output"]
    assert shown["arguments"] == ["--name=$(id); 'a' \n|", "é", "fixed"]
    assert msgspec.json.decode(shown["stdin"]) == {"name": "$(id); 'a' \n|", "free": "é"}
    assert shown["environment"]["MOVANT_KEY"] == "run/1/s"
    assert shown["environment"]["HIDDEN"] == "***"
    assert "SECRET_OF_THE_DAEMON" not in shown["environment"]
    assert not await trio.Path(shown["directory"]).exists()


async def test_a_program_reads_its_input_and_nothing_else() -> None:
    """A text as it is, another value as JSON, and no word in place of one that is not given."""
    commands = {
        kind: {
            "run": ["cat"],
            "stdin": "text",
            "params": {"input": {"type": kind, "optional": True}},
        }
        for kind in ("string", "object")
    }
    async with programs(commands=commands) as ask:
        found = [
            (await ask("string", input="{a}"))["output"],
            (await ask("string"))["output"],
            (await ask("object", input={"a": True}))["output"],
        ]

    assert found == ["{a}", "", '{"a":true}']


async def test_a_value_is_no_option_and_no_program() -> None:
    """A dash at the beginning, a null character, and a program that is not there: no effect."""
    async with programs() as ask:
        for values in ({"name": "a", "free": "-rf"}, {"name": "a\0b"}, {"name": 7}):
            with pytest.raises(Refused) as refused:
                await ask("show", **values)
            assert refused.value.kind == "validation"
        with pytest.raises(Refused) as absent:
            await ask("absent")

    assert absent.value.kind == "system"


async def test_an_exit_code_means_what_the_author_says() -> None:
    """Else nobody knows what was done, unless the command changes nothing."""
    async with programs() as ask:
        with pytest.raises(Refused) as three:
            await ask("exit", code=3)
        with pytest.raises(Failed) as four:
            await ask("exit", code=4)
        five = await ask("exit", code=5)
        with pytest.raises(Unknown) as six:
            await ask("exit", code=6)
        with pytest.raises(Failed):
            await ask("look")
        with pytest.raises(Unknown) as complained:
            await ask("complain")
        lines = await ask("lines")

    assert three.value.kind == "validation"
    assert four.value.kind == "network"
    assert five == {"exit_code": 5, "output": ""}
    assert six.value.details == {"exit_code": 6, "stderr": ""}
    assert complained.value.message == "the door is broken"
    assert lines == {"exit_code": 0, "output": ["a", "b"]}


async def test_what_writes_too_much_or_nonsense_is_no_success() -> None:
    """A program that never stops writing is ended; bytes that are no text are no result."""
    async with programs() as ask:
        with trio.fail_after(10), pytest.raises(Unknown) as flood:
            await ask("flood")
        with pytest.raises(Unknown) as binary:
            await ask("binary")

    assert flood.value.kind == "over_limit"
    assert binary.value.kind == "system"


@pytest.mark.parametrize("how", ["stay", "go"])
async def test_grandchildren_end_with_the_program(how: str, tmp_path: Path) -> None:
    """Whether it is ended after its time, or ends by itself and leaves one behind."""
    file = tmp_path / "pid"
    async with programs() as ask:
        if how == "stay":
            with pytest.raises(Unknown) as late:
                await ask("children", file=str(file), how=how)
            assert late.value.kind == "timeout"
        else:
            with trio.fail_after(10):
                await ask("children", file=str(file), how=how)

    await _gone(int(file.read_text()))


async def test_who_ignores_the_request_to_end_is_killed() -> None:
    """In time; the command changes nothing, so it is a failure and not unknown."""
    async with programs() as ask:
        began = trio.current_time()
        with pytest.raises(Failed) as late:
            await ask("stubborn")

    assert late.value.kind == "timeout_error"
    assert late.value.details["exit_code"] == -signal.SIGKILL
    assert trio.current_time() - began < 5


async def test_a_program_ends_when_nobody_waits_any_more(tmp_path: Path) -> None:
    """Whoever asks is cancelled, as when the daemon ends: the whole group ends."""
    file = tmp_path / "pid"
    async with programs() as ask, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: ask("children", file=str(file), how="stay"))
        while not file.exists() or not file.read_text():
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()

    await _gone(int(file.read_text()))


async def _gone(pid: int) -> None:
    """Wait until a process that nobody here started is gone, or only its remains are left."""
    with trio.fail_after(5):
        while True:
            try:
                os.kill(pid, 0)
                told = await trio.Path(f"/proc/{pid}/stat").read_text()
            except (ProcessLookupError, FileNotFoundError):
                return
            if told.rpartition(")")[2].split()[0] == "Z":
                return
            await trio.sleep(0.01)


def test_mistakes_are_found_when_the_file_is_read() -> None:
    """A program chosen by a request, parameters that lead nowhere, wrong exit codes."""
    commands = {
        "a": {"run": ["{program}"], "params": {"program": "string"}},
        "b": {"run": ["ls", "{where}"], "params": {}},
        "c": {"run": ["ls"], "params": {"where": "string"}},
        "d": {"run": ["ls"], "exit_codes": {"256": "failed", "2": "perhaps"}},
        "e": {"run": ["cat"], "stdin": "text"},
    }
    given = {"kind": "subprocess", "commands": commands}

    read = parse(msgspec.json.encode({"connectors": {"programs": given}}))

    assert [each.message for each in read.problems] == [
        "a request must not choose the program",
        "'where' is not in params",
        "'where' goes nowhere",
        "'256' is no exit code",
        "'perhaps' is no outcome",
        "there is no field 'input' to read",
    ]
