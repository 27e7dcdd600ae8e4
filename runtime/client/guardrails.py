"""GuardrailCalls: the part of the Client about shared guardrails and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.api import runs as api
from runtime.client.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocols.guardrails.guardrail import Guardrail
    from protocols.witness import Operator


class GuardrailCalls:
    """Share guardrails, look at budgets."""

    _calls: Calls

    async def guardrails(self) -> api.GuardrailSet:
        """Return the guardrails that definitions share."""
        return await self._calls.call("guardrail.ls", api.Empty(), api.GuardrailSet)

    async def share_guardrails(
        self,
        rules: Mapping[str, Guardrail],
        *,
        description: str = "",
        by: Operator | None = None,
    ) -> api.GuardrailSet:
        """Share a set in the place of the former one: for what is registered from now on.

        Raises ConfigurationError for rules that make no sense.
        """
        request = api.GuardrailRegister(guardrails=dict(rules), description=description, by=by)
        return await self._calls.call("guardrail.register", request, api.GuardrailSet)

    async def budgets(self, name: str = "", key: str | None = None) -> api.BudgetPage:
        """Return what is used of the budgets that all runs share, the newest window first."""
        request = api.BudgetList(name=name, key=key)
        return await self._calls.call("budget.ls", request, api.BudgetPage)
