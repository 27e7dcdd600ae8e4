"""Parts: what the children of the daemon have made so far, for those that come after them."""

from __future__ import annotations

from actors.archive import Archive
from actors.assignment import Assignment
from actors.blob_sweep import Sweep
from actors.collector import Collector
from actors.definitions import Definitions
from actors.direct_reader import DirectReader
from actors.ferry import Ferry
from actors.forgetting import Forgetting
from actors.intake import Intake
from actors.kv_definitions import KvDefinitionStore
from actors.leases import Leases
from actors.local import LocalService
from actors.outbox import Outbox
from actors.owner import Owner
from actors.readers import Readers
from actors.requests import Requests
from actors.router import Router
from actors.run_index import RunIndex
from actors.stream_writer import StreamWriter
from actors.system import ActorSystem
from actors.values import Values
from protocols.tokens import KeyRing
from runtime.bridge.transport import NatsTransport
from runtime.checkpoints import Checkpoints
from runtime.holds import StoredHolds
from runtime.server.embedded import EmbeddedServer
from runtime.triggers.hosting import Triggers


class Parts:
    """What the children of the daemon have made so far."""

    server: EmbeddedServer
    transport: NatsTransport
    keys: KeyRing
    holds: StoredHolds
    leases: Leases
    writers: dict[str, StreamWriter]
    checkpoints: Checkpoints
    values: Values
    definitions: Definitions
    definition_store: KvDefinitionStore
    system: ActorSystem
    router: Router
    local: LocalService
    owner: Owner
    requests: Requests
    intake: Intake
    readers: Readers
    assignment: Assignment
    mailboxes: DirectReader
    archive: Archive
    outbox: Outbox
    index: RunIndex
    collector: Collector
    forgetting: Forgetting
    sweep: Sweep
    triggers: Triggers
    ferry: Ferry
    """Only with replicas."""

    @property
    def writer(self) -> StreamWriter:
        """Writes into mailboxes."""
        return self.writers["MAIL"]
