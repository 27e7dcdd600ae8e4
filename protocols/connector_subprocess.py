"""The settings of a connector to programs of the machine, and how they may be started."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols import connector_parameters
from protocols.connector_parameters import Parameter, ParameterType
from protocols.connectors import Connector, Duration, Open, Part, to_seconds
from protocols.findings import Finding, Place

PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""Where a parameter stands in an argument."""
OUTPUT_BYTES_MAX: Final = 128 * 1024
OUTCOMES: Final = ("ok", "refused", "failed", "unknown")
_CODE: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")
_CODE_MAX: Final = 255
Output = Literal["text", "json", "lines", "none"]


class Command(Part, frozen=True, kw_only=True):
    """One program that may be started, with its arguments; never through a shell."""

    run: Annotated[
        tuple[str, ...],
        Meta(description="Program and arguments; `{name}` in one is a parameter's value."),
    ]
    parameters: Annotated[
        dict[str, ParameterType | Parameter], Meta(description="What a request gives, by name.")
    ] = {}
    stdin: Annotated[
        Literal["none", "json", "text"],
        Meta(description="What it reads: nothing, all parameters as JSON, or `input` as text."),
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
    yield from connector_parameters.findings(command.parameters, (*place, "parameters"))
    if not command.run:
        yield Finding((*place, "run"), "no program is named")
        return
    if PLACE.search(command.run[0]):
        hint = "one command for each program"
        yield Finding((*place, "run", 0), "a request must not choose the program", hint)
    used = {name for each in command.run for name in PLACE.findall(each)}
    for index, each in enumerate(command.run):
        for name in PLACE.findall(each):
            if name not in command.parameters:
                hint = f"write '{name}: text' into 'parameters'"
                yield Finding((*place, "run", index), f"{{{name}}} is no parameter", hint)
    if command.stdin == "text":
        used.add("input")
        if "input" not in command.parameters:
            hint = "write 'input: text' into 'parameters'"
            yield Finding((*place, "stdin"), "there is no parameter 'input' to read", hint)
    for name in command.parameters:
        if name not in used and command.stdin != "json":
            message = f"parameter {name!r} goes nowhere"
            yield Finding((*place, "parameters", name), message, of_key=True)
    yield from _exit_codes(command, (*place, "exit_codes"))


def _exit_codes(command: Command, place: Place) -> Iterator[Finding]:
    for code, meaning in command.exit_codes.items():
        if _CODE.match(code) is None or int(code) > _CODE_MAX:
            message = f"{code!r} is no exit code"
            yield Finding((*place, code), message, "a number to 255", of_key=True)
        outcome, colon, kind = meaning.partition(":")
        if outcome not in OUTCOMES or (colon and (not kind or outcome == "ok")):
            hint = "ok, refused, failed or unknown; a kind behind it, as refused:validation"
            yield Finding((*place, code), f"{meaning[:60]!r} is no outcome", hint)


def argument(template: str, values: dict[str, Any]) -> str:
    """Return an argument with its values in it. Raises ValueError for one that is an option.

    A value that begins with a dash would be an option of the program, and not what its author
    meant: it is refused where nothing stands before it.
    """

    def value(found: re.Match[str]) -> str:
        given = values[found[1]]
        text = given if isinstance(given, str) else _text(given)
        if "\0" in text:
            raise ValueError(f"parameter {found[1]!r} has a null character")
        if found.start() == 0 and text.startswith("-") and isinstance(given, str):
            raise ValueError(f"parameter {found[1]!r} begins with a dash: it would be an option")
        return text

    return PLACE.sub(value, template)


def _text(value: Any) -> str:
    """Return a value as programs read it: JSON, and nothing for null."""
    return "" if value is None else msgspec.json.encode(value).decode()
