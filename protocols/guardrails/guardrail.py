"""Guardrails: rules that steps are held to, before and after they are done. Data only.

    guardrails:
      no-personal-data: {type: data-privacy, find: [ssn, card], severity: critical}
      fair:             {type: compliance, deny: "params.group == 'protected'", severity: high}
    steps:
      search: {service: web, operation: search, guardrails: [no-personal-data]}

A name stands for a type with its parameters; one that nobody has defined is refused. What a rule
finds is a violation, and its severity says what that leads to. Nothing here is code but for rules
of type ``python``, which name a function that is packed with the definition.
``protocols.guardrails.evaluation`` evaluates them, ``actors.kernel.guarding`` acts on what it
finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from protocols.conditions import Condition, ConditionError
from protocols.findings import did_you_mean
from protocols.gates.gate import REJECTED, Names
from protocols.graphs.field import Field, FieldType, Part, Seconds, durations, field_of, put
from protocols.graphs.input import problem
from protocols.guardrails.sensitive import PERSONAL, SECRETS, SORTS, Sort
from protocols.references import Template, WrongReference

Kind = Literal[
    "data-privacy",
    "security",
    "compliance",
    "performance",
    "cost",
    "rate-limit",
    "allowlist",
    "output",
    "python",
]
Severity = Literal["critical", "high", "medium", "low"]
Action = Literal["block", "gate", "warn", "inform"]
Moment = Literal["before", "after", "both"]

ACTIONS: Final[dict[Severity, Action]] = {
    "critical": "block",
    "high": "gate",
    "medium": "warn",
    "low": "inform",
}
"""What a violation leads to."""
DOES: Final[dict[Kind, str]] = {
    "data-privacy": "looks for personal data in what a step gets and gives",
    "security": "looks for passwords, keys and tokens there",
    "compliance": "holds a step to conditions",
    "performance": "bounds how long a step takes, and how much it gives",
    "cost": "bounds what one step uses",
    "rate-limit": "bounds how many calls there are in a window of time",
    "allowlist": "names the services, operations, hosts and tools that may be asked",
    "output": "checks what a step gives against a type and conditions",
    "python": "asks a function that is packed with the workflow",
}
BEFORE_NAMES: Final = ("params", "input", "steps", "run", "step", "item", "index")
AFTER_NAMES: Final = (*BEFORE_NAMES, "result", "took_s", "usage")
"""Names in conditions. A condition that looks at one of the last three is asked after the step."""
GUARDRAILS_MAX: Final = 200
"""Of a graph or a set: each is evaluated for every step that it is for."""
FUNCTION_S: Final = 5.0
"""How long a Python function may take, where its rule does not say."""
INVALID_OUTPUT: Final = "invalid_output"
"""Kind of the failure of a step whose result is not what it has to be: another try may help."""
OVER_BUDGET: Final = "over_budget"
"""Kind of the failure of a step for which there is no budget left."""
KINDS: Final = (INVALID_OUTPUT, OVER_BUDGET, REJECTED)
"""Error kinds that only graphs with guardrails, budgets and gates have."""
_GATED: Final = ("approvers", "roles", "expires")

Words = str | tuple[str, ...]


class Allowed(Part, frozen=True, kw_only=True):
    """What may be asked; ``*`` in a name stands for anything. An empty list bounds nothing."""

    services: Annotated[Words, Meta(description="Services that may be asked.")] = ()
    operations: Annotated[
        Words, Meta(description="Operations that may be asked for: `charge` or `bank.charge`.")
    ] = ()
    hosts: Annotated[Words, Meta(description="Hosts that addresses in the params may name.")] = ()
    tools: Annotated[
        Words, Meta(description="Tools that `tool` or `tools` in the params may name.")
    ] = ()

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        listed(self, "services", "operations", "hosts", "tools")


class Guardrail(Part, frozen=True, kw_only=True):
    """One rule: a type with its parameters, and how bad it is when it does not hold."""

    type: Annotated[Kind, Meta(description="What it looks at.")]
    severity: Annotated[
        Severity,
        Meta(
            description="What a violation leads to: `critical` blocks the step, `high` asks a "
            "person, `medium` warns, `low` informs."
        ),
    ] = "critical"
    description: Annotated[str, Meta(description="What it is for, for people.")] = ""
    every: Annotated[
        bool, Meta(description="Whether it is for every step, also for those that do not name it.")
    ] = False
    at: Annotated[
        Moment | None,
        Meta(description="When it looks: `before` the step, `after` it, or `both`."),
    ] = None
    find: Annotated[
        Sort | tuple[Sort, ...], Meta(description="The sorts of data that it looks for.")
    ] = ()
    keys: Annotated[Words, Meta(description="Names of fields that are sensitive as well.")] = ()
    require: Annotated[Words, Meta(description="Conditions that have to hold.")] = ()
    deny: Annotated[Words, Meta(description="Conditions that must not hold.")] = ()
    max_time: Annotated[
        Seconds | None, Meta(description="How long a step may take, with all its attempts.")
    ] = None
    max_bytes: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Most bytes of a result, as JSON.")
    ] = None
    max_cost: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Most money that one step uses.")
    ] = None
    max_tokens: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="Most tokens that one step uses.")
    ] = None
    max_calls: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Most calls: of one step, or in a `window`."),
    ] = None
    window: Annotated[
        Seconds | None,
        Meta(description="Calls are counted in windows of this length; without it in the run."),
    ] = None
    key: Annotated[
        str,
        Meta(description="For what calls are counted apart, such as `{{input.customer}}`."),
    ] = ""
    count: Annotated[
        str,
        Meta(
            description="What is counted in place of calls: a number, or a list for its items, "
            "such as `{{params.leads ?? 0}}`."
        ),
    ] = ""
    allow: Annotated[Allowed | None, Meta(description="What may be asked.")] = None
    profiles: Annotated[
        dict[str, Allowed], Meta(description="The same for runs of a profile, in its place.")
    ] = msgspec.field(default_factory=dict)
    result: Annotated[
        Field | FieldType | None, Meta(description="The type that a result has to have.")
    ] = None
    function: Annotated[
        str, Meta(description="`module:function`, of a file beside that of the definition.")
    ] = ""
    timeout: Annotated[
        Seconds | None, Meta(description="How long the function may take; then it has failed.")
    ] = None
    approvers: Annotated[Names, Meta(description="Who may let it pass, by name.")] = ()
    roles: Annotated[Names, Meta(description="Roles that may let it pass.")] = ()
    expires: Annotated[
        Seconds | None, Meta(description="How long a person has for it; then it is rejected.")
    ] = None

    def __post_init__(self) -> None:
        """Bring short forms to the long ones. Raises ValueError for what no condition can be."""
        listed(self, "find", "keys", "require", "deny", "approvers", "roles")
        durations(self, "max_time", "window", "timeout", "expires")
        if self.result is not None:
            put(self, "result", field_of(self.result))

    @property
    def action(self) -> Action:
        """What a violation leads to."""
        return ACTIONS[self.severity]

    @property
    def sorts(self) -> tuple[Sort, ...]:
        """What it looks for."""
        if self.find:
            return (self.find,) if isinstance(self.find, str) else self.find
        return {"data-privacy": PERSONAL, "security": SECRETS}.get(self.type, ())

    @property
    def result_as(self) -> Field | None:
        """The type of a result, in the long form."""
        return self.result if isinstance(self.result, Field) else None

    @property
    def moments(self) -> tuple[str, ...]:
        """When it looks, but for its conditions: they look when what they name is there."""
        at = self.at or _MOMENTS[self.type]
        return ("before", "after") if at == "both" else (at,)


Rules = dict[str, Guardrail] | tuple[str, ...]

_MOMENTS: Final[dict[Kind, Moment]] = {
    "data-privacy": "both",
    "security": "both",
    "compliance": "both",
    "performance": "after",
    "cost": "after",
    "rate-limit": "before",
    "allowlist": "before",
    "output": "after",
    "python": "before",
}
_CONDITIONS: Final = ("require", "deny")
_OF_TYPES: Final[dict[Kind, tuple[str, ...]]] = {
    "data-privacy": ("at", "find", "keys", *_CONDITIONS),
    "security": ("at", "find", "keys", *_CONDITIONS),
    "compliance": _CONDITIONS,
    "performance": ("max_time", "max_bytes", *_CONDITIONS),
    "cost": ("max_cost", "max_tokens", "max_calls", *_CONDITIONS),
    "rate-limit": ("max_calls", "window", "key", "count"),
    "allowlist": ("allow", "profiles"),
    "output": ("result", *_CONDITIONS),
    "python": ("at", "function", "timeout"),
}
"""Keys that a type takes, beside those that all have."""
_ONE_OF: Final[dict[Kind, tuple[str, ...]]] = {
    "compliance": _CONDITIONS,
    "performance": ("max_time", "max_bytes", *_CONDITIONS),
    "cost": ("max_cost", "max_tokens", "max_calls", *_CONDITIONS),
    "rate-limit": ("max_calls",),
    "allowlist": ("allow", "profiles"),
    "output": ("result", *_CONDITIONS),
    "python": ("function",),
}
"""Keys of which a type needs one: else it would bound nothing."""


class Wrong(NamedTuple):
    """What is wrong with a rule, at which of its keys, and what to do."""

    key: str
    message: str
    hint: str = ""
    offset: int = 0
    number: int | None = None


def problems(rule: Guardrail) -> Iterator[Wrong]:
    """Yield everything that is wrong with a rule."""
    yield from _keys(rule)
    for key in _CONDITIONS:
        for index, text in enumerate(getattr(rule, key)):
            yield from _condition(text, key, index)
    for key, example in (("key", "{{input.customer}}"), ("count", "{{params.leads ?? 0}}")):
        try:
            Template(getattr(rule, key))
        except WrongReference as error:
            yield Wrong(key, error.message, f"such as: {example}", error.column)
    if rule.key and rule.window is None:
        yield Wrong("key", "calls are counted apart in windows of time", "write 'window: 1d'")
    field = rule.result_as
    if field is not None and (wrong := problem(field, "result")):
        yield Wrong("result", wrong)
    if rule.function:
        module, _, name = rule.function.partition(":")
        if not all(each.isidentifier() for each in (*module.split("."), name)):
            yield Wrong("function", f"{rule.function[:60]!r} is no function", "module:function")


def _keys(rule: Guardrail) -> Iterator[Wrong]:
    """Look at which keys are there."""
    own = _OF_TYPES[rule.type]
    for key in dict.fromkeys(each for keys in _OF_TYPES.values() for each in keys):
        if key not in own and is_given(rule, key):
            kinds = " or ".join(repr(kind) for kind, keys in _OF_TYPES.items() if key in keys)
            yield Wrong(key, f"a guardrail of type {rule.type!r} takes no {key!r}", f"of {kinds}")
    needed = _ONE_OF.get(rule.type, ())
    if needed and not any(is_given(rule, key) for key in needed):
        words = " or ".join(repr(each) for each in needed)
        yield Wrong("type", f"a guardrail of type {rule.type!r} without {words} bounds nothing")
    for key in _GATED:
        if is_given(rule, key) and rule.severity != "high":
            yield Wrong(key, f"nobody is asked about severity {rule.severity!r}", "write 'high'")


def _condition(text: str, key: str, index: int) -> Iterator[Wrong]:
    try:
        condition = Condition(text)
    except ConditionError as error:
        hint = "such as: params.amount < 1000"
        yield Wrong(key, error.message, hint, error.column, index)
        return
    for path in condition.paths:
        if path.parts[0] not in AFTER_NAMES:
            known = did_you_mean(path.parts[0], AFTER_NAMES)
            yield Wrong(
                key, f"nothing here is called {path.parts[0]!r}", known, path.column, index
            )


def is_given(rule: Guardrail, key: str) -> bool:
    """Tell whether a rule says something for a key."""
    return getattr(rule, key) not in (None, "", (), {}, False)


def listed(part: msgspec.Struct, *keys: str) -> None:
    """Let a word that stands alone be a list of one, while a part is made."""
    for key in keys:
        given: Any = getattr(part, key)
        put(part, key, (given,) if isinstance(given, str) else given)


assert get_args(Kind) == tuple(DOES)
assert frozenset(SORTS) >= {*PERSONAL, *SECRETS}
