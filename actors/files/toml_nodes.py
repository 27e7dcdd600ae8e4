"""TOML as a tree of nodes that know their places, as ``yaml_nodes`` has it for YAML.

The standard library's reader tells no places: they are found again in the text, line by line.
What stands inside a list or an inline table is placed at its key, or exactly where its text
stands in that line.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

from actors.files.yaml_nodes import BYTES_MAX, DEPTH_MAX, Node, YamlProblem

_AT: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)\Z")
_HEAD: Final = re.compile(r"\s*\[\[?(?P<keys>[^\]]+)\]")
_KEY: Final = re.compile(r"""\s*(?P<keys>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=\s*""")
_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Spot = tuple[int, int, int]
"""Line, column and width, from 1."""


def read(text: bytes) -> Node:
    """Return the top node of a document. Raises YamlProblem, as the reader of YAML does."""
    if len(text) > BYTES_MAX:
        raise YamlProblem(f"more than {BYTES_MAX} bytes", 1, 1, "make several files of it")
    try:
        plain = text.decode("utf-8-sig")
        document = tomllib.loads(plain)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise YamlProblem("not readable as UTF-8", line, 1, "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        found = _AT.match(str(error))
        line, column = (int(found["line"]), int(found["column"])) if found else (1, 1)
        said = found["what"] if found else str(error)
        raise YamlProblem(f"no valid TOML: {said}", line, column) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting
        raise YamlProblem(f"no valid TOML: {error}", 1, 1) from error
    keys, values = _places(plain)
    return _node(document, (), keys, values, (1, 1, 1))


def _places(text: str) -> tuple[dict[tuple[str, ...], Spot], dict[tuple[str, ...], Spot]]:
    """Return where each key stands, and where its value does, by the path of keys."""
    keys: dict[tuple[str, ...], Spot] = {}
    values: dict[tuple[str, ...], Spot] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        head = _HEAD.match(line)
        if head is not None:
            table = ()
            for part in _PART.finditer(head["keys"]):
                table = (*table, part[0].strip("\"'"))
                column = head.start("keys") + part.start() + 1
                keys.setdefault(table, (number, column, len(part[0])))
            continue
        found = _KEY.match(line)
        if found is None:
            continue
        path = table
        for part in _PART.finditer(found["keys"]):
            path = (*path, part[0].strip("\"'"))
            column = found.start("keys") + part.start() + 1
            keys.setdefault(path, (number, column, len(part[0])))
        rest = line[found.end() :].partition(" #")[0].rstrip()
        values.setdefault(path, (number, found.end() + 1, max(len(rest), 1)))
    return keys, values


def _node(
    value: Any,
    path: tuple[str, ...],
    keys: dict[tuple[str, ...], Spot],
    values: dict[tuple[str, ...], Spot],
    near: Spot,
) -> Node:
    spot = values.get(path) or keys.get(path) or near
    if len(path) > DEPTH_MAX:
        raise YamlProblem(f"more than {DEPTH_MAX} levels deep", spot[0], spot[1])
    node = Node(None, *spot)
    if isinstance(value, dict):
        node.entries = {}
        for name, each in value.items():
            at = (*path, name)
            key = keys.get(at, spot)
            node.entries[name] = (Node(name, *key), _node(each, at, keys, values, key))
    elif isinstance(value, list):
        node.items = [_node(each, (*path, "[]"), keys, values, spot) for each in value]
    else:
        node.value = value if isinstance(value, str | int | float | bool) else str(value)
    return node
