"""The settings of a connector to programs of the machine, and how they may be started."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Annotated, Final, Literal

from msgspec import Meta

from protocols.connectors import parameters as connector_parameters
from protocols.connectors.connector import Connector, Duration, Open, Part, to_seconds
from protocols.connectors.parameters import Params
from protocols.connectors.template import Name, Values, names, parse
from protocols.findings import Finding, Place, did_you_mean

OUTPUT_BYTES_MAX: Final = 128 * 1024
OUTCOMES: Final = ("ok", "refused", "failed", "unknown")
_CODE: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")
_CODE_MAX: Final = 255
Output = Literal["text", "json", "lines", "none"]


class Command(Part, frozen=True, kw_only=True):
    """One program that may be started, with its arguments; never through a shell."""

    run: Annotated[
        tuple[str, ...],
        Meta(description="Program and arguments; `{name}` is a value of the request."),
    ]
    params: Annotated[
        Params | None,
        Meta(
            description="The fields of the request, as of a graph's `input`; others are refused."
        ),
    ] = None
    stdin: Annotated[
        Literal["none", "json", "text"],
        Meta(description="What it reads: nothing, the request as JSON, or its field `input`."),
    ] = "none"
    output: Annotated[
        Output, Meta(description="What its standard output is: a text, JSON, lines, or nothing.")
    ] = "text"
    output_bytes_max: Annotated[
        Annotated[int, Meta(ge=1, le=64 * 1024**2)],
        Meta(description="A program that writes more is ended."),
    ] = OUTPUT_BYTES_MAX
    exit_codes: Annotated[
        dict[str, str],
        Meta(
            description="What an exit code means: `ok`, `refused`, `failed` or `unknown`, "
            "with an error kind behind a colon."
        ),
    ] = {}
    reads_only: Annotated[
        bool,
        Meta(description="It changes nothing: however it ends, it had no effect."),
    ] = False
    timeout: Annotated[
        Duration | None, Meta(description="Less than the connector's, for this command.")
    ] = None
    description: Annotated[str, Meta(description="What it is for, in discovery.")] = ""

    def __post_init__(self) -> None:
        """Read the duration. Raises ValueError."""
        if self.timeout is not None:
            to_seconds(self, "timeout")


class SubprocessConnector(Connector, frozen=True, kw_only=True, tag="subprocess"):
    """Programs of the machine that the connector runs on."""

    commands: Annotated[dict[str, Command], Meta(description="By the name of the operation.")]
    environment: Annotated[
        tuple[str, ...],
        Meta(description="Variables that a program gets from the connector's environment."),
    ] = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
    variables: Annotated[
        dict[str, Open], Meta(description="More variables; secrets as references.")
    ] = {}
    directory: Annotated[
        str,
        Meta(description="Where programs run; empty: each in a new directory, removed after it."),
    ] = ""
    stop_grace: Annotated[
        Duration, Meta(description="How long a program that has to end may tidy up.")
    ] = 2.0

    def __post_init__(self) -> None:
        """Read the durations. Raises ValueError."""
        super().__post_init__()
        to_seconds(self, "stop_grace")

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say."""
        if not self.commands:
            yield Finding(("commands",), "there is no command")
        for name, command in self.commands.items():
            yield from _findings(command, ("commands", name))


def _findings(command: Command, place: Place) -> Iterator[Finding]:
    params = command.params
    yield from connector_parameters.findings(params or {}, (*place, "params"))
    if not command.run:
        yield Finding((*place, "run"), "no program is named")
    used = yield from _arguments(command, (*place, "run"))
    if command.stdin == "text":
        used.add("input")
        if "input" not in (params or {}):
            hint = "write 'input: string' into 'params'"
            yield Finding((*place, "stdin"), "there is no field 'input' to read", hint)
    for name in params or {}:
        if name not in used and command.stdin != "json":
            yield Finding((*place, "params", name), f"{name!r} goes nowhere", of_key=True)
    yield from _exit_codes(command, (*place, "exit_codes"))


def _arguments(command: Command, place: Place) -> Generator[Finding, None, set[str]]:
    """Yield what is wrong with the arguments, and return the fields that they use."""
    used: set[str] = set()
    for index, each in enumerate(command.run):
        try:
            found = {name.partition(".")[0] for name in names(each)} - {"call"}
        except ValueError as error:
            yield Finding((*place, index), str(error))
            continue
        used |= found
        if found and not index:
            hint = "one command for each program"
            yield Finding((*place, index), "a request must not choose the program", hint)
        elif command.params is not None:
            for name in sorted(found - command.params.keys()):
                hint = did_you_mean(name, command.params)
                yield Finding((*place, index), f"{name!r} is not in params", hint)
    return used


def _exit_codes(command: Command, place: Place) -> Iterator[Finding]:
    for code, meaning in command.exit_codes.items():
        if _CODE.match(code) is None or int(code) > _CODE_MAX:
            message = f"{code!r} is no exit code"
            yield Finding((*place, code), message, "a number to 255", of_key=True)
        outcome, colon, kind = meaning.partition(":")
        if outcome not in OUTCOMES or (colon and (not kind or outcome == "ok")):
            hint = "ok, refused, failed or unknown; a kind behind it, as refused:validation"
            yield Finding((*place, code), f"{meaning[:60]!r} is no outcome", hint)


def argument(template: str, values: Values) -> str:
    """Return an argument with its values in it.

    Raises ValueError for a value that begins with a dash where nothing stands before it: it would
    be an option of the program, and not what its author meant. And for a null character.
    """
    text = values.text(template)
    first = next(iter(parse(template)), "")
    if (
        isinstance(first, Name)
        and text.startswith("-")
        and isinstance(values.get(first.path), str)
    ):
        raise ValueError(f"{first.path!r} begins with a dash: it would be an option")
    if "\0" in text:
        raise ValueError("an argument has a null character")
    return text
