"""What pages show: links, commands, tables and numbers are those of the code."""

from __future__ import annotations

import re
import shlex
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import click
import msgspec
import pytest

from actors.definitions.bundle import PACKED_BYTES_MAX
from actors.definitions.templates import Head
from actors.files.routes import load_table
from actors.kernel.step import RETRY_AFTER_S_MAX
from actors.owning import inbound, outbox
from actors.retention import collector
from actors.routing import requests
from actors.store import dead_letters, streams
from protocols import codec, headers, subjects, updates
from protocols.api import runs as api
from protocols.connectors.kinds import KINDS
from protocols.flow import FlowSettings
from protocols.graphs.graph import Graph
from protocols.guardrails.check import RuleSet
from protocols.machines.machine import Machine
from protocols.routes import RoutingTable, checked
from protocols.triggers import TriggerFile
from runtime.cli import cli
from runtime.config import DaemonConfig, flatten, load
from runtime.triggers import messages
from tests import features
from tests.docs import tables
from tests.docs.tables import DOCS, ROOT, pages

BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
ROW: Final = re.compile(r"^\| (.+) \|$", re.MULTILINE)


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in pages():
        for found in BLOCK.finditer(page.read_text()):
            if found[1] == language:
                yield page.name, found[2]


def _rows(page: str, section: str) -> dict[str, list[str]]:
    """Return the rows of the first table of a section, by their first cell."""
    text = (DOCS / page).read_text().split(f"# {section}\n", 1)[1].split("\n#", 1)[0]
    table = text[text.index("\n|") + 1 :].split("\n\n", 1)[0]
    rows = [_cells(each) for each in ROW.findall(table)[1:]]
    return {row[0]: row[1:] for row in rows}


def _cells(row: str) -> list[str]:
    return [each[1:-1] if re.fullmatch(r"`[^`]*`", each) else each for each in row.split(" | ")]


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every command line of movant's that a page shows."""
    for page in pages():
        text = page.read_text()
        blocks = "\n".join(found[2] for found in BLOCK.finditer(text) if found[1] == "sh")
        # A number right before a redirection is that of a stream, no argument.
        command = r"(?:^|until )(movant (?:(?! \d>)[^|&;<>\n])+)"
        shown = re.findall(command, blocks, re.MULTILINE)
        for line in (*shown, *re.findall(r"`(movant [a-z][^`]*)`", text)):
            yield f"{page.name}: {line}", shlex.split(line, comments=True)[1:]


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading in it."""
    broken = []
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists():
            broken.append(link)
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            if anchor not in map(_anchor, headings):
                broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tables_made_from_the_code_are_up_to_date(page: Path) -> None:
    """``python -m tests.docs.tables`` would change nothing."""
    text = page.read_text()

    assert tables.renewed(text) == text


def test_the_table_of_verbs_is_the_api() -> None:
    """The protocol page names each verb with all fields of its request."""
    rows = _rows("protocol.md", "Wait, look, cancel")

    assert rows.keys() == api.VERBS.keys()
    assert "`wait_s?`" in rows["run.start"][1]


def test_every_command_that_a_page_shows_exists() -> None:
    """Each parses as it stands: the command is there, and so are its options."""
    wrong = []
    seen = 0
    for where, words in _commands():
        seen += 1
        try:
            _parse(words)
        except click.UsageError as error:
            wrong.append(f"{where}: {error.message}")

    assert wrong == []
    assert seen > 20


def _parse(words: list[str]) -> None:
    """Raise UsageError unless the command is there and takes these options.

    A command that is only named, without arguments, need not be complete.
    """
    command: click.Command = cli
    left = list(words)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        found = command.get_command(click.Context(command), left[0])
        if found is None:
            raise click.UsageError(f"there is no {left[0]!r}")
        command = found
        del left[0]
    if left and "--help" not in left:
        command.make_context(command.name, left)


def test_every_setting_is_documented_with_its_default() -> None:
    """The table of the configuration has each key once, and what it is without you."""
    rows = _rows("operations.md", "Configuration")
    shown = {key: value[0] for key, value in rows.items()}
    defaults = flatten(DaemonConfig())

    assert shown.keys() == defaults.keys()
    wrong = {
        key: (text, defaults[key])
        for key, text in shown.items()
        if text not in {"empty", "none", "see above", "the host's name"}
        and text != str(defaults[key])
    }
    assert wrong == {}


def test_every_setting_of_a_flow_is_documented_with_its_default() -> None:
    """The table of a service's settings has each once, and what it is without you."""
    rows = _rows("operations.md", "Services")

    assert {key: cells[0] for key, cells in rows.items()} == {
        field.name: str(field.default) for field in msgspec.structs.fields(FlowSettings)
    }


def test_settings_without_effect_are_marked() -> None:
    """The page says so of every key that nothing but the configuration itself knows."""
    code = "".join(
        path.read_text()
        for folder in ("actors", "runtime")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "config.py"
    )
    rows = _rows("operations.md", "Configuration")
    marked = {key for key, cells in rows.items() if cells[1] == "see the note below"}
    read = {key for key in rows if re.search(rf"(config|limits)\.{key.split('.')[-1]}\b", code)}

    limits = {key for key in rows if key.startswith("limits.")}
    assert marked == limits - read


def test_the_configuration_file_on_the_page_is_accepted(tmp_path: Path) -> None:
    """It is TOML, every key is known, every value has its type."""
    (page, text), *others = _blocks("toml")
    path = tmp_path / "movant.toml"
    path.write_text(text)

    loaded = load(environment={}, file=path)

    assert (page, others) == ("operations.md", [])
    assert loaded.config.services == tomllib.loads(text)["services"]
    assert loaded.config.http.address == "127.0.0.1:8700"


def test_json_on_the_pages_is_json() -> None:
    """Whoever copies an example gets something that parses."""
    found = [msgspec.json.decode(text.encode()) for _, text in _blocks("json")]

    assert found
    (error,) = (each for each in found if "code" in each)
    assert api.to_error(msgspec.convert(error, api.ErrorReply)).code == "refused.not_found"


def test_python_on_the_pages_is_in_the_examples() -> None:
    """Every block of Python is a part of an example file, and those are run by tests."""
    examples = [path.read_text() for path in sorted((DOCS / "examples").glob("*.py"))]
    strays = [
        f"{page}: {text[:60]}"
        for page, text in _blocks("python")
        if not any(text.strip() in example for example in examples)
    ]

    assert strays == []


def test_yaml_on_the_pages_is_in_the_examples() -> None:
    """Every block is an example file, and tests run those."""
    examples = [path.read_text() for path in sorted((DOCS / "examples").rglob("*.yaml"))]

    shown = list(_blocks("yaml"))

    assert shown
    assert [page for page, text in shown if text not in examples] == []


def test_the_routing_table_of_the_page_can_be_used() -> None:
    """As its file stands."""
    assert checked(load_table(DOCS / "examples" / "routes.yaml"))["cards"].ranked


def test_limits_on_the_page_are_those_of_the_code() -> None:
    """A number in the table of limits is the constant that enforces it."""
    rows = _rows("protocol.md", "Limits")
    numbers = {key: int(cells[0].split()[0]) for key, cells in rows.items()}

    assert numbers == {
        "payload": codec.PAYLOAD_BYTES_MAX,
        "depth of a value": codec.DEPTH_MAX,
        "id, name": subjects.ID_BYTES_MAX,
        "header block": headers.HEADER_BYTES_MAX,
        "step token in a subject": subjects.STEP_TOKEN_BYTES_MAX,
        "starts in one `run.start_many`": api.ITEMS_MAX,
        "rows of one page": api.PAGE_MAX,
        "wait of one API request": api.WAIT_S_MAX,
        "result inside an event": outbox.RESULT_IN_EVENT_BYTES_MAX,
        "result of an update": updates.ANSWER_BYTES_MAX,
        "Movant-Retry-After": RETRY_AFTER_S_MAX,
        "packed definition": PACKED_BYTES_MAX,
    }
    assert (requests.REASK_S, requests.REASK_MAX_S) == (30.0, 900.0)  # told in words


def test_reasons_of_dead_letters_are_those_of_the_code() -> None:
    """The page explains each reason that a message can be a dead letter for, and no other."""
    sources = (inbound, dead_letters, collector)
    source = "".join(Path(str(each.__file__)).read_text() for each in sources)
    reasons = {*re.findall(r'DeadLetter\(\s*\w+,\s*"(\w+)"', source), messages.REASON}

    assert _rows("protocol.md", "Dead letters").keys() == reasons


def test_headers_on_the_page_are_those_of_the_code() -> None:
    """A header of movant's that a page names is one that the code knows."""
    known = {value for value in vars(headers).values() if isinstance(value, str)}
    source = Path(dead_letters.__file__).read_text()
    named = {
        name for page in pages() for name in re.findall(r"`(Movant-[A-Za-z-]+)", page.read_text())
    }

    assert {name for name in named if name not in known and f'"{name}"' not in source} == set()


def test_streams_on_the_page_are_those_of_the_code() -> None:
    """Backup and permissions must forget none."""
    text = (DOCS / "operations.md").read_text()
    names: list[Any] = [each["name"] for each in streams.wanted(partitions=64, replicas=1)]
    backed_up = re.search(r"^for stream in (.+); do$", text, re.MULTILINE)

    assert backed_up
    assert sorted(backed_up[1].split()) == sorted(names)
    assert all(name in text.split("The daemon makes these streams")[1] for name in names)


def test_the_picture_is_well_formed() -> None:
    """An SVG with a title and a description, for those who do not see it."""
    root = ET.parse(DOCS / "concepts.svg").getroot()  # noqa: S314 - a file of ours

    assert root.tag.endswith("svg")
    assert [each.tag.rpartition("}")[2] for each in root][:2] == ["title", "desc"]


def test_the_reading_order_names_files_that_exist() -> None:
    """Who follows it finds every file."""
    text = (ROOT / "README.md").read_text()
    order = text.split("**Reading order")[1].split("\n## ")[0]
    named = re.findall(r"`([a-z_/]+\.py)`", order)
    folder = ""
    missing = []
    for name in named:
        if "/" in name:
            folder = name.rpartition("/")[0]
        path = ROOT / (name if "/" in name else f"{folder}/{name}")
        missing += [] if path.is_file() else [name]

    assert len(named) > 15
    assert missing == []


def test_every_key_that_a_file_may_have_is_in_a_table() -> None:
    """Of all files that people write, each part has a table on some page, with all its keys."""
    files = (Graph, Machine, TriggerFile, Head, RuleSet, RoutingTable, *KINDS.values())
    found: set[type[msgspec.Struct]] = set()
    for each in files:
        _parts_of(each, found)
    shown = {
        name for page in pages() for name in re.findall(r"<!-- table: (\w+)", page.read_text())
    }
    told = {part for name, part in tables.PARTS.items() if name in shown}

    # The words of a state's undo are a table of that page's own, which its test reads.
    assert {each.__name__ for each in found - told} == {"StateUndo"}
    assert not tables.PARTS.keys() & features.AREAS.keys()


def _parts_of(kind: Any, found: set[type[msgspec.Struct]]) -> None:
    """Add every struct that a value of this type may hold."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind in found:
            return
        found.add(kind)
        for field in msgspec.structs.fields(kind):
            _parts_of(field.type, found)
    for inner in get_args(kind):
        if not isinstance(inner, str | int | msgspec.Meta):
            _parts_of(inner, found)
