"""Tables in the documentation that are made from the code.

    python -m tests.docs.tables

writes them anew between ``<!-- table: name -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from actors.definitions.templates import Head
from protocols import directives, error_kinds
from protocols.api import runs as api
from protocols.connectors import browser as connector_browser
from protocols.connectors import connector as connectors
from protocols.connectors import http as connector_http
from protocols.connectors import llm as connector_llm
from protocols.connectors import mail as connector_mail
from protocols.connectors import mcp as connector_mcp
from protocols.connectors import sql as connector_sql
from protocols.connectors import subprocess as connector_subprocess
from protocols.gates.gate import Escalation, Gate, Notify
from protocols.graphs.fallback import Fallback
from protocols.graphs.graph import Defaults, Field, Graph, GraphStep, GraphUndo
from protocols.graphs.profile import Limits, Profile
from protocols.graphs.sleep import GraphSleep
from protocols.guardrails.budgets import Amounts, Budget
from protocols.guardrails.check import RuleSet
from protocols.guardrails.guardrail import Allowed, Guardrail
from protocols.machines.machine import Hook, Machine, Next, State
from protocols.policy import Retry
from protocols.routes import RouteSpec, RoutingTable, ServiceFacts
from protocols.triggers import (
    Dst,
    Manual,
    MessageSource,
    Schedule,
    Trigger,
    TriggerFile,
    Webhook,
)
from runtime.cli import failures
from runtime.server import accounts
from tests import features
from tests import hazards as known

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
MARKED: Final = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def verbs() -> str:
    """Return the verbs of the API with their fields."""
    return table(
        ("verb", "does", "request", "result"),
        [
            (f"`{name}`", each.summary.lower(), _fields(each.request), _fields(each.result))
            for name, each in api.VERBS.items()
        ],
    )


def errors() -> str:
    """Return the codes of errors with the numbers that NATS micro clients see."""
    return table(
        ("code", "number", "meaning"),
        [
            (f"`{kind.code}`", str(number), _first_line(kind))
            for kind, number in sorted(api.SERVICE_CODES.items(), key=lambda item: item[1])
            if kind.code != "movant.error"
        ],
    )


def permissions() -> str:
    """Return who may publish and subscribe what."""
    return table(
        ("user", "account", "for", "may publish", "may subscribe"),
        [
            (
                each.name,
                each.account,
                each.purpose,
                (_quoted(each.publish) or "everything")
                + (" and replies to requests" if each.responds else ""),
                _quoted(each.subscribe) or "everything",
            )
            for each in accounts.users()
        ],
    )


def may() -> str:
    """Return what each kind of user may do, as variables of a server configuration."""
    lines = []
    for each in accounts.users():
        if each.publish:
            lines += [f"{each.name.upper()}_MAY {{", f"  publish: {_listed(each.publish)}"]
            lines.append(f"  subscribe: {_listed(each.subscribe)}")
            lines += ['  allow_responses: {max: 100, expires: "2m"}'] if each.responds else []
            lines.append("}")
    return _fenced(lines)


def account_blocks() -> str:
    """Return the accounts of a server configuration; their users are variables."""
    names = [each.name for each in accounts.users()]
    lines = ["accounts {"]
    for name, account in accounts.accounts(dict.fromkeys(names, "")).items():
        lines += [f"  {name} {{", f"    users: ${name}_USERS"]
        lines += ["    jetstream: enabled"] if "jetstream" in account else []
        for key in ("exports", "imports"):
            if key in account:
                lines += [f"    {key}: [", *(f"      {_flow(each)}" for each in account[key])]
                lines.append("    ]")
        lines.append("  }")
    return _fenced([*lines, "}"])


def exits() -> str:
    """Return the exit codes of the command line."""
    text = failures.EXIT_CODES.replace("\n", " ").removeprefix("Exit codes: ").rstrip(".")
    return table(("exit code", "meaning"), [each.split(" ", 1) for each in text.split(", ")])


def hazards() -> str:
    """Return every hazard with the tests that provoke it."""
    found = known.tests()
    return table(
        ("hazard", "what would happen", "tests"),
        [
            (name, text, " ".join(f"`{each}`" for each in found.get(name, ())) or "-")
            for name, text in known.HAZARDS.items()
        ],
    )


def shown(area: str) -> Callable[[], str]:
    """Return what makes the table of what movant can do in an area, with the tests of each."""

    def made() -> str:
        return table(
            ("capability", "tests"),
            [(text, _quoted(names.split())) for text, names in features.AREAS[area].items()],
        )

    return made


def missing() -> str:
    """Return what movant cannot do, and what there is instead."""
    return table(("missing", "instead"), features.MISSING.items())


def kinds() -> str:
    """Return the error kinds with the statuses and words that mean them, and what they lead to."""
    statuses: dict[str, list[str]] = {kind: [] for kind in error_kinds.KINDS}
    for code in range(400, 600):
        if code in error_kinds.NAMED_STATUSES or code in {404, 409, 500}:
            statuses[error_kinds.kind_of_status(code)].append(str(code))
    words = {
        kind: [alias for alias, of in error_kinds.ALIASES.items() if of == kind]
        for kind in error_kinds.KINDS
    }
    return table(
        ("kind", "also called", "statuses", "by default"),
        [
            (
                f"`{kind}`",
                _quoted(words[kind]) or "-",
                " ".join(statuses[kind]) or "-",
                f"`{directives.BY_KIND[kind].do}`",
            )
            for kind in error_kinds.KINDS
        ],
    )


def keys(kind: type[Any]) -> Callable[[], str]:
    """Return what makes the table of a part's keys: what each holds, its default, what it is.

    Keys that every connector has are left out of those of its kinds: they have their own table.
    """

    def made() -> str:
        beyond = issubclass(kind, connectors.Connector) and kind is not connectors.Connector
        before = _by_name(connectors.Connector) if beyond else {}
        return table(
            ("key", "holds", "default", "what it is"),
            [
                (f"`{name}`", _holds(field.type), _default(field), _described(field.type))
                for name, field in _by_name(kind).items()
                if name not in before or field.default != before[name].default
            ],
        )

    return made


def _by_name(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field for field in msgspec.structs.fields(kind)}


PARTS: Final[dict[str, type[Any]]] = {
    "graph": Graph,
    "step": GraphStep,
    "defaults": Defaults,
    "field": Field,
    "undo": GraphUndo,
    "retry": Retry,
    "directive": directives.Directive,
    "gate": Gate,
    "guardrail": Guardrail,
    "allow": Allowed,
    "budget": Budget,
    "estimate": Amounts,
    "escalate": Escalation,
    "notify": Notify,
    "fallback": Fallback,
    "profile": Profile,
    "limits": Limits,
    "sleep": GraphSleep,
    "connector": connectors.Connector,
    "http": connector_http.HttpConnector,
    "http_operation": connector_http.HttpOperation,
    "http_auth": connector_http.HttpAuth,
    "http_oauth2": connector_http.OAuth2,
    "llm": connector_llm.LlmConnector,
    "llm_provider": connector_llm.LlmProvider,
    "llm_model": connector_llm.LlmModel,
    "llm_task": connector_llm.LlmTask,
    "llm_request": connector_llm.LlmRequest,
    "sql": connector_sql.SqlConnector,
    "sql_operation": connector_sql.SqlOperation,
    "sql_statement": connector_sql.SqlStatement,
    "mail": connector_mail.MailConnector,
    "mail_template": connector_mail.MailTemplate,
    "subprocess": connector_subprocess.SubprocessConnector,
    "subprocess_command": connector_subprocess.Command,
    "mcp": connector_mcp.McpConnector,
    "mcp_tool": connector_mcp.McpTool,
    "browser": connector_browser.BrowserConnector,
    "trigger": Trigger,
    "schedule": Schedule,
    "dst": Dst,
    "webhook": Webhook,
    "message": MessageSource,
    "manual": Manual,
    "trigger_file": TriggerFile,
    "template": Head,
    "machine": Machine,
    "state": State,
    "next": Next,
    "hook": Hook,
    "routes": RoutingTable,
    "route": RouteSpec,
    "route_service": ServiceFacts,
    "rule_set": RuleSet,
}
"""What is written in files, by the name of the table of its keys."""
TABLES: Final[dict[str, Callable[[], str]]] = {
    "verbs": verbs,
    "errors": errors,
    "permissions": permissions,
    "exits": exits,
    "may": may,
    "accounts": account_blocks,
    "hazards": hazards,
    "kinds": kinds,
    **{name: keys(part) for name, part in PARTS.items()},
    **{area: shown(area) for area in features.AREAS},
    "missing": missing,
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(each)} |" for each in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def renewed(text: str) -> str:
    """Return a page with its tables made anew."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[4], text)


def pages() -> list[Path]:
    """Return every page of the documentation."""
    return [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *sorted(DOCS.glob("*.md")),
    ]


def _fenced(lines: Sequence[str]) -> str:
    return "\n".join(["```", *lines, "```", ""])


def _listed(subjects: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{each}"' for each in subjects) + "]"


def _flow(value: Any) -> str:
    """Return a value as a server configuration has it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(each) for each in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if set("*>$.") & set(value) else str(value)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0].replace("``", "`")


def _fields(struct: type[Any]) -> str:
    names = [
        field.name if field.required else f"{field.name}?"
        for field in msgspec.structs.fields(struct)
    ]
    return " ".join(f"`{name}`" for name in names) or "-"


_WORDS: Final[dict[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    Any: "any value",
}


_DURATION: Final = ("number", "text")


def _holds(kind: Any) -> str:
    """Return what a key may hold, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _holds(inner[0])
    if origin in {Union, UnionType}:
        told = dict.fromkeys(_holds(each) for each in inner if each is not type(None))
        if {"number", "text"} <= told.keys():
            told = dict.fromkeys(("duration", *(each for each in told if each not in _DURATION)))
        return " or ".join(told)
    if origin is Literal:
        return " ".join(f"`{each}`" for each in inner)
    if origin is tuple:
        return f"list of {_holds(inner[0])}"
    if origin is dict:
        return f"names with {_holds(inner[1])}"
    name = re.sub(
        r"^(Graph|Http|Llm|Mail|Mcp|Sql|State(?=Undo)|Service(?=Facts))|(?<=Route)Spec$",
        "",
        getattr(kind, "__name__", "value"),
    )
    return _WORDS.get(kind) or name.lower()


def _described(kind: Any) -> str:
    told = (each.description for each in get_args(kind) if isinstance(each, msgspec.Meta))
    return next((each for each in told if each), "-")


def _default(field: Any) -> str:
    if field.required:
        return "must be there"
    if not field.default or field.default in {msgspec.UNSET, msgspec.NODEFAULT}:
        return "`false`" if field.default is False else "-"
    if isinstance(field.default, msgspec.Struct):
        return _differences(field.default)
    return f"`{msgspec.json.encode(field.default).decode()}`"


def _differences(part: msgspec.Struct) -> str:
    """Return what of a part is not as its own table says."""
    told = {
        name: getattr(part, name)
        for name, field in _by_name(type(part)).items()
        if getattr(part, name) != field.default
    }
    return f"`{msgspec.json.encode(told).decode()}`" if told else "-"


def _quoted(subjects: Sequence[str]) -> str:
    return " ".join(f"`{each}`" for each in subjects)


def main() -> None:
    """Write the tables of all pages."""
    for page in pages():
        page.write_text(renewed(page.read_text()))


if __name__ == "__main__":
    main()
