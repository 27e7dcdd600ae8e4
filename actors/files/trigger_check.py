"""What is wrong with triggers: found before they are deployed, with place and advice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from actors.schedule import crontab, until, zone_of
from protocols.conditions import Condition, ConditionError
from protocols.findings import Finding, Place, did_you_mean
from protocols.found_references import found_in, problems
from protocols.references import WrongReference
from protocols.subjects import is_id, is_name
from protocols.triggers import (
    KEY_CHARS_MAX,
    KINDS,
    NAME_CHARS_MAX,
    TRIGGERS_MAX,
    MessageSource,
    Schedule,
    Trigger,
    TriggerFile,
    Webhook,
    named,
)

ROOTS: Final = {
    "schedule": ("trigger",),
    "webhook": ("trigger", "body", "headers", "query"),
    "message": ("trigger", "payload", "headers", "subject"),
    "manual": ("trigger",),
}
"""What references and conditions of a trigger may look at, by its kind."""
_NOT_OF: Final = (
    ("manual", ("id", "signal", "when", "input"), "who starts by hand says all of it"),
    ("schedule", ("id", "signal"), "the run's id is made of the due time"),
)
"""Keys that a kind does not take."""
_PATH: Final = re.compile(r"/[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*\Z")
_PATH_CHARS_MAX: Final = 200
_OWN_PATHS: Final = ("/healthz", "/readyz")
_PLACE: Final = r"(?:env:[A-Za-z_][A-Za-z0-9_]*|file:/[^\0{}]+)"
_REFERENCE: Final = re.compile(rf"{_PLACE}\Z|\$\{{{_PLACE}\}}\Z")
"""With or without the braces that it has in the files of connectors."""
_SUBJECT_CHARS_MAX: Final = 200
_STREAM: Final = re.compile(r"[^\s.*>/\\]{1,128}\Z")


def check_file(file: TriggerFile) -> list[Finding]:
    """Return everything that is wrong with a file of triggers."""
    found = [*check(file.workflow, file.triggers)]
    if not is_name(file.workflow):
        found.append(Finding(("workflow",), f"{file.workflow[:60]!r} is no name of a workflow"))
    return found


def check(workflow: str, triggers: Sequence[Trigger]) -> Iterator[Finding]:
    """Return what is wrong with the triggers of a workflow."""
    if len(triggers) > TRIGGERS_MAX:
        yield Finding(("triggers",), f"{len(triggers)} triggers", f"at most {TRIGGERS_MAX}")
        return
    seen: dict[str, int] = {}
    for index, (each, armed) in enumerate(zip(triggers, named(workflow, triggers), strict=True)):
        at: Place = ("triggers", index)
        if armed.key in seen:
            message = f"the name {each.name or each.kind!r} is that of trigger {seen[armed.key]}"
            yield Finding((*at, "name"), message, "choose another name")
        seen.setdefault(armed.key, index + 1)
        long = len(each.name) > NAME_CHARS_MAX or len(armed.key) > KEY_CHARS_MAX
        if (each.name and not is_id(each.name)) or long:
            hint = f"letters, digits, '_' and '-', {NAME_CHARS_MAX} at most; with the workflow "
            yield Finding(
                (*at, "name"),
                f"{each.name[:60] or armed.key[:60]!r} is no name of a trigger",
                f"{hint}{KEY_CHARS_MAX}",
            )
        yield from _one(each, at)


def problem(armed_trigger: Trigger) -> str:
    """Return the first thing that is wrong with one trigger; empty: nothing."""
    found = next((x for x in _one(armed_trigger, ()) if x.severity == "error"), None)
    return "" if found is None else found.message


def _one(trigger: Trigger, at: Place) -> Iterator[Finding]:
    kinds = trigger.kinds
    if not kinds:
        words = ", ".join(repr(each) for each in KINDS)
        yield Finding(at, "the trigger never fires", f"write one of {words}")
        return
    for other in kinds[1:]:
        message = f"{other!r} stands beside {kinds[0]!r}"
        yield Finding((*at, other), message, "make two triggers of it", of_key=True)
    if trigger.times is not None:
        yield from _schedule(trigger.times, (*at, "schedule"))
    if trigger.hook is not None:
        yield from _webhook(trigger.hook, (*at, "webhook"))
    if trigger.source is not None:
        yield from _source(trigger.source, (*at, "message"))
    yield from _start(trigger, kinds[0], at)


def _start(trigger: Trigger, kind: str, at: Place) -> Iterator[Finding]:
    """Look at what a trigger makes of what has come."""
    for owner, keys, hint in _NOT_OF:
        for key in keys if kind == owner else ():
            value = getattr(trigger, key)
            if value is not msgspec.UNSET and value != "":
                yield Finding((*at, key), f"{owner!r} takes no {key!r}", hint, of_key=True)
    yield from _signal(trigger, at)
    roots = ROOTS[kind]
    yield from _template(trigger.id, (*at, "id"), roots)
    if trigger.input is not msgspec.UNSET:
        yield from _template(trigger.input, (*at, "input"), roots)
    if trigger.when:
        yield from _condition(trigger.when, (*at, "when"), roots)


def _signal(trigger: Trigger, at: Place) -> Iterator[Finding]:
    if trigger.signal and not trigger.id:
        yield Finding((*at, "signal"), "a signal needs a run", "write 'id: …'")
    if trigger.signal and not is_name(trigger.signal):
        yield Finding((*at, "signal"), f"{trigger.signal[:60]!r} is no name of a signal")
    if trigger.or_start and not trigger.signal:
        message = "'or_start' belongs to 'signal'"
        yield Finding((*at, "or_start"), message, "without 'signal' it starts anyway", of_key=True)


def _condition(text: str, at: Place, roots: Iterable[str]) -> Iterator[Finding]:
    try:
        condition = Condition(text)
    except ConditionError as error:
        yield Finding(at, error.message, offset=error.column)
        return
    for path in condition.paths:
        there = Finding(at, "", offset=path.column, width=path.width)
        yield from _root(path.parts[0], there, roots)


def _template(value: Any, at: Place, roots: Iterable[str]) -> Iterator[Finding]:
    try:
        found = found_in(value)
    except WrongReference:
        for place, each in problems(value):
            yield Finding((*at, *place), each.message, offset=each.column)
        return
    for place, reference in found:
        for path in reference.paths:
            there = Finding((*at, *place), "", offset=path.column, width=path.width)
            yield from _root(path.parts[0], there, roots)


def _root(root: Any, there: Finding, roots: Iterable[str]) -> Iterator[Finding]:
    if root not in roots:
        yield msgspec.structs.replace(
            there,
            message=f"nothing here is called {str(root)[:60]!r}",
            hint=did_you_mean(str(root), roots),
        )


def _schedule(schedule: Schedule, at: Place) -> Iterator[Finding]:
    if schedule.cron:
        try:
            crontab(schedule.cron)
        except ValueError as error:
            yield Finding((*at, "cron"), str(error), "such as: 30 8 * * mon-fri")
    for key, look in (
        ("zone", lambda: zone_of(schedule.zone)),
        ("until", lambda: until(schedule)),
    ):
        try:
            look()
        except ValueError as error:
            if key == "zone" or "zone" not in str(error):  # told at its place already
                yield Finding((*at, key), str(error))


def _webhook(hook: Webhook, at: Place) -> Iterator[Finding]:
    if not _PATH.match(hook.path) or len(hook.path) > _PATH_CHARS_MAX or ".." in hook.path:
        yield Finding((*at, "path"), f"{hook.path[:60]!r} is no path", "such as: /orders/new")
    elif hook.path in _OWN_PATHS:
        yield Finding((*at, "path"), f"{hook.path} is the daemon's own", "choose another path")
    for key in ("secret", "token"):
        where = getattr(hook, key)
        if where and not _REFERENCE.match(where):
            # Not shown: it may be the secret itself.
            message = f"{key} says where the {key} is, and is not the {key} itself"
            yield Finding((*at, key), message, "write env:NAME or file:/path")


def _source(source: MessageSource, at: Place) -> Iterator[Finding]:
    wrong = wrong_subject(source.subject)
    if wrong:
        yield Finding((*at, "subject"), wrong, "such as: orders.*.placed")
    if source.stream and not _STREAM.match(source.stream):
        yield Finding((*at, "stream"), f"{source.stream[:60]!r} is no name of a stream")


def wrong_subject(subject: str) -> str:
    """Return what is wrong with a subject to listen to; empty: nothing.

    Its first token is a word, and none of ours: so it overlaps nothing that movant, JetStream
    or anybody's inbox uses.
    """
    tokens = subject.split(".")
    shown = repr(subject[:60])
    if not subject.isprintable() or " " in subject or len(subject) > _SUBJECT_CHARS_MAX:
        return f"{shown} is no subject"
    for index, token in enumerate(tokens):
        wild = token == "*" or (token == ">" and index == len(tokens) - 1)  # noqa: S105
        if not token or (not wild and set(token) & set("*>")):
            return f"{shown} is no subject"
    first = tokens[0]
    if first in {"*", ">"}:
        return f"{shown} takes messages of everybody: begin with a name"
    if first == "movant" or first.startswith(("$", "_")):
        return f"{shown} overlaps subjects of movant or of NATS itself"
    return ""
