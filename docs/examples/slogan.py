"""Guardrails of a workflow in Python; its service is that of outreach.yaml."""

import movant

RULES = {
    "private": movant.Guardrail(type="data-privacy", find=("ssn", "card", "iban")),
    "short": movant.Guardrail(type="output", require="size(result.text) < 100"),
}


@movant.workflow(guardrails=RULES)
async def slogan(ctx: movant.Context, topic: str) -> str:
    """Let a model write, within rules."""
    about = {"about": topic}
    try:
        found = await ctx.call("writer", "write", about, guardrails=["private", "short"])
    except movant.StepFailedError as error:
        return f"not written: {error.failure.kind}"
    return str(found["text"])
