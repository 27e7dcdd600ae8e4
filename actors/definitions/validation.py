"""Validation: what is wrong with a workflow file, found before it is deployed.

Errors are what would stop a deployment. Warnings are traps: code that runs, but would give
another result at the next fold, because it asks the world and not the mailbox.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_type_hints

import msgspec

from actors.definitions.bundle import Packed
from actors.definitions.imports import canonical, find, parse
from actors.definitions.loading import load, loaded, unload
from actors.definitions.packing import DOCUMENTS, locate, pack
from actors.definitions.shared_rules import named_in, own_rules
from protocols.definition import Workflow
from protocols.errors import ConfigurationError, MovantError
from protocols.findings import did_you_mean
from protocols.subjects import check_name

if TYPE_CHECKING:
    from actors.files.yaml_struct import Document

_PARAMETERS: Final = 2
_WHERE: Final = re.compile(r"(?P<file>[^:\n]+\.py):(?P<line>\d+)(:(?P<column>\d+))?: ")

_TRAPS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (
            r"time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|localtime|gmtime)$",
            "ctx.now()",
        ),
        (r"datetime\.(datetime|date)\.(now|utcnow|today)$", "ctx.now()"),
        (r"time\.sleep$", "await ctx.sleep(seconds)"),
        (r"(asyncio|trio|anyio)\.sleep\w*$", "await ctx.sleep(seconds)"),
        (r"(asyncio|trio|anyio)\.", "ctx.gather, ctx.race or ctx.scope"),
        (r"(random|secrets)\.", "ctx.random()"),
        (r"os\.urandom$", "ctx.random()"),
        (r"uuid\.uuid[14]$", "ctx.random()"),
        (r"os\.(getenv|environ\.get)$", "the workflow's input"),
        (r"(open|input|pathlib\.Path\.\w+)$", "await ctx.run(function) or await ctx.call(...)"),
        (
            r"(requests|httpx|aiohttp|urllib|socket|subprocess|sqlite3|boto3)\.",
            "await ctx.call(service, operation, ...)",
        ),
        (r"threading\.", "ctx.gather"),
    )
)
_LOCAL_STEPS: Final = frozenset({"run"})
"""Methods of ctx whose arguments run outside of the fold: there everything is allowed."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. ``line`` and ``column`` begin at 1."""

    file: str
    line: int
    column: int
    message: str
    hint: str
    severity: Literal["error", "warning"] = "error"
    excerpt: str = ""
    """The line, and below it a caret, as text to be shown; empty: look into the file."""


class _Scan(NamedTuple):
    """A parsed entry module: its functions by name, and what its imports call things."""

    file: Path
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]
    aliases: dict[str, str]


def validate(source: Path | str, roots: Sequence[Path] = ()) -> list[Problem]:
    """Return all problems of a workflow file, package or module, errors first.

    Never raises for what is wrong with the source; the code is loaded once, not run.
    """
    if str(source).endswith(DOCUMENTS):
        from actors.files.definitions import load_document  # noqa: PLC0415 - YAML is not for Python

        return problems_of(source, load_document)
    try:
        entries, search = locate(source, roots)
        files = [file for entry in entries if (file := find(entry, search)) is not None]
        scans = [_scan(file) for file in files]
    except MovantError as error:
        return [_problem(error, str(source))]
    problems = [problem for scan in scans for problem in _traps(scan)]
    problems += [problem for scan in scans for problem in _signatures(scan)]
    try:
        packed = pack(source, roots)
    except MovantError as error:
        # When the syntax tree shows an error, loading only says the same in other words.
        if all(problem.severity != "error" for problem in problems):
            problems.append(_problem(error, str(files[0])))
    else:
        problems += _types(packed, scans)
    return sorted(problems, key=lambda item: (item.severity, item.file, item.line, item.column))


def problems_of(
    source: Path | str, load_document: Callable[[Path | str], Document[Any]]
) -> list[Problem]:
    """Return all problems of a file of data, errors first. Never raises for what is wrong."""
    try:
        document = load_document(source)
    except MovantError as error:
        return [_problem(error, str(source))]
    found = [
        Problem(
            file=str(source),
            line=each.line,
            column=each.column,
            message=each.message,
            hint=each.hint,
            severity=each.severity,
            excerpt=document.excerpt(each),
        )
        for each in document.problems
    ]
    return sorted(found, key=lambda each: (each.severity, each.line, each.column))


def _problem(error: MovantError, file: str) -> Problem:
    found = _WHERE.match(error.message)
    return Problem(
        file=found["file"] if found else file,
        line=int(found["line"]) if found else 1,
        column=int(found["column"] or 1) if found else 1,
        message=error.message[found.end() :] if found else error.message,
        hint=error.hint,
    )


def _at(scan: _Scan, node: ast.expr | ast.stmt | ast.arg, message: str, hint: str) -> Problem:
    return Problem(
        file=str(scan.file),
        line=node.lineno,
        column=node.col_offset + 1,
        message=message,
        hint=hint,
    )


def _scan(file: Path) -> _Scan:
    tree = parse(canonical(file), file)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    aliases: dict[str, str] = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            functions[statement.name] = statement
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                aliases[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return _Scan(file, functions, aliases)


def _decorator(scan: _Scan, function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
    """Return the @workflow of a function, if it has one."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _dotted(called, scan.aliases).rpartition(".")[2] == "workflow":
            return decorator
    return None


def _signatures(scan: _Scan) -> Iterator[Problem]:
    for function in scan.functions.values():
        decorator = _decorator(scan, function)
        if decorator is None:
            continue
        if isinstance(function, ast.FunctionDef):
            yield _at(
                scan,
                function,
                f"workflow {function.name!r} is not async",
                f"write: async def {function.name}(ctx: Context, input: ...)",
            )
        arguments = function.args
        given = len(arguments.posonlyargs) + len(arguments.args)
        if given > _PARAMETERS or given < 1 or arguments.kwonlyargs or arguments.vararg:
            yield _at(
                scan,
                function,
                f"workflow {function.name!r} does not take (ctx, input)",
                f"write: async def {function.name}(ctx: Context, input: ...); "
                "several values go into one Struct",
            )
        yield from _names(scan, decorator)


def _names(scan: _Scan, decorator: ast.expr) -> Iterator[Problem]:
    if not isinstance(decorator, ast.Call):
        return
    values = [*decorator.args[:1], *(k.value for k in decorator.keywords if k.arg == "name")]
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            try:
                check_name(value.value, "workflow name")
            except MovantError as error:
                yield _at(scan, value, error.message, error.hint)


def _traps(scan: _Scan) -> Iterator[Problem]:
    """Look for calls that no fold can repeat, in workflows and what they call in this module."""
    waiting = [name for name, node in scan.functions.items() if _decorator(scan, node)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for call in _calls(scan.functions[name]):
            called = _dotted(call.func, scan.aliases)
            if called in scan.functions:
                waiting.append(called)
                continue
            hint = next((hint for pattern, hint in _TRAPS if pattern.match(called)), None)
            if hint is not None:
                yield msgspec.structs.replace(
                    _at(
                        scan,
                        call,
                        f"{called}() gives another result at every fold",
                        f"use {hint} instead",
                    ),
                    severity="warning",
                )


def _calls(function: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that happen in the fold: not those handed to ``ctx.run``."""
    outside = {
        argument.id
        for node in ast.walk(function)
        if _runs_outside(node)
        for argument in node.args  # type: ignore[attr-defined]  # _runs_outside is true for calls only
        if isinstance(argument, ast.Name)
    }
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if _runs_outside(node):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in outside:
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def _runs_outside(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _LOCAL_STEPS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "ctx"
    )


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """Return the full name that an expression calls, or nothing when it has none."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, aliases)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Call):  # Path("x").read_text()
        return _dotted(node.func, aliases)
    return ""


def _types(packed: Packed, scans: Sequence[_Scan]) -> Iterator[Problem]:
    known = loaded(packed.hash)
    try:
        flows = load(packed.data, packed.hash)
        for flow in flows.values():
            yield from _flow_types(flow, scans)
        yield from _guardrails(flows.values(), scans)
    finally:
        if not known:
            unload(packed.hash)


def _guardrails(flows: Iterable[Workflow[Any]], scans: Sequence[_Scan]) -> Iterator[Problem]:
    """Look at the names of guardrails: one that is not near to any may be that of a shared one."""
    known = [name for flow in flows for name in own_rules(flow)]
    for each in named_in({str(scan.file): canonical(scan.file) for scan in scans}):
        if each.name not in known:
            near = did_you_mean(each.name, known)
            sure = near.startswith("did you mean")
            yield Problem(
                file=each.module,
                line=each.line,
                column=each.column,
                message=f"there is no guardrail {each.name[:60]!r}",
                hint=near if sure else "define it, or 'movant guardrail register' it",
                severity="error" if sure else "warning",
            )


def _flow_types(flow: Workflow[Any], scans: Sequence[_Scan]) -> Iterator[Problem]:
    function = inspect.unwrap(flow.function)
    code = function.__code__
    file = next(
        (str(scan.file) for scan in scans if function.__name__ in scan.functions),
        code.co_filename,
    )
    at = Problem(file=file, line=code.co_firstlineno, column=1, message="", hint="")
    try:
        get_type_hints(function)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        yield msgspec.structs.replace(
            at,
            message=f"an annotation of {flow.name!r} cannot be resolved: {error}",
            hint="import or define the type at module level, not under TYPE_CHECKING",
        )
        return
    try:
        flow.input_schema()
    except (TypeError, ValueError, RuntimeError, ConfigurationError) as error:
        yield msgspec.structs.replace(
            at,
            message=f"the input of {flow.name!r} has no JSON schema: {error}",
            hint="use a msgspec Struct, a dataclass, or plain types that JSON has",
        )
