"""The examples of the documentation, run as they stand against a real server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
import trio

from protocols import headers
from protocols.ports import Frame
from runtime.cli.service import load_attribute
from tests.docs.tables import DOCS, ROOT
from tests.docs.test_pages import BLOCK
from tests.support.configurations import configuration
from tests.support.daemon import daemon, plainly, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

EXAMPLES: Final = DOCS / "examples"
GREET: Final = EXAMPLES / "greet.py"
RUN_S_MAX: Final = 30.0
WAIT_FOR_READY: Final = "until movant status"


@contextmanager
def _process(script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an example until the block ends; it has said that it serves."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / script), *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        yield process
    finally:
        process.kill()
        process.communicate()


async def _lines(script: str, *arguments: str) -> list[str]:
    """Run an example to its end and return what it printed."""
    with trio.fail_after(RUN_S_MAX):
        ended = await trio.run_process(
            [sys.executable, str(EXAMPLES / script), *arguments], capture_stdout=True
        )
    return ended.stdout.decode().splitlines()


async def test_a_service_and_a_client_need_nothing_but_nats(nats_server: NatsServer) -> None:
    """The two scripts of the protocol page play a whole run; a repeated start changes nothing."""
    url = nats_server.url
    async with daemon(url, workflows=[GREET]) as movant:
        with _process("be_a_service.py", url):
            first = await _lines("start_and_watch.py", url, "greet-1")
            again = await _lines("start_and_watch.py", url, "greet-1")
        history = await movant("run.history", id="greet-1")

    kinds = [line.split(" ", 1)[0] for line in first]
    assert sorted(kinds) == ["completed", "outcome", "started", "stored"]
    outcome = msgspec.json.decode(first[-1].split(" ", 1)[1])
    assert outcome["status"] == "completed"
    assert outcome["result"] == ["Ann has arrived", "Ann has arrived"]
    assert [line.split(" ", 1)[0] for line in again] == ["stored", "outcome"]
    assert again[-1] == first[-1]
    assert [each["kind"] for each in history["entries"]] == [
        "start",
        "owner.pinned",
        "reply",
        "timer",
        "reply",
        "start",
    ]


async def test_events_have_the_headers_of_the_page(nats_server: NatsServer) -> None:
    """Each attribute of the table is on the wire, and no other."""
    page = (DOCS / "protocol.md").read_text()
    told = set(re.findall(r"^\| `(ce-[a-z]+)` \|", page, re.MULTILINE))
    seen: list[Frame] = []
    async with daemon(nats_server.url) as movant:
        await movant.transport.subscribe("movant.event.*.echo-1.>", seen.extend)
        await movant.run("probe.echo", 1, id="echo-1")
        await until(lambda: len(seen) == len(("started", "completed")))

    for frame in seen:
        found = headers.decode(frame.headers) or {}
        assert {name for name in found if name.startswith("ce-")} == told
        assert found["ce-source"] == "/movant/workflow/probe.echo"


async def test_a_start_and_a_signal_are_plain_publishes(nats_server: NatsServer) -> None:
    """What the page does with ``nats pub`` works from any client, without an answer."""
    page = (DOCS / "protocol.md").read_text()
    found = re.search(r"^nats pub (movant\.to\.\S+) '(.+)'$", page, re.MULTILINE)
    assert found
    subject, payload = found.groups()
    async with daemon(nats_server.url, workflows=[GREET]) as movant:
        with _process("be_a_service.py", nats_server.url):
            await plainly(
                nats_server.url,
                [
                    (
                        "movant.to.order-1.signal.paid",
                        b'{"amount": 12}',
                        {"Movant-Id": "payment-77"},
                    ),
                    (subject, payload.replace("}", ', "wait_s": 0.01}').encode(), None),
                ],
            )
            view = await movant.ended("order-1")

    assert view["status"] == "completed"


async def test_a_workflow_that_never_ends_goes_on_in_generations(nats_server: NatsServer) -> None:
    """The tally of the concepts page: what it shows is what was voted, across generations."""
    async with daemon(nats_server.url, workflows=[EXAMPLES / "tally.py"]) as movant:
        await movant("run.start", workflow="tally", input={"per_generation": 2}, id="tally-1")
        for choice in ("tea", "coffee", "tea", "tea", "coffee"):
            await movant("run.signal", id="tally-1", name="vote", data=choice)
        view = await movant.view_when(
            "tally-1", lambda view: view["state"]["votes"] == {"tea": 3, "coffee": 2}
        )

    assert view["generation"] == 3
    assert [each["path"] for each in view["waiting"]] == ["/@3/signal.vote#2"]


async def test_a_trip_that_fails_is_undone(nats_server: NatsServer) -> None:
    """The example of the supervision page: all is booked, or nothing."""
    desk = load_attribute(f"{EXAMPLES / 'trip.py'}:desk")
    booked = sys.modules[desk.operations["book"].function.__module__].BOOKED

    async with daemon(
        nats_server.url, workflows=[EXAMPLES / "trip.py"], services=[desk]
    ) as movant:
        good = await movant.run("trip", "train", id="good")
        bad = await movant.run("trip", "balloon", id="trip-1")
        view = await movant("run.show", id="trip-1")
        excursion = await movant.run("excursion", id="excursion-1")
        holiday = await movant.run("holiday", "balloon", id="holiday-1")

    assert holiday["status"] == "compensated"
    assert [each["fate"] for each in holiday["steps"]] == ["undone"]
    assert excursion["result"] == ["bus booked"]
    assert [each["fate"] for each in excursion["steps"]] == ["done", "undone"]
    assert good["result"] == ["hotel booked", "flight booked", "train booked"]
    assert bad["status"] == "compensated"
    assert bad["failure"]["kind"] == "too_windy"
    assert [(each["path"], each["fate"]) for each in view["steps"]] == [
        ("/desk.book", "undone"),
        ("/desk.book#2", "undone"),
    ]
    assert sorted(booked.values()) == ["bus", "flight", "hotel", "train"]


async def test_the_permissions_of_the_page_are_enough_and_not_more(
    nats_binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With these users a run completes, and a client cannot cancel behind the API's back."""
    for user in ("daemon", "admin", "client", "service", "monitor"):
        monkeypatch.setenv(f"{user.upper()}_PASSWORD", f"secret-of-{user}")
    with NatsServer(nats_binary, extra=configuration("passwords")) as server:
        address = server.url.removeprefix("nats://")
        as_user = {
            name: f"nats://{name}:secret-of-{name}@{address}"
            for name in ("daemon", "admin", "client", "service")
        }
        async with daemon(as_user["daemon"], workflows=[GREET]) as movant:
            with _process("be_a_service.py", as_user["service"]):
                lines = await _lines("start_and_watch.py", as_user["client"], "greet-1")
            await plainly(
                as_user["client"],
                [
                    ("movant.to.greet-2.control.cancel", b"", None),
                    ("movant.to.greet-2.signal.allowed", b"", None),
                ],
            )
            stored = await movant("run.history", id="greet-2")

    assert '"completed"' in lines[-1]
    assert [each["kind"] for each in stored["entries"]] == ["signal"]


@pytest.mark.slow
def test_ten_minutes_of_the_readme_work_as_written(nats_binary: str, tmp_path: Path) -> None:
    """Every command of the first workflow in YAML, in one shell: checked, run, decided."""
    section = (ROOT / "README.md").read_text().split("## Your first workflow in ten minutes")[1]
    section = section.split("\n## ")[0]
    blocks = [(found[1], found[2]) for found in BLOCK.finditer(section)]
    graph, connectors = [text for language, text in blocks if language == "yaml"]
    script = "\n".join(text for language, text in blocks if language == "sh")
    work = tmp_path / "work"
    work.mkdir()
    (work / "welcome.yaml").write_text(graph)
    (work / "office.yaml").write_text(connectors)
    # Who types is slower than a script: the gate is open by then.
    script = script.replace("gate show ann\n", "gate show ann || sleep 1\n")

    ended = _shell(["set -e -m", script, "wait"], work, nats_binary)

    assert graph == (EXAMPLES / "welcome.yaml").read_text()
    assert connectors == (EXAMPLES / "office.yaml").read_text()
    assert ended.returncode == 0, ended.stdout + (work / "dev.log").read_text()[-3000:]
    assert "gate  modified by" in ended.stdout
    assert (work / "sent.txt").read_text() == "Dear Ann, come in."
    kinds = re.findall(r"^\d+ +\S+ +(start|reply|control.gate) ", ended.stdout, re.MULTILINE)
    assert kinds == ["start", "reply", "control.gate", "reply"]


@pytest.mark.slow
def test_five_minutes_of_python_work_as_written(nats_binary: str, tmp_path: Path) -> None:
    """Every command of the first workflow in Python, in one shell: the kill too."""
    page = (DOCS / "python.md").read_text()
    python = [found[2] for found in BLOCK.finditer(page) if found[1] == "python"]
    section = page.split("\n## ")[0]
    script = "\n".join(found[2] for found in BLOCK.finditer(section) if found[1] == "sh")
    work = tmp_path / "work"
    work.mkdir()
    (work / "greet.py").write_text(python[0])

    ended = _shell(["set -e -m", script, "wait"], work, nats_binary)

    files = [GREET.read_text(), (EXAMPLES / "basket.py").read_text()]
    assert [each for each in python if not each.startswith(" ")] == files
    assert script.count(WAIT_FOR_READY) == script.count("movant dev")
    assert ended.returncode == 0, ended.stdout + (work / "dev.log").read_text()[-3000:]
    assert '"Ann has arrived",\n  "Ann has arrived"' in ended.stdout
    kinds = re.findall(r"^\d+ +\S+ +(start|reply|timer) ", ended.stdout, re.MULTILINE)
    assert kinds == ["start", "reply", "timer", "reply"]
    announced = re.findall(r"key (bob\S+)$", (work / "hall.log").read_text(), re.MULTILINE)
    assert announced == ["bob/1/hall.announce", "bob/1/hall.announce#2"]


def _shell(lines: Sequence[str], work: Path, nats_binary: str) -> subprocess.CompletedProcess[str]:
    """Run lines in one bash with a state directory of its own; end what it leaves behind."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    path = [str(Path(sys.executable).parent), str(Path(nats_binary).parent), os.environ["PATH"]]
    process = subprocess.Popen(
        [bash, "-c", "\n".join(["trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", *lines])],
        cwd=work,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("MOVANT_")},
            "PATH": os.pathsep.join(path),
            "XDG_STATE_HOME": str(work / "state"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=100.0)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output)


@pytest.mark.slow
def test_a_copied_store_is_a_backup(nats_binary: str, tmp_path: Path) -> None:
    """A daemon on a copy of the store knows the runs of the original."""
    work = tmp_path / "work"
    work.mkdir()
    lines = [
        "set -e -m",
        "serve() { movant dev --store $1 2>> dev.log &",
        "until movant status --store $1 > /dev/null 2>&1; do sleep 0.2; done; }",
        "serve original",
        "movant run start hello -i name=Ann -i wait_s=0.01 --id first --wait --store original",
        "kill %1; wait",
        "cp -a original copy",
        "rm -r original",
        "serve copy",
        "movant run show first --store copy -o json",
        "kill $(jobs -p); wait",
    ]

    ended = _shell(lines, work, nats_binary)

    assert ended.returncode == 0, ended.stdout
    assert '"status": "completed"' in ended.stdout


def test_the_service_of_the_example_can_be_hosted() -> None:
    """The page's ``greet.py:hall`` is what ``movant service run`` expects."""
    hall = load_attribute(f"{GREET}:hall")

    assert list(hall.operations) == ["announce"]
