"""Commands that need no daemon: configuration, validation, schemas, completion, output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.calendars import Calendar
from protocols.errors import RefusedError
from runtime.cli.failures import say, tell_error
from runtime.cli.output import (
    between,
    compact,
    duration,
    write_facts,
    write_file,
    write_table,
)
from runtime.cli.service import load_attribute
from runtime.ranges import brief, ranges
from tests.cli.conftest import Cli
from tests.docs.tables import DOCS
from tests.support.nats import NatsServer

GOOD = """import movant

@movant.workflow
async def greet(ctx: movant.Context, name: str) -> str:
    return name
"""
BAD = """import time
import movant

@movant.workflow
async def greet(ctx: movant.Context) -> float:
    return time.time()

@movant.workflow
def plain(ctx: movant.Context) -> int:
    return 1
"""


def test_dev_starts_nothing_for_a_file_that_is_wrong(cli: Cli, tmp_path: Path) -> None:
    """What is wrong is told as ``validate`` does, before there is a server or a store."""
    (tmp_path / "bad.yaml").write_text("name: a\nsteps: {one: {servise: x, operation: y}}\n")
    store = tmp_path / "store"

    wrong, none = (
        cli("dev", str(tmp_path / name), "--store", str(store)) for name in ("bad.yaml", "no.yaml")
    )

    assert (wrong.code, none.code) == (2, 2)
    assert "bad.yaml:2:15: error" in wrong.err
    assert "no.yaml" in none.err
    assert wrong.err.endswith("nothing was started\n")
    assert not store.exists()


def test_the_configuration_is_shown_with_origins(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to guess which of four places has won."""
    path = tmp_path / "movant.toml"
    path.write_text('[log]\nlevel = "debug"\n')
    monkeypatch.setenv("MOVANT_NATS__PASSWORD", "s3cret")

    ended = cli("config", "show", "--origin", "--config", str(path), "-o", "json")

    rows = {row["setting"]: row for row in ended.json}
    assert rows["log.level"]["origin"] == f"{path}:2"
    assert rows["nats.password"] == {
        "setting": "nats.password",
        "value": "***",
        "origin": "MOVANT_NATS__PASSWORD",
    }
    assert "s3cret" not in cli("config", "show", "--origin").out


def test_a_wrong_configuration_is_exit_code_2_with_its_place(cli: Cli, tmp_path: Path) -> None:
    """For a deployment script."""
    path = tmp_path / "movant.toml"
    path.write_text("[limits]\nlive_instance_max = 5\n")

    ended = cli("config", "check", "--config", str(path))

    assert ended.code == 2
    assert f"{path}:2" in ended.err
    assert "did you mean 'limits.live_instances_max'" in ended.err


def test_a_good_workflow_validates(cli: Cli, tmp_path: Path) -> None:
    """Exit 0 and nothing on standard output."""
    path = tmp_path / "good_flow.py"
    path.write_text(GOOD)

    ended = cli("workflow", "validate", str(path))

    assert (ended.code, ended.out) == (0, "")
    assert "0 errors, 0 warnings" in ended.err


def test_a_bad_workflow_is_exit_code_1_with_file_and_line(cli: Cli, tmp_path: Path) -> None:
    """As a compiler does it, so that editors can jump there."""
    path = tmp_path / "bad_flow.py"
    path.write_text(BAD)

    text, data = (
        cli("workflow", "validate", str(path)),
        cli("workflow", "validate", str(path), "-o", "jsonl"),
    )

    assert text.code == data.code == 1
    assert f"{path}:9:1: error: workflow 'plain' is not async" in text.out
    found = [json.loads(line) for line in data.out.splitlines()]
    assert {each["severity"] for each in found} == {"error", "warning"}


def test_schemas_are_printed_and_written(cli: Cli, tmp_path: Path) -> None:
    """Other languages need these documents and NATS, nothing else."""
    everything = cli("schema", "messages").json
    document = cli("schema", "asyncapi").json
    written = cli("schema", "messages", "--to", str(tmp_path / "schemas"))
    unknown = cli("schema", "messages", "no.such")

    assert document["asyncapi"].startswith("3.")
    assert len(list((tmp_path / "schemas").iterdir())) == len(everything)
    assert written.code == 0
    assert unknown.code == 5


def test_the_offsets_of_a_zone_are_printed(cli: Cli) -> None:
    """As a calendar in Python has them."""
    offsets = cli("calendar", "Europe/Zurich").json

    assert Calendar(zone="Europe/Zurich", hours={"mon": "08:00-12:00"}, offsets=offsets).pinned
    assert (offsets["2020-01-01T00:00Z"], offsets["2026-03-29T01:00Z"]) == (3_600, 7_200)
    assert cli("calendar", "Europe/Nowhere").code != 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(cli: Cli, shell: str) -> None:
    """It calls movant itself, so it never grows old."""
    ended = cli("completion", shell)

    assert ended.code == 0
    assert "_MOVANT_COMPLETE" in ended.out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("movant run s", ["plain,start", "plain,signal", "plain,supply", "plain,show"]),
        ("movant workflow validate w", ["file,w"]),
    ],
)
def test_completion_knows_commands_that_are_not_imported_yet(words: str, found: list[str]) -> None:
    """The tree is lazy, completion is whole; where a file belongs the shell offers files."""
    ended = subprocess.run(
        [sys.executable, "-m", "runtime"],
        cwd=Path(__file__).resolve().parents[2],
        env={
            "_MOVANT_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": f"{words.count(' ')}",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout.split() == found


def test_the_doctor_without_a_daemon_checks_this_machine(cli: Cli, nats_binary: str) -> None:
    """A missing daemon is a hint, not a finding."""
    assert nats_binary

    ended = cli("doctor", "-o", "json")

    found = {each["check"]: each["verdict"] for each in ended.json}
    assert ended.code == 0
    assert found == {
        "python": "ok",
        "packages": "ok",
        "nats-server": "ok",
        "store": "ok",
        "daemon": "warning",
    }


_LIMITED = """
authorization { users: [
  {user: daemon, password: d, permissions: {publish: {allow: ">", deny: "movant.timer.>"}}}
]}
"""


@pytest.mark.server
def test_the_doctor_names_them_where_no_daemon_runs(
    nats_binary: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the login that the daemon would have."""
    with NatsServer(nats_binary, extra=_LIMITED) as server:
        monkeypatch.setenv("MOVANT_NATS__USER", "daemon")
        monkeypatch.setenv("MOVANT_NATS__PASSWORD", "d")
        ended = cli("doctor", "--nats", server.url, "-o", "json")

    found = {each["check"]: each for each in ended.json}
    assert ended.code == 3
    assert found["permissions"]["verdict"] == "error"
    assert "'daemon' lacks: publish movant.timer.>" in found["permissions"]["found"]
    assert found["jetstream"]["verdict"] == "ok"
    assert "no daemon serves it" in found["daemon"]["found"]


def test_the_path_of_the_server_is_one_word(cli: Cli, nats_binary: str) -> None:
    """``$(movant nats path)`` is a program."""
    ended = cli("nats", "path")

    assert ended.out == f"{nats_binary}\n"
    assert cli("nats", "version").code == 0


def test_a_service_is_found_by_module_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """Both ways to name it, and a missing one is told."""
    (tmp_path / "office_for_test.py").write_text("service = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    assert load_attribute("office_for_test:service") == 7
    assert load_attribute(f"{tmp_path}/office_for_test.py:service") == 7
    assert cli("service", "run", "office_for_test:nobody").code == 5
    assert cli("service", "run", "no_such_office:service").code == 5


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0004, "0ms"),
        (0.35, "350ms"),
        (4.21, "4.2s"),
        (59.96, "60.0s"),
        (725, "12m05s"),
        (11_100, "3h05m"),
        (187_200, "2d4h"),
    ],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    """As people say them."""
    assert duration(seconds) == shown


def test_what_has_no_end_has_no_duration() -> None:
    """A dash stands for not yet."""
    assert between(0, 5) == "-"
    assert between(1, 2_000_000_001) == "2.0s"


def test_partitions_are_ranges() -> None:
    """64 numbers are no information."""
    assert ranges([]) == ""
    assert ranges([3, 1, 2, 9]) == "1-3, 9"
    assert brief([3, 1, 2, 9]) == "1-3, 9"
    assert brief(list(range(0, 64, 2))) == "32 in all"


def test_a_long_value_is_cut_only_where_a_width_is_given() -> None:
    """The ellipsis belongs to tables."""
    assert compact({"a": "x" * 20}) == '{"a":"' + "x" * 20 + '"}'
    assert compact("x" * 20, 10) == '"xxxxxxxx…'


def test_what_is_no_service_is_refused_with_its_kind(cli: Cli, tmp_path: Path) -> None:
    """Before anything is connected, and without a traceback."""
    path = tmp_path / "no_service.py"
    path.write_text(GOOD)

    ended = cli("service", "run", f"{path}:greet")

    assert ended.code == 2
    assert f"{path}:greet is no service but Workflow 'greet'" in ended.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import movant\n1 / 0\n", ":2: ZeroDivisionError"),
        ("def f(:\n    pass\n", ":1: SyntaxError"),
        ("import movant\nimport nobody_has_this\n", ":2: No module named 'nobody_has_this'"),
    ],
)
def test_a_service_module_that_cannot_be_imported_is_told_with_its_line(
    cli: Cli, tmp_path: Path, text: str, says: str
) -> None:
    """The mistake is the author's: a place, and no traceback of ours."""
    path = tmp_path / f"broken_{abs(hash(text))}.py"
    path.write_text(text)

    ended = cli("service", "run", f"{path}:service")

    assert ended.code == 2
    assert f"{path}{says}" in ended.err
    assert "Traceback" not in ended.err


def test_a_file_that_cannot_be_written_is_told_and_left_as_it_was(
    cli: Cli, tmp_path: Path
) -> None:
    """The path is the caller's, and no defect; what stood there stays, with nothing beside it."""
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "start.schema.json").mkdir()
    for where in (folder, Path("/dev/null/x")):
        ended = cli("schema", "messages", "start", "--to", str(where))
        assert (ended.code, "cannot be written" in ended.err) == (2, True), where
        assert "defect" not in ended.err

    kept = tmp_path / "kept"
    kept.write_bytes(b"whole")
    write_file(kept, b"new")
    assert kept.read_bytes() == b"new"
    assert [each.name for each in folder.iterdir()] == ["start.schema.json"]
    write_file(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


def test_a_terminal_obeys_nothing_that_others_wrote(capfd: pytest.CaptureFixture[str]) -> None:
    """Control characters in names and messages are escaped; a cell stays in its line."""
    nasty = "a\x1b[2Jb\nc\x9b1mé"
    write_table(("NAME", "WHY"), [("x", nasty)])
    write_facts([("why", nasty)])
    say(nasty)
    tell_error(RefusedError(nasty, hint=nasty))
    out, err = capfd.readouterr()

    assert out.splitlines() == [
        "NAME  WHY",
        r"x     a\x1b[2Jb\nc\x9b1mé",
        r"why  a\x1b[2Jb",
        r"     c\x9b1mé",
    ]
    assert "\x1b" not in err
    assert "\x9b" not in err


def test_rules_of_a_machine_are_listed_and_tried(cli: Cli) -> None:
    """As those of a graph: nothing is run, and the code tells whether one blocks."""
    file = str(DOCS / "examples" / "poster.yaml")

    listed = cli("guardrail", "ls", file, "-o", "json")
    blocked = cli("guardrail", "test", file, "-i", "about=card 4111 1111 1111 1111")

    assert [row["name"] for row in listed.json] == ["private", "short"]
    assert (blocked.code, "4111" in blocked.out) == (1, False)


def test_a_terminal_that_is_too_narrow_cuts_the_last_column_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the next command needs stands in front: numbers and ids are there in full."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("runtime.cli.output._is_terminal", lambda: True)

    write_table(("SEQ", "RUN", "WHAT", "SAYS"), [("17", "r" * 30, "w" * 38, "s" * 90)])
    write_table(("SEQ", "SAYS"), [("17", "s" * 90)])
    wide, narrow = capfd.readouterr().out.split("\nSEQ")

    assert wide.splitlines()[1] == f"17   {'r' * 30}  {'w' * 38}  {'s' * 19}…"
    assert narrow.splitlines()[1] == f"17   {'s' * 74}…"
