"""Hazards of a mailbox that is a history, each provoked against a real server.

A file ``test_s5.py`` or ``test_s5_users.py`` belongs to S5; of the smaller ones, M1 to M11, each
test names its hazard: ``test_m3_…``. What one hazard is, and which tests there are, is a table
on the page about hazards, made from here.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HAZARDS: Final[Mapping[str, str]] = {
    "F1": "a header of a stranger erases mailboxes, forges messages or cancels timers",
    "F2": "a stranger's message id swallows a reply",
    "F3": "after a deployment the same mailbox is folded with other code",
    "F4": "a new owner sends the same attempt to another service",
    "F5": "a frozen owner wakes up and decides over what is not its own any more",
    "F6": "a retry after a timeout has another key and is done a second time",
    "F7": "the checkpoint passes an effect that nobody carried out",
    "F8": "finished runs leave one by one, slower than new ones come",
    "S1": "nobody serves a subject, and nobody sees it",
    "S2": "what may have happened is shown as if it had not",
    "S3": "a reply is lost, and the step stands until its timeout",
    "S4": "a stream that captures everything answers in the service's place",
    "S5": "batches that strangers leave open stop all writers",
    "S6": "a replica that is behind gives a history with a hole",
    "S7": "a client or an owner that tries again is applied twice",
    "S8": "the reader skips or reorders messages over a lost connection",
    "S9": "whoever may write to mailboxes forges timers, decisions or replies",
    "S10": "a second stream takes a part of the mail",
    "S11": "a mailbox that never ends is folded ever more slowly",
    "S12": "a late message or an id used again brings a finished run back",
    "S13": "events of each step triple the writes",
    "M1": "the server's clock steps back",
    "M2": "a value means different things in different languages",
    "M3": "a module that the workflow imports changes under it",
    "M4": "being blocked is remembered, though the code was repaired",
    "M5": "a path is longer than a subject may be",
    "M6": "what a batch leaves in each message is large",
    "M7": "a cron schedule writes into mailboxes",
    "M8": "an id collides with a subject of the owner's",
    "M9": "a question about a run makes it act",
    "M10": "ten thousand children are started one by one",
    "M11": "a fast publisher starves everybody else",
}
HERE: Final = Path(__file__).parent
_FILE: Final = re.compile(r"test_([fs]\d+)(?:_\w+)?\.py")
_SMALL: Final = re.compile(r"test_(m\d+)_")


def tests() -> dict[str, list[str]]:
    """Return the tests of each hazard that has any, as ``file::function``."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(HERE.glob("test_*.py")):
        whole = _FILE.fullmatch(path.name)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                hazard = whole or _SMALL.match(node.name)
                if hazard and node.name.startswith("test_"):
                    found[hazard[1].upper()].append(f"{path.name}::{node.name}")
    return dict(found)
