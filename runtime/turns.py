"""Hosts what says when a run may begin whose workflow limits how many are active."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from actors.owning.turns import BUCKET, Turns
from actors.store.direct_reader import DirectReader
from actors.store.kv import Kv
from actors.views.run_index import RunIndex
from protocols.subjects import partition_of

if TYPE_CHECKING:
    from runtime.daemon import Daemon


async def give_turns(
    daemon: Daemon, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep the index of all runs, and give turns to ours, until cancelled."""
    parts, replicas = daemon.parts, daemon.config.replicas
    async with (
        DirectReader(parts.transport, "MAIL", replicas=replicas) as mail,
        DirectReader(parts.transport, "ARCHIVE", replicas=replicas) as archive,
        DirectReader(parts.transport, "EVENTS", replicas=replicas) as events,
    ):
        parts.index = RunIndex(mail, archive, events, parts.keys)
        turns = Turns(
            Kv(parts.transport, BUCKET),
            parts.index,
            parts.owner,
            partial(partition_of, partitions=daemon.config.partitions),
            parts.outbox.decision,
        )
        parts.owner.acting.turns = turns
        parts.outbox.ended = turns.ended
        task_status.started()
        await turns.run()
