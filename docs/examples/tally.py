"""A workflow that never ends: it counts votes, a thousand in each generation."""

import msgspec

import movant


class Tally(msgspec.Struct):
    """What a generation hands on to the next one."""

    votes: dict[str, int] = {}
    per_generation: int = 1_000


@movant.workflow("tally", mailbox_max=20_000)
async def tally(ctx: movant.Context, so_far: Tally) -> None:
    """Take votes for ever."""
    votes = so_far.votes
    for _ in range(so_far.per_generation):
        choice = await ctx.signal("vote", returns=str)
        votes[choice] = votes.get(choice, 0) + 1
        ctx.set_state(votes=votes)
    ctx.continue_as(Tally(votes, so_far.per_generation))
