"""The register's promise: a key has one answer, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from examples.civic.counter import Counter
from examples.civic.model import Inspection, InspectionRequest
from examples.civic.records import Records
from examples.civic.ruling import Case, Refusal
from examples.civic.services import health

NOW = datetime(2024, 3, 1, tzinfo=UTC)
REQUEST = InspectionRequest(business_id="BL-1")
CRASHER = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from examples.civic.model import InspectionRequest
from examples.civic.records import Records
from examples.civic.services.health import schedule

records = Records(Path(sys.argv[1]))
moment = sys.argv[2]

def decide(case):
    ruling = schedule(InspectionRequest(business_id="BL-1"), case)
    if moment == "before commit":
        os.kill(os.getpid(), signal.SIGKILL)
    return ruling

records.answer("key", "op", b"{}", datetime(2024, 3, 1, tzinfo=UTC), decide)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """Return an empty register."""
    return Records(tmp_path / "office.sqlite")


def test_a_repeated_key_gets_the_same_answer_and_one_entry(records: Records) -> None:
    """The second asker hears what the first one heard; both were counted."""
    counter = Counter(records, clock=NOW.timestamp)

    first = counter.serve("key", health.SCHEDULE, REQUEST)
    second = counter.serve("key", health.SCHEDULE, REQUEST)

    assert first == second
    assert _id(first.body) == "HI-2024-001"
    told = records.statistics()
    assert (told.requests, told.keys, told.done, told.done_twice) == (2, 1, 1, 0)


def test_different_keys_get_different_numbers(records: Records) -> None:
    """Two steps with the same body are two documents."""
    counter = Counter(records, clock=NOW.timestamp)

    ids = [_id(counter.serve(key, health.SCHEDULE, REQUEST).body) for key in "abc"]

    assert ids == ["HI-2024-001", "HI-2024-002", "HI-2024-003"]


def test_requests_without_a_key_are_requests_of_their_own(records: Records) -> None:
    """No key is not a key that everybody shares."""
    counter = Counter(records, clock=NOW.timestamp)

    ids = [_id(counter.serve("", health.SCHEDULE, REQUEST).body) for _ in range(2)]

    assert ids == ["HI-2024-001", "HI-2024-002"]


def test_a_refusal_is_kept_and_uses_up_no_number(records: Records) -> None:
    """Asking again does not turn a no into a yes, and numbers stay without gaps."""

    def refuse(_case: Case) -> Refusal:
        return Refusal(kind="no", message="never", details={"a": 1})

    refused = records.answer("a", "op", b"{}", NOW, refuse)
    again = records.answer("a", "op", b"{}", NOW, lambda case: health.schedule(REQUEST, case))
    other = records.answer("b", "op", b"{}", NOW, lambda case: health.schedule(REQUEST, case))

    assert refused == again
    assert again.refusal == Refusal(kind="no", message="never", details={"a": 1})
    assert _id(other.body) == "HI-2024-001"


def test_a_key_with_another_request_is_refused_and_nothing_is_recorded(records: Records) -> None:
    """The old answer would be wrong and a new one would be a second effect."""
    records.answer("a", "op", b'{"x":1}', NOW, lambda case: health.schedule(REQUEST, case))

    said = records.answer("a", "op", b'{"x":2}', NOW, lambda case: health.schedule(REQUEST, case))

    assert said.refusal is not None
    assert said.refusal.kind == "key_reused"
    assert records.statistics().done == 1


def test_a_rule_that_raises_leaves_no_trace(records: Records) -> None:
    """The transaction is rolled back, and the register goes on."""

    def stumble(_case: Case) -> Refusal:
        raise RuntimeError("the clerk stumbled")

    with pytest.raises(RuntimeError):
        records.answer("a", "op", b"{}", NOW, stumble)
    after = records.answer("a", "op", b"{}", NOW, lambda case: health.schedule(REQUEST, case))

    assert _id(after.body) == "HI-2024-001"
    assert records.statistics().done == 1


def test_numbers_begin_anew_every_year(records: Records) -> None:
    """The register's numbers go by year."""
    ids = [
        _id(
            records.answer(
                key,
                "op",
                b"{}",
                datetime(year, 1, 1, tzinfo=UTC),
                lambda case: health.schedule(REQUEST, case),
            ).body
        )
        for key, year in (("a", 2024), ("b", 2025), ("c", 2025))
    ]

    assert ids == ["HI-2024-001", "HI-2025-001", "HI-2025-002"]


def test_threads_with_the_same_key_agree_on_one_answer(tmp_path: Path) -> None:
    """All of them are inside at the same time; one decides."""
    path = tmp_path / "office.sqlite"
    start = threading.Barrier(8)
    decided = []

    def ask(_number: int) -> bytes:
        records = Records(path)

        def decide(case: Case) -> Inspection | Refusal:
            decided.append(case.number)
            return Inspection(inspection_id=case.document("HI"))

        start.wait()
        return records.answer("key", "op", b"{}", NOW, decide).body

    with ThreadPoolExecutor(8) as pool:
        bodies = set(pool.map(ask, range(8)))

    assert len(bodies) == 1
    assert decided == [1]
    assert Records(path).statistics().done == 1


@pytest.mark.parametrize(("moment", "done"), [("before commit", 0), ("after commit", 1)])
def test_a_process_killed_around_the_commit_did_it_once_or_not_at_all(
    tmp_path: Path, moment: str, done: int
) -> None:
    """Whoever asks again afterwards gets document 1, and the journal has one entry."""
    path = tmp_path / "office.sqlite"

    ended = subprocess.run(
        [sys.executable, "-c", CRASHER, str(path), moment],
        check=False,
        timeout=20,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    left = Records(path).statistics().done
    again = Records(path).answer(
        "key", "op", b"{}", NOW, lambda case: health.schedule(REQUEST, case)
    )

    assert ended.returncode == -signal.SIGKILL
    assert left == done
    assert _id(again.body) == "HI-2024-001"
    assert Records(path).statistics().done == 1


def test_a_key_worked_on_twice_would_show(tmp_path: Path, records: Records) -> None:
    """The figure that the demonstration trusts is able to be wrong."""
    import sqlite3  # noqa: PLC0415 - this test alone tampers with the file

    records.answer("a", "op", b"{}", NOW, lambda case: health.schedule(REQUEST, case))
    tampered = sqlite3.connect(tmp_path / "office.sqlite")
    tampered.execute("INSERT INTO journal (key, operation, at) VALUES ('a', 'op', '')")
    tampered.commit()
    tampered.close()

    assert records.statistics().done_twice == 1


def _id(body: bytes) -> str:
    return msgspec.json.decode(body, type=Inspection).inspection_id
