"""Machines in files: YAML with every mistake at its place, Python beside it, both deployed."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.definitions.bundle import unpack
from actors.definitions.loading import load
from actors.definitions.packing import open_pack, pack
from actors.definitions.registry import Definitions, MemoryDefinitionStore
from actors.definitions.validation import validate
from actors.files import yaml_nodes
from actors.files.definitions import load_document, pack_document, parse
from actors.files.yaml_struct import Document
from actors.motions.interpreter import MotionWorkflow
from protocols.errors import BadValueError, ConfigurationError, NotFoundError
from protocols.machines.machine import Machine
from tests.kernel.mailbox import Mailbox
from tests.motions.machines import PERMIT, motion

PERMIT_FILE: Final = Path(__file__).parent / "permit.yaml"
SMALL: Final = """\
name: small
initial: A
states:
  A: {owner: x, next: B}
  B: {terminal: true}
"""


def played(box: Mailbox) -> Mailbox:
    """Play a story with most of what can happen."""
    box.start({"plot": 7})
    box.reply("/states/FILED/clerk.check", "complete")
    box.signal("withdraw", {"who": "ann"})
    box.signal("table")
    box.signal("untable", {"who": "bob"})
    box.reply("/states/REVIEWED/council.vote", {"ayes": 0, "noes": 9})
    box.reply("/states/REVIEWED#2/council.vote", {"ayes": 3, "noes": 1})
    box.fail("/states/BUILDING/builder.build", "network")
    box.pass_time(5)
    box.fail("/states/BUILDING/builder.build", "network", attempt=2)
    box.reply("/states/BUILDING/mason.build", {"floors": 2})
    box.fail("/states/INSPECTED/diary.note", "refused")
    box.fail("/states/INSPECTED/inspector.inspected", "permission")
    box.reply("/states/INSPECTED/council.review", {"to": "DENIED"})
    box.signal("motion.resume", {"to": "DONE", "who": "root"})
    box.reply("/states/DONE/clerk.file", None)
    return box


def test_the_same_machine_in_yaml_and_in_python_is_the_same() -> None:
    """Equal as data, and equal in every effect of a run: the trace of events too."""
    document = load_document(PERMIT_FILE)
    assert isinstance(document.value, Machine)

    yaml, python = played(motion(document.value)), played(motion(PERMIT))

    assert document.problems == []
    assert document.value == PERMIT
    assert yaml.effects == python.effects
    assert yaml.instance.state_hash() == python.instance.state_hash()
    assert python.instance.status == "completed"
    python.refold()


def problems_of(text: str) -> list[tuple[int, int, str, str]]:
    """Return line, column, message and hint of what is wrong with a text."""
    found = parse(textwrap.dedent(text).encode())
    return [(each.line, each.column, each.message, each.hint) for each in found.problems]


@pytest.mark.parametrize(
    ("change", "line", "column", "message", "hint"),
    [
        (("owner: x", "onwer: x"), 4, 7, "'onwer' is not known here", "did you mean 'owner'?"),
        (("next: B", "next: C"), 4, 23, "there is no state 'C'", "known: A, B"),
        (("initial: A", "initial: a"), 2, 10, "there is no state 'a'", "did you mean 'A'?"),
        (("initial: A\n", ""), 1, 1, "'initial' is missing", "write 'initial: …'"),
        (
            ("owner: x", "owner: 7"),
            4,
            14,
            "a text is expected here, not a number",
            "put it into quotes",
        ),
        (("owner: x", "owner: [x]"), 4, 14, "a text is expected here, not a list", ""),
        (
            (SMALL[SMALL.index("states:") :], "states: 7\n"),
            3,
            9,
            "a mapping is expected here, not a number",
            "",
        ),
        (
            ("  B:", "  B: {terminal: true}\n  B:"),
            6,
            3,
            "the key 'B' stands twice",
            "it is in line 5 already: take one of the two away",
        ),
        (
            ("owner: x", "owner: &a x"),
            4,
            14,
            "anchors and aliases are not read",
            "write the value out",
        ),
        (
            ("owner: x", "owner: !!python/name:os.system x"),
            4,
            14,
            "tags are not read: tag:yaml.org,2002:python/name:os.system",
            "take the tag away",
        ),
        (
            ("owner: x", "owner: x, timeout: soon"),
            4,
            26,
            (
                "timeout 'soon' is not understood: write seconds as a number, "
                "or text such as 90s, 1h30m, 7d"
            ),
            "",
        ),
        (
            ("owner: x", "owner: x, on_error: {tiemout: retry}"),
            4,
            28,
            "'tiemout' is no error kind",
            "did you mean 'timeout'? A service's own kind is declared: 'kinds: [tiemout]'",
        ),
        (
            ("owner: x", "owner: x, on_error: {timeout: rerty}"),
            4,
            37,
            "'rerty' is none of the words for this",
            "did you mean 'retry'?",
        ),
        (
            ("owner: x", "owner: x, on_error: {refused: compensate}"),
            4,
            37,
            "no state says how its work is undone",
            "write 'undo: OPERATION' in each state whose work can be undone",
        ),
        (
            (
                "owner: x",
                "owner: x, undo: back, on_error: {refused: {do: compensate, to: B}}",
            ),
            4,
            70,
            "B does not end as failed, so nothing would be undone",
            "write 'terminal: failed' there",
        ),
        (
            (
                "{terminal: true}",
                (
                    "{owner: x, undo: back, terminal: failed, "
                    "on_error: {refused: {do: compensate, to: B}}}"
                ),
            ),
            5,
            88,
            "B is terminal: nothing follows",
            "take it away",
        ),
        (
            ("owner: x", "owner: x, undo: {operation: back, settel: 3s}"),
            4,
            41,
            "'settel' is not known here",
            "did you mean 'settle'?",
        ),
        (
            ("owner: x", "owner: x, undo: {service: bank}"),
            4,
            23,
            "'operation' is missing",
            "write 'operation: …'",
        ),
        (
            ("owner: x", "owner: x, undo: {operation: back, service: 'my bank'}"),
            4,
            50,
            "'my bank' is no name of a service",
            "letters, digits",
        ),
        (
            ("owner: x", "owner: x, undo: to back"),
            4,
            23,
            "'to back' is no operation",
            "letters, digits",
        ),
        (
            ("owner: x", "owner: x, undo: {operation: back, timeout: 0}"),
            4,
            50,
            "timeout is 0: nobody could answer in time",
            "",
        ),
        (
            ("{terminal: true}", "{terminal: true, pivot: true}"),
            5,
            30,
            "B has no owner, whose work it could be about",
            "take it away",
        ),
        (
            ("next: B", "next: [{to: B, when: result.ok >}]"),
            4,
            38,
            "condition 'result.ok >': something is missing (character 12)",
            "such as: result.ayes > result.noes && input.amount <= 1000",
        ),
        (
            ("next: B", "next: [{to: B, when: results.ok}, B]"),
            4,
            38,
            "a condition here knows no 'results'",
            "did you mean 'result'?",
        ),
        (
            ("owner: x, ", ""),
            4,
            3,
            "state A has no owner",
            (
                "write 'owner: SERVICE', or 'parked: true' to wait for a signal, "
                "or 'terminal: true' for an end"
            ),
        ),
        (
            (", next: B", ""),
            4,
            3,
            "nothing follows A when its work is done",
            "write 'next: STATE' or an end",
        ),
        (
            ("{terminal: true}", "{terminal: true}\n  C: {owner: x, next: B}"),
            6,
            3,
            "nothing leads to C",
            "name it in the 'next' or the 'signals' of another state, or take it away",
        ),
        (
            ("next: B}", "next: [{to: C, when: entry > 1}, B]}\n  C: {owner: x, next: C}"),
            5,
            3,
            "there is no way from C to an end",
            "let it lead to B",
        ),
        (("name: small", "name: small\n\towner: x"), 2, 1, "no valid YAML: ", "indent with spa"),
        (("name: small", "---\nname: small\n---\n"), 3, 1, "a second document", "one file holds"),
        (("name: small", "? [a]\n: b\nname: small"), 1, 3, "a key is a mapping or a list", "wri"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_do(
    change: tuple[str, str], line: int, column: int, message: str, hint: str
) -> None:
    """Line and column are those of the word; the advice names the nearest right one."""
    assert problems_of(SMALL) == []

    first = problems_of(SMALL.replace(*change))[0]

    assert first[:2] == (line, column), first
    assert first[2].startswith(message)
    assert first[3].startswith(hint)


def test_every_mistake_is_told_at_once() -> None:
    """Whoever mends a file mends it once."""
    text = SMALL.replace("owner: x", "onwer: x, timeout: [1]").replace("true", "7")

    assert [each[:2] for each in problems_of(text)] == [(4, 7), (4, 26), (5, 17)]


def test_the_line_is_shown_with_a_caret() -> None:
    """Below the word, as wide as the word."""
    document = parse(SMALL.replace("owner", "onwer").encode())

    assert document.excerpt(document.problems[0]) == (
        "     4 |   A: {onwer: x, next: B}\n       |       ^^^^^"
    )


def test_words_of_older_yaml_are_text() -> None:
    """``no`` is a name, ``012`` and ``1_000`` are none of a number."""
    found = yaml_nodes.read(
        b"[no, on, Yes, 012, 1_000, 12:30, 0x1f, 7, -1.5e3, true, ~, '7', 1e3]"
    )

    assert found.items is not None
    assert [each.value for each in found.items] == [
        "no",
        "on",
        "Yes",
        "012",
        "1_000",
        "12:30",
        "0x1f",
        7,
        -1500.0,
        True,
        None,
        "7",
        1000.0,
    ]


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    """Nothing is expanded: nine lines of it would be a thousand million words."""
    bomb = "a0: &a0 [lol]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )

    assert problems_of(bomb) == [(1, 5, "anchors and aliases are not read", "write the value out")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"[" * 1000, "more than 40 levels deep"),
        (b"a: b\n" * 60_000, "more than 262144 bytes"),
        (b"[" + b"1," * 60_000 + b"1]", "more than 50000 values"),
        (b"name: \xff\n", "not readable as UTF-8"),
        (b"name: a\x07b\n", "no valid YAML"),
        (b"{", "no valid YAML"),
        (b"7", "a mapping is expected here, not a number"),
    ],
)
def test_what_is_no_file_of_ours_is_refused(text: bytes, message: str) -> None:
    """With a place, whatever it is."""
    (problem, *_) = parse(text).problems

    assert problem.message.startswith(message)
    assert problem.line >= 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text(alphabet="ab:{}[]- \n&*!'\"|>#?,", max_size=80))
def test_any_text_is_read_or_refused(text: bytes | str) -> None:
    """Nothing comes out but a document: the one who edits sees what is wrong."""
    assert isinstance(parse(text.encode() if isinstance(text, str) else text), Document)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_line_of_a_machine_may_be_broken(data: Any) -> None:
    """A character taken, put or doubled anywhere gives a machine or a mistake with a place."""
    text = PERMIT_FILE.read_text()
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(["", ":", "x", " ", "\n", "[", "}", "7", "&", text[at] * 2]))

    document = parse((text[:at] + put + text[at + 1 :]).encode())

    assert document.value is not None or document.problems
    for each in document.problems:
        assert 1 <= each.line <= text.count("\n") + 3
        document.excerpt(each)


def test_a_file_is_packed_as_data(tmp_path: Path) -> None:
    """Comments and layout are no part of the hash; the states are."""
    plain, told, other = (tmp_path / f"{name}.yaml" for name in ("plain", "told", "other"))
    plain.write_text(SMALL)
    told.write_text(
        "# why\n" + SMALL.replace("{owner: x, next: B}", "\n    owner: x\n    next: B")
    )
    other.write_text(SMALL.replace("owner: x", "owner: y"))

    packs = [pack(each) for each in (plain, told, other)]

    assert packs[0] == packs[1]
    assert packs[0].hash != packs[2].hash
    assert packs[0].workflows == ("small",)
    (flow,) = load(packs[0].data, packs[0].hash).values()
    assert isinstance(flow, MotionWorkflow)
    assert flow.machine == load_document(plain).value
    assert open_pack(packs[0].data) == packs[0]


def test_a_changed_document_is_refused() -> None:
    """Its digest stands in the manifest, whose hash is the definition's name."""
    packed = pack_document(PERMIT_FILE)
    content = unpack(packed.data, packed.hash)
    (entry,) = content.manifest.documents

    assert content.documents[entry.name] == msgspec.json.encode(PERMIT).decode()
    with pytest.raises(BadValueError):
        unpack(packed.data, "0" * 32)


async def test_files_are_registered_beside_each_other() -> None:
    """A newer one is the latest; the one before is still found by its hash."""
    definitions = Definitions(MemoryDefinitionStore())
    first = pack_document(PERMIT_FILE)
    await definitions.register(first)

    digest, flow = await definitions.latest("permit")

    assert digest == first.hash
    assert isinstance(flow, MotionWorkflow)
    assert flow.machine == PERMIT


PYTHON: Final = """\
import movant

small = movant.Machine(
    name="small",
    initial="A",
    states={
        "A": movant.State(owner="x", next="B"),
        "B": movant.State(terminal=True),
    },
)
again = small
"""


def test_a_machine_in_python_is_registered_like_a_workflow(tmp_path: Path) -> None:
    """Under however many names it stands; content-addressed like all Python."""
    file = tmp_path / "small.py"
    file.write_text(PYTHON)

    packed = pack(file)

    assert packed.workflows == ("small",)
    (flow,) = load(packed.data, packed.hash).values()
    assert isinstance(flow, MotionWorkflow)
    assert flow.machine == parse(SMALL.encode()).value
    assert validate(file) == []


def test_a_wrong_machine_in_python_is_refused_with_its_line(tmp_path: Path) -> None:
    """The line of its name, and every mistake by its path."""
    file = tmp_path / "small.py"
    file.write_text(PYTHON.replace('next="B"', 'next="C"'))

    (problem,) = validate(file)

    assert (problem.file, problem.line) == (str(file), 4)
    assert "states.A.next[0]: there is no state 'C'" in problem.message
    with pytest.raises(ConfigurationError):
        pack(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """As for a Python file."""
    with pytest.raises(NotFoundError):
        pack(tmp_path / "none.yaml")
    assert [each.severity for each in validate(tmp_path / "none.yaml")] == ["error"]


def test_errors_of_a_file_name_file_line_and_column(tmp_path: Path) -> None:
    """The daemon that loads it at its start says where."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.replace("onwer", "owner").replace("next: B", "next: C"))

    with pytest.raises(ConfigurationError, match=r"small\.yaml:4:23: there is no state 'C'"):
        pack(file)


def test_a_machine_survives_its_own_json() -> None:
    """What is stored is what was written, in every field."""
    assert msgspec.json.decode(msgspec.json.encode(PERMIT), type=Machine) == PERMIT
