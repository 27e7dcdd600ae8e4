"""The connector kind ``subprocess``: programs of this machine as operations, never a shell.

    request -> arguments -> program in a process group of its own -> output -> result
                              └─ whatever it has started ends with it

A program gets the key of its step in MOVANT_KEY, so that it can do its work once. Of one that was
stopped, or that fails, nobody can say what it has done, unless its author says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final, NamedTuple

import msgspec
import trio

from protocols import codec
from protocols.connectors.parameters import bind, params_type, request_type
from protocols.connectors.subprocess import Command, SubprocessConnector, argument
from protocols.connectors.template import Values, shown
from protocols.error_kinds import OVER_LIMIT, SYSTEM, TIMED_OUT
from protocols.errors import MovantError
from protocols.failure import REFUSED, TIMEOUT, VALIDATION
from protocols.service import Call, Failed, Refused, Service, Unknown
from runtime.connectors.frame import Check, Opened
from runtime.connectors.secrets import Secrets

STDERR_BYTES: Final = 4_096
"""Of what a program says last on standard error; it is shown with a failure."""
CLOSING_S: Final = 1.0
"""How long pipes are read behind the end of the program: somebody may hold them open for ever."""
_CHUNK: Final = 65_536


@asynccontextmanager
async def opened(
    name: str, settings: SubprocessConnector, secrets: Secrets
) -> AsyncIterator[Opened]:
    """Offer programs as operations."""
    service = Service(name, version="1.0.0", description=settings.description)
    for operation, command in settings.commands.items():
        service.operation(operation)(_operation(settings, command, secrets))
        service.operations[operation] = msgspec.structs.replace(
            service.operations[operation],
            request_type=Any
            if command.params is None
            else request_type(params_type(command.params)),
            description=command.description,
        )

    async def check() -> list[Check]:
        path = _environment(settings, secrets).get("PATH")
        found = {each.run[0]: shutil.which(each.run[0], path=path) for each in commands}
        return [
            Check(what=program, ok=where is not None, detail=where or "there is no such program")
            for program, where in found.items()
        ]

    commands = tuple(settings.commands.values())
    yield Opened(service, check)


class Ended(NamedTuple):
    """How a program ended: its exit code, negative for a signal, and what it has written."""

    code: int
    output: bytes
    errors: bytes
    stopped: str = ""
    """Why it was ended: ``timeout`` or ``over_limit``; empty: it ended by itself."""


def _operation(
    settings: SubprocessConnector, command: Command, secrets: Secrets
) -> Callable[..., Any]:
    kind = None if command.params is None else params_type(command.params)

    async def operation(request: Any, call: Call) -> Any:
        given = msgspec.to_builtins(request) if kind is None else bind(kind, request)
        arguments, stdin = _told(command, given, call)
        left_s = min(call.timeout_s or settings.timeout_s, float(command.timeout or 86_400))
        grace_s = min(float(settings.stop_grace), left_s / 2)
        environment = {
            **_environment(settings, secrets),
            "MOVANT_KEY": call.key,
            "MOVANT_ATTEMPT": str(call.attempt),
            "MOVANT_UNDOES": call.undoes,
            "TRACEPARENT": call.traceparent,
        }
        with _directory(settings, secrets.base) as directory:
            ended = await run(
                arguments,
                stdin,
                directory,
                {name: value for name, value in environment.items() if value},
                seconds=left_s - grace_s,
                grace_s=grace_s,
                output_bytes_max=command.output_bytes_max,
            )
        return _result(command, ended)

    return operation


async def run(
    arguments: list[str],
    stdin: bytes,
    directory: Path,
    environment: Mapping[str, str],
    *,
    seconds: float,
    grace_s: float,
    output_bytes_max: int,
) -> Ended:
    """Run a program to its end, or end it; nothing that it started in its group outlives it.

    Raises Refused when it cannot be started.
    """
    try:
        process = await trio.lowlevel.open_process(
            arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Refused(SYSTEM, f"{arguments[0]} cannot be started: {error}") from error
    reading = _Reading(output_bytes_max)
    stopped = TIMEOUT
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.feed, process, stdin)
            nursery.start_soon(reading.output, process)
            nursery.start_soon(reading.errors, process)
            with trio.move_on_after(seconds):
                stopped = await _until_end(process, reading)
            if stopped:
                await stop(process, grace_s)
            signal_all(process, signal.SIGKILL)  # what it has started and left behind
            nursery.cancel_scope.deadline = trio.current_time() + CLOSING_S
    finally:
        signal_all(process, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            code = await process.wait()
    return Ended(code, bytes(reading.read), bytes(reading.said), stopped)


class _Reading:
    """What goes to a program and comes from it, within limits."""

    def __init__(self, output_bytes_max: int) -> None:
        self.read = bytearray()
        self.said = bytearray()
        self.too_much = trio.Event()
        self._output_bytes_max = output_bytes_max

    async def feed(self, process: trio.Process, stdin: bytes) -> None:
        """Write all it reads."""
        assert process.stdin is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it reads no more
            async with process.stdin as pipe:
                await pipe.send_all(stdin)

    async def output(self, process: trio.Process) -> None:
        """Read what it writes, up to the limit."""
        assert process.stdout is not None
        async with process.stdout as pipe:
            while len(self.read) <= self._output_bytes_max:
                chunk = await pipe.receive_some(_CHUNK)
                if not chunk:
                    return
                self.read += chunk
        self.too_much.set()

    async def errors(self, process: trio.Process) -> None:
        """Read what it says of itself, and keep the end of it."""
        assert process.stderr is not None
        async with process.stderr as pipe:
            while chunk := await pipe.receive_some(_CHUNK):
                self.said += chunk
                del self.said[:-STDERR_BYTES]


async def _until_end(process: trio.Process, reading: _Reading) -> str:
    """Wait until it ends or has written too much; return why it has to be stopped."""
    why = ""

    async def watch() -> None:
        nonlocal why
        await reading.too_much.wait()
        why = OVER_LIMIT
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await exited(process)
        nursery.cancel_scope.cancel()
    return why


async def exited(process: trio.Process) -> None:
    """Wait for its end and leave it unreaped, so that its group keeps its number."""
    if not hasattr(os, "pidfd_open"):
        await process.wait()
        return
    handle = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        os.close(handle)


async def stop(process: trio.Process, grace_s: float) -> None:
    """Ask it to end, and wait for it as long as it may tidy up."""
    signal_all(process, signal.SIGTERM)
    with trio.move_on_after(grace_s):
        await exited(process)


def signal_all(process: trio.Process, number: signal.Signals) -> None:
    """Signal its whole group; before it is reaped, while the number of the group is its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _told(command: Command, request: Any, call: Call) -> tuple[list[str], bytes]:
    """Return arguments and standard input. Raises Refused."""
    values = Values(request, call, str)
    try:
        arguments = [argument(each, values) for each in command.run]
    except ValueError as error:
        raise Refused(VALIDATION, str(error)) from error
    if command.stdin == "json":
        return arguments, msgspec.json.encode(request)
    given = values.get("input") if command.stdin == "text" else None
    absent = given is None or given is msgspec.UNSET
    return arguments, b"" if absent else shown(given).encode()


def _environment(settings: SubprocessConnector, secrets: Secrets) -> dict[str, str]:
    passed = {name: os.environ[name] for name in settings.environment if name in os.environ}
    given = {name: secrets.reveal(text).reveal() for name, text in settings.variables.items()}
    return {**passed, **given}


@contextmanager
def _directory(settings: SubprocessConnector, base: Path) -> Any:
    if settings.directory:
        yield base / Path(settings.directory).expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="movant-run-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def _result(command: Command, ended: Ended) -> Any:
    """Return the result of a program, or raise what its end means."""
    details = {
        "exit_code": ended.code,
        "stderr": ended.errors.decode(errors="replace"),
    }
    if ended.stopped == TIMEOUT:
        kind = TIMED_OUT if command.reads_only else TIMEOUT
        raise _unclear(command, kind, "it took too long and was ended", details)
    if ended.stopped:
        message = f"it wrote more than {command.output_bytes_max} bytes and was ended"
        if command.reads_only:
            raise Refused(OVER_LIMIT, message, details=details)
        raise Unknown(OVER_LIMIT, message, details=details)
    meaning = command.exit_codes.get(str(ended.code), "ok" if ended.code == 0 else "")
    if meaning == "ok":
        try:
            return {"exit_code": ended.code, "output": _output(command, ended.output)}
        except (MovantError, UnicodeDecodeError) as error:
            message = f"its output is not what it should be: {error}"
            raise _unclear(command, SYSTEM, message, details) from error
    outcome, _, kind = meaning.partition(":")
    said = _last_line(details["stderr"]) or (
        f"it ended with exit code {ended.code}"
        if ended.code >= 0
        else f"it was ended by signal {-ended.code}"
    )
    if outcome == "refused":
        raise Refused(kind or REFUSED, said, details=details)
    if outcome == "failed":
        raise Failed(kind or SYSTEM, said, details=details)
    if outcome == "unknown":
        raise Unknown(kind or SYSTEM, said, details=details)
    raise _unclear(command, SYSTEM, said, details)


def _unclear(command: Command, kind: str, message: str, details: Any) -> Exception:
    """Return the answer for an end that says nothing of the effect."""
    answer: Callable[..., Exception] = Failed if command.reads_only else Unknown
    return answer(kind, message, details=details)


def _output(command: Command, written: bytes) -> Any:
    if command.output == "none":
        return None
    if command.output == "json":
        return codec.decode(written)
    text = written.decode()
    return text.splitlines() if command.output == "lines" else text


def _last_line(text: Any) -> str:
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
