"""Parts: what the children of the daemon have made so far, for those that come after them."""

from __future__ import annotations

from actors.core.system import ActorSystem
from actors.definitions.registry import Definitions
from actors.definitions.stored import KvDefinitionStore
from actors.owning.assignment import Assignment
from actors.owning.intake import Intake
from actors.owning.outbox import Outbox
from actors.owning.owner import Owner
from actors.retention.blob_sweep import Sweep
from actors.retention.collector import Collector
from actors.retention.forgetting import Forgetting
from actors.routing.requests import Requests
from actors.routing.router import Router
from actors.services.local import LocalService
from actors.store.archive import Archive
from actors.store.direct_reader import DirectReader
from actors.store.ferry import Ferry
from actors.store.leases import Leases
from actors.store.readers import Readers
from actors.store.stream_writer import StreamWriter
from actors.store.values import Values
from actors.views.run_index import RunIndex
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
