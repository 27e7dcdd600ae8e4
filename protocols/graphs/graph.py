"""Graphs: steps of a workflow and what each of them needs. Data only.

    Graph(
        name="order",
        steps={
            "check": GraphStep(service="stock", operation="check", params="{{input.items}}"),
            "charge": GraphStep(
                service="bank",
                operation="charge",
                params={"amount": "{{input.amount}}"},
                needs=("check",),
                undo="refund",
            ),
        },
    )

In a YAML file the same fields have the same names. Nothing here is code: a graph is compared,
hashed, stored and drawn as it is. Whether it makes sense as a whole is told by
``protocols.graphs.check``; who runs it is ``actors.graphs.interpreter``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.calendars import Calendar
from protocols.directives import Directive, Do, Table
from protocols.durations import seconds
from protocols.gates.gate import Gate
from protocols.graphs.fallback import Fallback
from protocols.graphs.field import ANYTHING as ANYTHING  # noqa: PLC0414 - part of a graph
from protocols.graphs.field import Field as Field  # noqa: PLC0414 - part of a graph
from protocols.graphs.field import FieldType as FieldType  # noqa: PLC0414 - part of a graph
from protocols.graphs.field import Part as _Part
from protocols.graphs.field import Seconds, fields_of
from protocols.graphs.field import durations as _durations
from protocols.graphs.field import field_of as _field
from protocols.graphs.field import put as _set
from protocols.graphs.profile import Limits, Profile
from protocols.graphs.sleep import GraphSleep, brief
from protocols.guardrails.budgets import Amounts, Budget
from protocols.guardrails.guardrail import Rules
from protocols.policy import Retry
from protocols.triggers import Trigger

CALL_TIMEOUT_S: Final = 60.0
"""Where neither step nor defaults say how long one call may take."""
CONCURRENCY: Final = 10
"""Items of one ``foreach`` that are worked on at the same time, where it says nothing."""
ANY_KIND: Final = "any"
"""Stands for every error kind that has no directive of its own."""
SHOWN: Final = "steps."
"""What a run shows of each step begins with this, and ends with the step's name."""
RESUME: Final = "resume."
"""A halted step goes on by the signal that begins with this and ends with the step's name."""
SERVICE: Final = "service"
KINDS: Final = (SERVICE, "sleep", "signal", "child", "set", "gate")
"""What a step does: the one of these keys that it has. ``protocols.graphs.kinds`` tells more."""

Join = Literal["all", "any"] | Annotated[int, Meta(ge=1)]


class GraphUndo(_Part, frozen=True, kw_only=True):
    """How a step is undone. The operation may stand alone: ``undo: refund``.

    Without ``params`` its service gets the step's key, input and result.
    """

    operation: Annotated[str, Meta(description="The operation that undoes the step.")]
    service: Annotated[str, Meta(description="Whose operation; the step's when absent.")] = ""
    params: Annotated[
        Any, Meta(description="What it gets; may refer to what the step itself may refer to.")
    ] = msgspec.UNSET
    retry: Annotated[Retry | None, Meta(description="How often it is tried.")] = None
    timeout: Annotated[
        Seconds | None, Meta(description="How long one call may take; as the step's.")
    ] = None
    settle: Annotated[
        Seconds | None,
        Meta(
            description="For a service that cannot refuse a step after its undo: how long "
            "behind the deadline of a call it may still begin it."
        ),
    ] = None

    def __post_init__(self) -> None:
        """Read the durations."""
        _durations(self, "timeout")
        if self.settle is not None:
            _set(self, "settle", seconds(self.settle, "settle"))


class GraphStep(_Part, frozen=True, kw_only=True):
    """One step, done as soon as what it needs is there: it has one of the keys ``KINDS``."""

    service: Annotated[str, Meta(description="Who is asked.")] = ""
    operation: Annotated[str, Meta(description="For what a service is asked.")] = ""
    sleep: Annotated[
        Seconds | GraphSleep | None,
        Meta(description="How long it waits, such as `2h`; or `until: …`, a moment."),
    ] = None
    signal: Annotated[
        str,
        Meta(
            description="The signal that it waits for, for `timeout` if that is given; the "
            "signal's data is the result."
        ),
    ] = ""
    child: Annotated[
        str, Meta(description="The workflow that it starts with `params`; its result is awaited.")
    ] = ""
    set: Annotated[
        dict[str, Any] | None,
        Meta(description="Facts that the run shows from now on; they are the result too."),
    ] = None
    gate: Annotated[
        Gate | None, Meta(description="A person decides before the steps that need it begin.")
    ] = None
    params: Annotated[
        Any,
        Meta(description="What service or child get: any value, with references in its texts."),
    ] = None
    needs: Annotated[
        str | tuple[str, ...],
        Meta(description="The steps that come before; one name may stand alone."),
    ] = ()
    join: Annotated[
        Join,
        Meta(
            description="When the step begins: `all` its needs have ended, `any` one of them "
            "is done, or so many of them are."
        ),
    ] = "all"
    when: Annotated[
        str, Meta(description="The condition under which it is done; else it is skipped.")
    ] = ""
    foreach: Annotated[
        str | tuple[Any, ...],
        Meta(description="A list: the step is done for each `item` (and `index`) of it."),
    ] = ""
    concurrency: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)],
        Meta(description="How many items are worked on at the same time."),
    ] = CONCURRENCY
    critical: Annotated[
        bool,
        Meta(
            description="Whether its failure fails the run; if not, it is a warning, and the "
            "result is null."
        ),
    ] = True
    retry: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)] | Retry | None,
        Meta(description="How often it is tried: the number of calls, or all details."),
    ] = None
    timeout: Annotated[
        Seconds | None,
        Meta(description="How long one call, a signal or a child may take: `30s`, `1h30m`."),
    ] = None
    deadline: Annotated[
        Seconds | None,
        Meta(
            description="How long the step may take with all its calls, items and other "
            "services; waiting for an operator does not count."
        ),
    ] = None
    warn_after: Annotated[
        Seconds | None,
        Meta(
            description="How long the step may take before `running_late` tells that it takes "
            "longer; it goes on."
        ),
    ] = None
    heartbeat: Annotated[
        Seconds | None, Meta(description="How long the service may be silent while it works.")
    ] = None
    idempotent: Annotated[
        bool, Meta(description="Whether a call may be repeated when its outcome is not known.")
    ] = True
    on_error: Annotated[
        Do | dict[str, Directive | Do],
        Meta(description="What a failure leads to, by its kind; one word stands for all kinds."),
    ] = {}
    fallbacks: Annotated[
        tuple[Fallback, ...],
        Meta(
            description="What is tried when its calls are used up, one after the other; before "
            "`on_error`, unless that names the kind."
        ),
    ] = ()
    undo: Annotated[
        str | bool | GraphUndo,
        Meta(
            description="How it is undone when the run fails, is cancelled or times out; of a "
            "child: `true`."
        ),
    ] = ""
    guardrails: Annotated[
        str | tuple[str, ...], Meta(description="Rules that it is held to, by name.")
    ] = ()
    estimate: Annotated[
        Amounts | None, Meta(description="What one call may use: reserved before it is made.")
    ] = None
    pivot: Annotated[
        bool,
        Meta(
            description="Whether it is the point of no return: when it is done, nothing is "
            "undone any more."
        ),
    ] = False
    budget: Annotated[
        Budget | None,
        Meta(description="How much this step alone may use, beside the budgets of the graph."),
    ] = None
    artifacts: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Files to keep with the run when it is done, by name: text, or any value "
            "as JSON, with references; `result` is its own result."
        ),
    ] = None
    description: Annotated[str, Meta(description="What it is for, for people.")] = ""

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        if isinstance(self.needs, str):
            _set(self, "needs", (self.needs,))
        if isinstance(self.guardrails, str):
            _set(self, "guardrails", (self.guardrails,))
        if isinstance(self.retry, int):
            _set(self, "retry", Retry(attempts=self.retry))
        if isinstance(self.undo, str) and self.undo:
            _set(self, "undo", GraphUndo(operation=self.undo))
        elif self.undo is False:
            _set(self, "undo", "")
        if isinstance(self.sleep, int | float | str):
            _set(self, "sleep", brief(self.sleep))
        if self.on_error:
            _set(self, "on_error", _directives(self.on_error))
        _durations(self, "timeout", "deadline", "warn_after", "heartbeat")

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it says that it does: one of ``KINDS``, unless it is wrong."""
        return tuple(each for each in KINDS if getattr(self, each) not in ("", None))

    @property
    def kind(self) -> str:
        """What it does; without a word a service is asked."""
        return SERVICE if self.service else next(iter(self.kinds), SERVICE)

    @property
    def sleep_as(self) -> GraphSleep | None:
        """How long it waits, in the long form."""
        return self.sleep if isinstance(self.sleep, GraphSleep) else None

    @property
    def needed(self) -> tuple[str, ...]:
        """The steps that come before."""
        return (self.needs,) if isinstance(self.needs, str) else self.needs

    @property
    def condition(self) -> str:
        """The condition without the braces that references have."""
        return self.when[self.condition_at :].strip().removesuffix("}}").strip()

    @property
    def condition_at(self) -> int:
        """How many characters stand before the condition."""
        text = self.when.lstrip()
        if not (text.startswith("{{") and text.rstrip().endswith("}}")):
            return 0
        return len(self.when) - len(text[2:].lstrip())

    @property
    def each(self) -> bool:
        """Whether it is done for each item of a list."""
        return self.foreach != ""

    @property
    def undone_by(self) -> GraphUndo | None:
        """How it is undone."""
        return self.undo if isinstance(self.undo, GraphUndo) else None

    @property
    def directives(self) -> Table:
        """The directives by error kind; ``any`` is that of all others."""
        return _table(self.on_error)


class Defaults(_Part, frozen=True, kw_only=True):
    """What holds for all steps that say nothing else."""

    timeout: Annotated[Seconds, Meta(description="How long one call may take.")] = CALL_TIMEOUT_S
    retry: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)] | Retry | None,
        Meta(description="How often a step is tried."),
    ] = None
    on_error: Annotated[
        Do | dict[str, Directive | Do], Meta(description="What a failure leads to, by its kind.")
    ] = {}

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        if isinstance(self.retry, int):
            _set(self, "retry", Retry(attempts=self.retry))
        _set(self, "on_error", _directives(self.on_error))
        _durations(self, "timeout")

    @property
    def directives(self) -> Table:
        """The directives by error kind; ``any`` is that of all others."""
        return _table(self.on_error)


_ONE_KIND: Final = Meta(extra_json_schema={"oneOf": [{"required": [each]} for each in KINDS]})


class Graph(_Part, frozen=True, kw_only=True):
    """A workflow as a graph of steps.

    Raises ValueError for what has the wrong form; whether the parts fit each other is for
    ``protocols.graphs.check``.
    """

    name: Annotated[str, Meta(description="The name of the workflow.")]
    steps: Annotated[
        dict[str, Annotated[GraphStep, _ONE_KIND]], Meta(description="The steps by their names.")
    ]
    description: Annotated[str, Meta(description="What it is for, for people.")] = ""
    input: Annotated[
        dict[str, Field | FieldType] | None,
        Meta(description="The fields of the input; without it any input is taken."),
    ] = None
    outputs: Annotated[
        Any,
        Meta(
            description="The result of a run, with references in its texts; without it the "
            "results of the steps that nobody needs, by their names."
        ),
    ] = None
    returns: Annotated[
        dict[str, Field | FieldType] | None,
        Meta(description="The fields of the result; without it any result is taken."),
    ] = None
    timeout: Annotated[Seconds | None, Meta(description="How long a run may take as a whole.")] = (
        None
    )
    retention: Annotated[
        Seconds | None,
        Meta(
            description="How long an ended run is kept, and its artifacts; as the daemon says "
            "without it."
        ),
    ] = None
    warn_after: Annotated[
        Seconds | None,
        Meta(description="How long a run may take before `running_late` tells that it is late."),
    ] = None
    limits: Annotated[
        Limits | None, Meta(description="How many runs may be active, and who goes first.")
    ] = None
    profiles: Annotated[
        dict[str, Profile],
        Meta(description="Where runs take place, such as `dev`: what is different there."),
    ] = {}
    concurrency: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="How many steps run at the same time; 0: as many as can."),
    ] = 0
    defaults: Annotated[Defaults, Meta(description="What holds for all steps.")] = msgspec.field(
        default_factory=Defaults
    )
    guardrails: Annotated[
        Rules, Meta(description="Rules by name; or names of shared ones that are for every step.")
    ] = msgspec.field(default_factory=dict)
    budgets: Annotated[dict[str, Budget], Meta(description="How much may be used, by name.")] = (
        msgspec.field(default_factory=dict)
    )
    kinds: Annotated[
        tuple[str, ...],
        Meta(description="Error kinds of its services' own, to be named under `on_error`."),
    ] = ()
    fallbacks: Annotated[
        tuple[Fallback, ...],
        Meta(description="What is tried before a step fails the run: `skip` or `gate`."),
    ] = ()
    calendars: Annotated[
        dict[str, Calendar], Meta(description="When offices are open, for working time; by name.")
    ] = {}
    approval_mode: Annotated[
        str,
        Meta(
            description="The `mode` of gates that have none: `interactive`, `auto`, `batch`, or a "
            "reference to the input."
        ),
    ] = ""
    triggers: Annotated[
        tuple[Trigger, ...], Meta(description="What starts runs: times, requests, messages.")
    ] = ()

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        if self.input is not None:
            _set(self, "input", {name: _field(each) for name, each in self.input.items()})
        if self.returns is not None:
            _set(self, "returns", {name: _field(each) for name, each in self.returns.items()})
        _durations(self, "timeout", "retention", "warn_after")

    @property
    def fields(self) -> dict[str, Field] | None:
        """The fields of the input; None: anything is taken."""
        return fields_of(self.input)

    @property
    def result_fields(self) -> dict[str, Field] | None:
        """The fields of the result; None: anything is one."""
        return fields_of(self.returns)

    def timeout_s(self, step: str) -> float:
        """Return how long one call of a step may take, in seconds, within its deadline."""
        of = self.steps[step]
        if of.timeout is not None:
            return float(of.timeout)
        default_s = float(self.defaults.timeout)
        return default_s if of.deadline is None else min(default_s, float(of.deadline))

    def retry(self, step: str) -> Retry | None:
        """Return how often a step is tried, when it or the defaults say so."""
        of = self.steps[step]
        found = self.defaults.retry if of.retry is None else of.retry
        return found if isinstance(found, Retry) else None


def _directives(given: Do | dict[str, Directive | Do]) -> dict[str, Directive]:
    by_kind = {ANY_KIND: given} if isinstance(given, str) else given
    return {
        kind: Directive(do=each) if isinstance(each, str) else each
        for kind, each in by_kind.items()
    }


def _table(given: Do | dict[str, Directive | Do]) -> Table:
    assert isinstance(given, dict)
    return {kind: each for kind, each in given.items() if isinstance(each, Directive)}
