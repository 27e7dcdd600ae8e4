"""A workflow's definition: its name, its function, and the types at its edge.

    @workflow("civic.restaurant")
    async def inspect(ctx: Context, application: Application) -> Verdict: ...

The types come from the annotations; without them anything of the value domain is taken.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, Generic, Literal, TypeVar, overload

import msgspec

from protocols.errors import ConfigurationError, InvalidInputError
from protocols.guardrails.book import Functions, RuleBook, checked_rules, no_rules
from protocols.guardrails.guardrail import Guardrail, Rules
from protocols.policy import STEP_DEFAULTS, StepOptions
from protocols.routes import Routes
from protocols.subjects import check_name

R = TypeVar("R")

_PARAMETERS_MAX: Final = 2
_RULE: Final = "write 'async def name(ctx, input)'; the input may be left out"


OnLimit = Literal["queue", "refuse"]
"""What a start beyond ``max_active`` does."""
MAILBOX_WARN: Final = 10_000
MAILBOX_MAX: Final = 50_000
"""A fold of so many messages takes about a second, at every activation."""
MAILBOX_LIMIT_MAX: Final = 250_000
"""The highest limit that can be asked for; beyond it a workflow has to continue as new."""


class WorkflowOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an author says about a workflow as a whole. ``steps`` are its calls' defaults.

    ``mailbox_warn`` messages in one generation lead to an event, more than ``mailbox_max`` block
    the instance. Raises ConfigurationError for limits that make no sense.
    """

    description: str = ""
    steps: StepOptions = STEP_DEFAULTS
    mailbox_warn: int = MAILBOX_WARN
    mailbox_max: int = MAILBOX_MAX
    active_max: int = 0
    """Runs that have begun and not ended; others wait for their turn. 0: any."""
    refuses: bool = False
    """Whether a start beyond that is refused instead."""
    kept_s: float = 0.0
    """Seconds that an ended run is kept; 0: as the daemon says."""
    priority: int = 0
    """Of runs whose start says none."""
    guardrails: Rules = {}
    """Rules by name; or names of shared ones that are for every step."""
    profiles: tuple[str, ...] = ()
    """Under which it may be started; none: under any, which means nothing then."""

    def __post_init__(self) -> None:
        """Check the limits against each other."""
        if not 1 <= self.mailbox_warn <= self.mailbox_max <= MAILBOX_LIMIT_MAX:
            raise ConfigurationError(
                f"mailbox limits {self.mailbox_warn} and {self.mailbox_max} are not valid",
                hint=f"1 <= mailbox_warn <= mailbox_max <= {MAILBOX_LIMIT_MAX}",
            )
        if self.active_max < 0 or self.kept_s < 0:
            raise ConfigurationError("neither max_active nor a retention can be negative")


class Workflow(Generic[R]):
    """A definition in Python. Calling it calls its function."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Awaitable[R]],
        options: WorkflowOptions | None = None,
    ) -> None:
        self.name: Final = check_name(name, "workflow")
        self.function: Final = function
        self.options: Final = options or WorkflowOptions()
        parameters = list(inspect.signature(function).parameters.values())
        if not inspect.iscoroutinefunction(function) or not (
            1 <= len(parameters) <= _PARAMETERS_MAX
        ):
            raise ConfigurationError(f"workflow {name} is no coroutine function", hint=_RULE)
        self._input = parameters[1] if len(parameters) == _PARAMETERS_MAX else None
        self._types: dict[str, Any] = {}
        self.routes: Routes | None = None
        """Who serves what its steps ask for, in the table that it is loaded with."""
        own = self.options.guardrails
        known = own if isinstance(own, dict) else {}
        self._book = RuleBook(checked_rules(known)) if known else None

    @property
    def rule_names(self) -> tuple[str, ...]:
        """The names of the rules that it has."""
        return () if self._book is None else tuple(self._book.guards)

    @property
    def book(self) -> RuleBook | None:
        """The rules that its steps are held to; of a graph or a machine none: it has its own.

        Raises ConfigurationError where shared ones are named and missing.
        """
        named, known = self.options.guardrails, self.rule_names
        lacking = [] if isinstance(named, dict) else [each for each in named if each not in known]
        if lacking:
            raise no_rules(lacking, known)
        return self._book

    def with_routes(self, routes: Routes) -> Workflow[R]:
        """Return the same workflow with a routing table."""
        found = Workflow(self.name, self.function, self.options)
        found.routes, found._book = routes, self._book
        return found

    def with_rules(
        self, rules: Mapping[str, Guardrail], functions: Functions | None = None
    ) -> Workflow[R]:
        """Return the same workflow, its steps held to these rules in place of its own.

        Raises ConfigurationError for what none can be.
        """
        found = Workflow(self.name, self.function, self.options)
        found.routes, found._book = self.routes, RuleBook(checked_rules(rules), functions)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[R]:
        """Call the workflow's function, as a branch of another workflow does.

        Its steps are held to its own rules as well.
        """
        book = self.book
        if book is None:
            return self.function(*args, **kwargs)
        ctx, *given = inspect.signature(self.function).bind(*args, **kwargs).args
        return self.function(ctx.held_to(book, *given), *given)

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"

    @property
    def takes_input(self) -> bool:
        """Whether the function has an input parameter."""
        return self._input is not None

    @property
    def input_type(self) -> Any:
        """The annotation of the input, or Any."""
        if self._input is None or self._input.annotation is inspect.Parameter.empty:
            return Any
        return self._resolve("input", self._input.annotation)

    @property
    def result_type(self) -> Any:
        """The annotation of the result, or Any."""
        annotation = self.function.__annotations__.get("return", Any)
        return self._resolve("result", annotation)

    def group_of(self, value: Any) -> str:  # noqa: ARG002 - for those that have limits
        """Return what a run with this input is counted by; empty: with all others.

        Raises InvalidInputError when the input does not say it.
        """
        return ""

    def input_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the input."""
        return msgspec.json.schema(self.input_type)

    def check_input(self, value: Any) -> Any:
        """Return ``value`` as the input type. Raises InvalidInputError with all its fields."""
        if (
            value is None
            and self._input is not None
            and self._input.default is not inspect.Parameter.empty
        ):
            return self._input.default
        kind = self.input_type
        if kind is Any:
            return value
        try:
            return msgspec.convert(value, kind, str_keys=True)
        except msgspec.ValidationError as error:
            fields = _wrong_fields(value, kind) or dict([_path_and_message(error)])
            raise InvalidInputError(
                f"the input does not fit workflow {self.name}",
                fields=fields,
                hint="; ".join(f"{path}: {message}" for path, message in fields.items()),
            ) from error

    def _resolve(self, what: str, annotation: Any) -> Any:
        """Evaluate one annotation, late: the types may be defined below the function."""
        if what not in self._types:
            holder = SimpleNamespace(__annotations__={what: annotation})
            names = getattr(self.function, "__globals__", {})
            try:
                hints = typing.get_type_hints(holder, globalns=names, include_extras=True)
            except NameError as error:
                raise ConfigurationError(
                    f"the {what} type of workflow {self.name} is not known: {error}",
                    hint="define or import the type at module level, outside of TYPE_CHECKING",
                ) from error
            self._types[what] = hints[what]
        return self._types[what]


@overload
def workflow(name: Callable[..., Awaitable[R]], /) -> Workflow[R]: ...
@overload
def workflow(
    name: str | None = None,
    *,
    description: str = "",
    steps: StepOptions = STEP_DEFAULTS,
    mailbox_warn: int | None = None,
    mailbox_max: int = MAILBOX_MAX,
    max_active: int = 0,
    on_limit: OnLimit = "queue",
    retention_s: float = 0.0,
    guardrails: Mapping[str, Guardrail] | str | Sequence[str] = (),
) -> Callable[[Callable[..., Awaitable[R]]], Workflow[R]]: ...
def workflow(
    name: str | Callable[..., Awaitable[R]] | None = None,
    *,
    description: str = "",
    steps: StepOptions = STEP_DEFAULTS,
    mailbox_warn: int | None = None,
    mailbox_max: int = MAILBOX_MAX,
    max_active: int = 0,
    on_limit: OnLimit = "queue",
    retention_s: float = 0.0,
    guardrails: Mapping[str, Guardrail] | str | Sequence[str] = (),
) -> Workflow[R] | Callable[[Callable[..., Awaitable[R]]], Workflow[R]]:
    """Declare a workflow: ``@workflow`` takes the function's name, ``@workflow("x.y")`` its own.

    ``steps`` are the options of its calls that name none. A generation with ``mailbox_warn``
    messages (10,000, or the limit if that is lower) publishes the event ``mailbox_large``; one
    with more than ``mailbox_max`` is blocked. ``max_active`` runs may be active (0: any number);
    others wait for their turn, or with ``on_limit="refuse"`` are refused. An ended run is kept
    for ``retention_s`` seconds (0: as the daemon says). ``guardrails`` are rules by name, which
    steps name and those with ``every`` hold for all; or names of shared rules, which are for
    every step then. Raises ConfigurationError for a rule that can be none.
    """

    def declare(function: Callable[..., Awaitable[R]]) -> Workflow[R]:
        called = name if isinstance(name, str) else getattr(function, "__name__", "")
        options = WorkflowOptions(
            description=description or inspect.getdoc(function) or "",
            steps=steps,
            mailbox_warn=min(MAILBOX_WARN, mailbox_max) if mailbox_warn is None else mailbox_warn,
            mailbox_max=mailbox_max,
            active_max=max_active,
            refuses=on_limit == "refuse",
            kept_s=retention_s,
            guardrails=_rules(guardrails),
        )
        return Workflow(called, function, options)

    if callable(name):
        return declare(name)
    return declare


def _rules(given: Mapping[str, Guardrail] | str | Sequence[str]) -> Rules:
    if isinstance(given, Mapping):
        return dict(given)
    return (given,) if isinstance(given, str) else tuple(given)


def _wrong_fields(value: Any, kind: Any, at: str = "") -> dict[str, str]:
    """Return what is wrong with each field of a Struct; msgspec itself stops at the first."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    if not isinstance(value, dict):
        return {}
    wrong: dict[str, str] = {}
    fields = msgspec.structs.fields(kind)
    for field in fields:
        path = f"{at}.{field.encode_name}" if at else field.encode_name
        if field.encode_name not in value:
            if field.required:
                wrong[path] = "is missing"
            continue
        item = value[field.encode_name]
        try:
            msgspec.convert(item, field.type, str_keys=True)
        except msgspec.ValidationError as error:
            inner, message = _path_and_message(error)
            wrong.update(_wrong_fields(item, field.type, path) or {_join(path, inner): message})
    if kind.__struct_config__.forbid_unknown_fields:
        known = {field.encode_name for field in fields}
        unknown = (key for key in value if key not in known)
        wrong.update({f"{at}.{key}" if at else key: "is not known" for key in unknown})
    return wrong


def _path_and_message(error: msgspec.ValidationError) -> tuple[str, str]:
    message, _, where = str(error).partition(" - at `$")
    return where.rstrip("`").removeprefix("."), message


def _join(path: str, inner: str) -> str:
    return path + inner if inner.startswith("[") or not inner else f"{path}.{inner}"
