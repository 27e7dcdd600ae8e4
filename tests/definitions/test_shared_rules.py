"""Shared guardrails and code: what a workflow in Python gets when it is registered."""

from __future__ import annotations

from typing import Any

import pytest

from actors.definitions.packing import pack
from actors.definitions.registry import Definitions, MemoryDefinitionStore
from actors.definitions.shared_rules import encoded
from actors.definitions.validation import validate
from protocols.errors import ConfigurationError
from protocols.guardrails.check import RuleSet
from protocols.guardrails.guardrail import Guardrail
from tests.definitions.conftest import WriteProject
from tests.kernel.mailbox import Mailbox, paths

HEAD = """
from protocols.definition import workflow
from protocols.guardrails.guardrail import Guardrail
from protocols.machines.machine import Machine, State
"""
FLOW = (
    HEAD
    + """
@workflow(%s)
async def flow(ctx, note):
    return await ctx.call("web", "ask", note%s)
"""
)
NAMING = FLOW % ("'flow'", ", guardrails=['quiet']")
QUIET = Guardrail(type="compliance", deny="params == 'loud'")


async def registered(
    project: WriteProject, text: str, *, shared: dict[str, Guardrail] | None = None
) -> tuple[str, Definitions]:
    """Register the text of a module, as a daemon does; return the hash, and what is loaded."""
    store = MemoryDefinitionStore()
    await store.put_rules(encoded(RuleSet(guardrails=shared)) if shared else b"", "")
    definitions = Definitions(store)
    opened = await definitions.opened(pack(project({"flow.py": text}) / "flow.py"))
    await definitions.register(opened)
    return opened.hash, definitions


def asked(definitions: Definitions, digest: str, note: Any, name: str = "flow") -> list[str]:
    """Return what a run with this input asks for."""
    box = Mailbox(definitions.workflow(name, digest))
    box.start(note)
    return paths(box.effects)


async def test_a_name_that_nobody_defines_is_refused_with_its_place(
    project: WriteProject,
) -> None:
    """When it is registered; before that it may be a shared one, so a file is only warned of."""
    with pytest.raises(ConfigurationError, match=r"flow\.py:8:59: there is no guardrail 'quiet'"):
        await registered(project, NAMING)
    (found,) = validate(project({"flow.py": NAMING}) / "flow.py")
    near = FLOW % (
        "'flow', guardrails={'quite': Guardrail(type='security')}",
        ", guardrails='quiet'",
    )
    (wrong,) = validate(project({"flow.py": near}) / "flow.py")

    assert (found.line, found.column, found.severity) == (8, 59, "warning")
    assert (wrong.line, wrong.severity, wrong.hint) == (8, "error", "did you mean 'quite'?")


async def test_code_gets_the_shared_rules_that_it_names_and_those_for_every_step(
    project: WriteProject,
) -> None:
    """They are a part of its hash; code that gets none keeps the hash that it had."""
    plain = FLOW % ("'flow'", "")
    every = {"all": Guardrail(type="data-privacy", every=True)}
    bare, _ = await registered(project, plain, shared={"quiet": QUIET})
    named, held = await registered(project, NAMING, shared={"quiet": QUIET})
    for_all, all_held = await registered(project, plain, shared=every)
    declared, all_named = await registered(
        project, FLOW % ("'flow', guardrails=['quiet']", ""), shared={"quiet": QUIET}
    )

    assert bare == pack(project({"flow.py": plain}) / "flow.py").hash
    assert len({bare, named, for_all, declared}) == 4
    assert asked(held, named, "loud") == asked(all_named, declared, "loud") == []
    assert asked(held, named, "low") == ["/web.ask/web.ask"]
    assert asked(all_held, for_all, "ann@example.org") == []


async def test_own_rules_go_before_shared_ones_but_for_those_of_every_step(
    project: WriteProject,
) -> None:
    """Their functions are packed with the code, and a machine beside it has the same rules."""
    text = (
        FLOW % ("'flow', guardrails={'quiet': Guardrail(type='security')}", ", guardrails='quiet'")
        + "flow_2 = flow\n"
        + "desk = Machine(name='desk', initial='A', states={"
        + "'A': State(owner='web', next='B'), 'B': State(terminal=True)})\n"
    )
    own, held = await registered(project, text, shared={"quiet": QUIET})
    every = {"quiet": QUIET, "all": Guardrail(type="compliance", deny="true", every=True)}
    forced, both = await registered(project, text, shared=every)

    assert asked(held, own, "loud") == ["/web.ask/web.ask"]
    assert asked(held, own, None, "desk") == ["/states/A/web.a"]
    assert asked(both, forced, "loud") == asked(both, forced, None, "desk") == []


async def test_functions_of_rules_come_out_of_the_pack(project: WriteProject) -> None:
    """One that is not there is refused where the workflow stands."""
    rule = "'flow', guardrails={'quiet': Guardrail(type='python', function='flow:%s', every=True)}"
    text = FLOW + "\n\ndef check(facts):\n    return True\n"
    digest, definitions = await registered(project, text % (rule % "check", ""))
    with pytest.raises(ConfigurationError, match=r"flow\.py:6: .*no function 'flow:chek'"):
        await registered(project, text % (rule % "chek", ""))

    assert asked(definitions, digest, 1) == ["/web.ask/guardrail.quiet"]
