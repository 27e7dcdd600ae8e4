"""The tree of commands: help, examples, start-up, and what is said to a wrong word."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from runtime.cli import cli as tree
from runtime.cli.lazy import Command, LazyGroup
from runtime.version import VERSION
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("trio", "nats", "msgspec", "structlog", "rich", "pykka", "asyncio", "ssl")


def _commands(
    group: LazyGroup, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*words, name), found
        if isinstance(found, LazyGroup):
            yield from _commands(found, (*words, name))


COMMANDS = dict(_commands(tree))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_ends_with_examples(cli: Cli, words: tuple[str, ...]) -> None:
    """An example is read before everything else."""
    ended = cli(*words, "--help")

    found = COMMANDS[words]
    assert isinstance(found, Command | LazyGroup)
    assert ended.code == 0
    assert found.help
    assert "Examples:" in ended.out
    assert "movant" in ended.out.partition("Examples:")[2]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_example_is_a_command_line_that_parses(words: tuple[str, ...]) -> None:
    """A wrong example is worse than none."""
    found = COMMANDS[words]
    assert isinstance(found, Command | LazyGroup)

    for line, _ in found.examples:
        for part in line.split("|"):
            _, _, after = part.partition("movant ")
            if not after or "$(" in part:
                continue
            assert any(after.split()[: len(path)] == list(path) for path in COMMANDS), (
                f"{line!r} names no command"
            )


def test_every_short_help_is_a_sentence_of_one_line() -> None:
    """The lists line up."""
    groups = [tree, *(each for each in COMMANDS.values() if isinstance(each, LazyGroup))]

    for group in groups:
        for leaves in group.tree.values():
            for name, leaf in leaves.items():
                assert leaf.help.endswith("."), name
                assert len(leaf.help) <= 50, name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("staus",), "'status'"),
        (("run", "strat"), "'start'"),
        (("start",), "'movant run start'"),
        (("validate",), "'movant workflow validate' or "),
        (("run", "pause"), "'movant pause'"),
        (("frobnicate",), "no command 'frobnicate'"),
        (("run", "start"), "WORKFLOW"),
        (("run", "start", "x", "-i", "novalue"), "key=value"),
        (("run", "ls", "--status", "odd"), "pending"),
        (("service", "run", "x"), "module:attribute"),
    ],
)
def test_a_wrong_word_is_exit_code_2_and_says_what_was_meant(
    cli: Cli, words: tuple[str, ...], told: str
) -> None:
    """Usage errors go to standard error."""
    ended = cli(*words)

    assert ended.code == 2
    assert ended.out == ""
    assert told in ended.err


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["version"], ["run", "--help"], ["dev", "--help"]]
)
def test_help_and_version_import_nothing_heavy(words: list[str]) -> None:
    """Start-up stays far below what a person notices."""
    script = (
        "import sys\nfrom runtime.cli import invoke\n"
        f"code = invoke({words!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ended.stderr == "[] 0\n"
    assert ended.stdout


def test_the_version_is_that_of_the_project(cli: Cli) -> None:
    """One number, in two files because one of them is data for pip."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == VERSION
    assert cli("version").out == f"movant {VERSION}\n"
    assert cli("version", "-o", "json").json["movant"] == VERSION


def test_the_version_is_an_option_as_well(cli: Cli) -> None:
    """Where every other program has it."""
    assert cli("--version") == cli("version")


def test_python_m_runtime_is_the_command() -> None:
    """It works without an installed script."""
    ended = subprocess.run(
        [sys.executable, "-m", "runtime", "version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == f"movant {VERSION}\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    """``movant schema messages | true`` ends quietly, as killed by SIGPIPE would."""
    with subprocess.Popen(
        [sys.executable, "-m", "runtime", "schema", "messages"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.close()
        said = writer.stderr.read()

    assert said == b""
    assert writer.returncode == 141
