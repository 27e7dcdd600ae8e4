"""GuardrailCommands: the shared set of guardrails, and what budgets have left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from actors.definitions.shared_rules import encoded, set_hash
from protocols.api import runs as api
from protocols.guardrails.check import RuleSet, checked_set
from runtime.accounts import Accounts

if TYPE_CHECKING:
    from runtime.daemon import Daemon

log = structlog.get_logger()


class GuardrailCommands:
    """Answers about guardrails and budgets."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._accounts = Accounts(daemon.parts.transport, daemon.clock)

    async def list(self, _: api.Empty) -> api.Message:
        """Return the set that definitions share."""
        data, at = await self._daemon.parts.definition_store.rules()
        if not data:
            return api.GuardrailSet(guardrails={})
        found = RuleSet.of(data)
        return api.GuardrailSet(
            guardrails=found.guardrails, description=found.description, hash=set_hash(data), at=at
        )

    async def register(self, request: api.GuardrailRegister) -> api.Message:
        """Share a set in the place of the former one. Raises ConfigurationError."""
        rules = checked_set(
            RuleSet(guardrails=request.guardrails, description=request.description)
        )
        data = encoded(rules)
        await self._daemon.parts.definition_store.put_rules(data, set_hash(data))
        who = request.by.who if request.by is not None else ""
        log.info("guardrails.registered", hash=set_hash(data), rules=len(rules.guardrails), by=who)
        return await self.list(api.Empty())

    async def budgets(self, request: api.BudgetList) -> api.Message:
        """List what is used of budgets, the newest window first."""
        accounts = [
            each
            for each in await self._accounts.all()
            if request.name in {"", each.name} and request.key in {None, each.key}
        ]
        accounts.sort(key=lambda each: (-each.begins, each.name, each.key))
        rows = []
        for each in accounts[: api.PAGE_MAX]:
            used = {unit: each.used.get(unit, 0.0) for unit in each.limits}
            rows.append(
                api.BudgetRow(
                    name=each.name,
                    key=each.key,
                    begins_at=each.begins * 1_000_000_000,
                    window_s=each.window_s,
                    limits=each.limits,
                    used=used,
                    reserved={unit: each.spent(unit) - used[unit] for unit in each.limits},
                    open=len(each.open),
                )
            )
        return api.BudgetPage(budgets=rows, server_time=self._daemon.clock.now_ns())
