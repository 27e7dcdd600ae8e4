"""Archive: reads what became of finished instances, and their histories.

ARCHIVE is the tombstone of an id: who wants to know whether an instance has ended must not
believe a replica that is behind. So an answer counts only if it speaks up to a record that the
stream's leader named after whatever made somebody ask (hazard S6); ``horizon`` gets that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.owning.letters import Delivery
from actors.retention.packs import delivery_of, open_bundle
from actors.store.direct_reader import DirectReader
from protocols.archive import ArchiveRecord
from protocols.errors import UnavailableError, UnknownOutcomeError
from protocols.ports import Outgoing, Transport
from protocols.subjects import BUNDLE_TOKEN, done

ANSWER_S: Final = 5.0
LOOKUP: Final = 250
"""Subjects in one lookup; the server takes some microseconds for each."""
TRIES: Final = 50
PAUSE_S: Final = 0.05
NOT_FOUND: Final = 10037
_PAGE_MAX: Final = 100
_BUNDLE_TOKENS: Final = 7

log = structlog.get_logger()

_record_decoder: Final = msgspec.json.Decoder(ArchiveRecord)


class Horizon(msgspec.Struct, frozen=True):
    """The newest record at some moment: its sequence and subject; 0: there was none."""

    seq: int = 0
    subject: str = ""


class _Bundle(msgspec.Struct):
    through: int
    first: str
    digest: str
    subjects: list[str] = []


class Archive:
    """Reads ARCHIVE. Every call raises UnavailableError when it does not answer.

    With one replica there is no horizon: whoever answers knows everything.
    """

    def __init__(self, transport: Transport, reader: DirectReader, *, replicas: int = 1) -> None:
        self._replicas = replicas
        self._transport = transport
        self._reader = reader
        self._horizon = Horizon()
        self._era: object = None
        self.lookups = 0

    async def horizon(self) -> Horizon:
        """Return the newest record as the stream's leader has it."""
        if self._replicas == 1:
            return Horizon()
        answer = await self._ask("STREAM.MSG.GET", {"last_by_subj": "movant.done.*.*"})
        if "error" in answer:
            if answer["error"].get("err_code") == NOT_FOUND:
                return Horizon()
            raise UnavailableError(f"ARCHIVE: {answer['error'].get('description')}")
        message = answer["message"]
        return Horizon(message["seq"], message["subject"])

    async def record(self, partition: int, instance: str, era: object) -> ArchiveRecord | None:
        """Return the record of an instance, or None.

        ``era`` changes with every mark: records that were written before it changed are found.
        """
        if era != self._era or era is None:
            self._horizon = await self.horizon()
            self._era = era
        subject = done(partition, instance)
        return (await self.records([subject], self._horizon)).get(subject)

    async def records(self, subjects: Sequence[str], horizon: Horizon) -> dict[str, ArchiveRecord]:
        """Return by subject the records that there are, at least all up to a horizon."""
        found: dict[str, ArchiveRecord] = {}
        if self._replicas > 1 and not horizon.seq:
            return found
        for start in range(0, len(subjects), LOOKUP):
            part = subjects[start : start + LOOKUP]
            for each in await self._latest(part, horizon):
                try:
                    found[each.subject] = _record_decoder.decode(each.payload)
                except msgspec.DecodeError as error:
                    log.error("archive.unreadable", seq=each.seq, reason=str(error))
        return {subject: found[subject] for subject in subjects if subject in found}

    async def _latest(self, subjects: Sequence[str], horizon: Horizon) -> list[Delivery]:
        self.lookups += 1
        if self._replicas == 1:
            return await self._reader.last(subjects)
        for number in range(TRIES):
            if number:
                await trio.sleep(PAUSE_S)
            # With the newest record among them an answer is never empty, and so never silent
            # about how far it speaks.
            found, up_to = await self._reader.latest([*subjects, horizon.subject])
            if up_to >= horizon.seq:
                return found
            if not found:  # a replica that is behind, or the record has expired
                horizon = await self.horizon()
                if not horizon.seq:
                    return []
        raise UnavailableError("the replicas of ARCHIVE stay behind their leader")

    async def history(self, partition: int, instance: str, position: int) -> list[Delivery]:
        """Return the history of an instance whose record has this position; empty: none."""
        for bundle in candidates(await self._bundles(partition), instance, position):
            pieces = await self._reader.last(bundle.subjects)
            by_subject = {each.subject: each.payload for each in pieces}
            if len(by_subject) < len(bundle.subjects):
                raise UnavailableError("a bundle of ARCHIVE is not there yet")
            try:
                histories = open_bundle([by_subject[each] for each in bundle.subjects])
            except ValueError as error:
                log.error("bundle.unreadable", subject=bundle.subjects[0], reason=str(error))
                continue
            if instance in histories:
                return [delivery_of(each, partition, instance) for each in histories[instance]]
        return []

    async def _bundles(self, partition: int) -> list[_Bundle]:
        """Return all bundles of a partition, from the leader."""
        names: list[str] = []
        pattern = f"movant.done.{partition}.{BUNDLE_TOKEN}.>"
        for _ in range(_PAGE_MAX):
            answer = await self._ask(
                "STREAM.INFO", {"subjects_filter": pattern, "offset": len(names)}
            )
            page = (answer.get("state") or {}).get("subjects") or {}
            names += page
            if not page or len(names) >= int(answer.get("total", 0)):
                break
        return bundles_of(names)

    async def _ask(self, verb: str, request: Any) -> dict[str, Any]:
        message = Outgoing(f"$JS.API.{verb}.ARCHIVE", msgspec.json.encode(request))
        try:
            answer = await self._transport.request(message, ANSWER_S)
            value: dict[str, Any] = msgspec.json.decode(answer.payload)
        except (UnknownOutcomeError, msgspec.DecodeError) as error:
            raise UnavailableError(f"ARCHIVE does not answer: {error}") from error
        return value


def bundles_of(names: Iterable[str]) -> list[_Bundle]:
    """Return the bundles behind subjects; one of which a slice is missing is none."""
    found: dict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    sizes: dict[tuple[str, ...], int] = {}
    for name in names:
        tokens = name.split(".")
        sliced = len(tokens) > _BUNDLE_TOKENS
        key = tuple(tokens[4:7])
        found[key][int(tokens[7]) if sliced else 0] = name
        sizes[key] = int(tokens[8]) if sliced else 1
    return [
        _Bundle(int(key[0]), key[1], key[2], [parts[number] for number in sorted(parts)])
        for key, parts in found.items()
        if len(parts) == sizes[key]
    ]


def candidates(bundles: Sequence[_Bundle], instance: str, position: int) -> list[_Bundle]:
    """Return the bundles that may hold an instance, the likeliest first.

    That is the one with the least ``through`` at or above the position; but a history whose
    record was written late, or that was in a pack when its turn came, is in a later one.
    """
    found: list[_Bundle] = []
    for through in sorted({each.through for each in bundles if each.through >= position}):
        chosen = sorted(
            (each for each in bundles if each.through == through), key=lambda each: each.first
        )
        at = bisect_right([each.first for each in chosen], instance)
        found += reversed(chosen[:at])
    return found
