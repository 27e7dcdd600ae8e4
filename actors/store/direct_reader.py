"""DirectReader: read stored messages by subject, many reads at once, without a consumer.

Uses JetStream's batched direct get (ADR-31): one request, many answers on one inbox subject,
ended by a status message. A read may be served by a follower, whose log is a prefix of the
leader's: an answer that contains message S contains everything below it (hazard S6).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, Final, Self

import msgspec
import trio

from actors.core.together import together
from actors.owning.letters import Delivery
from actors.retention.packs import is_pack
from actors.retention.purging import seq_of
from actors.store.frames import delivery_of
from protocols import headers as h
from protocols.errors import OversizedError, UnavailableError, UnknownOutcomeError
from protocols.events import to_time
from protocols.ports import Frame, Outgoing, Subscription, Transport

READ_S: Final = 5.0
BATCH: Final = 1_000
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""A batch of the largest messages would be 1 GB: the memory of one read stays bounded."""
PORTION: Final = 200
"""Messages that ``follow`` yields at once; a taker that parses them needs some milliseconds."""
TOGETHER: Final = 50
"""Mailboxes asked for at once: with 20 subjects each the answer is still whole."""
READS_MAX: Final = 256
"""Reads under way at once; more would only queue in the server."""
SUBJECTS_MAX: Final = 1_000
"""The server refuses more than 1,024 subjects in one request (413)."""
READS_OF_A_MAILBOX_MAX: Final = 7
"""How often a mailbox is read again because it changed meanwhile; each takes a millisecond."""
CONTINUED: Final = "owner.continued"
"""What the subject of a record of a generation ends with."""
PAUSE_S: Final = (0.0, 0.1, 0.5)
"""Before each try. A server that has just died is asked in vain until the others know it."""


class _Counts(msgspec.Struct):
    """What STREAM.INFO tells about subjects."""

    class State(msgspec.Struct):
        subjects: dict[str, int] | None = None
        first_seq: int = 0
        last_seq: int = 0

    state: State = msgspec.field(default_factory=State)


_counts_decoder: Final = msgspec.json.Decoder(_Counts)


class _Read(msgspec.Struct):
    done: trio.Event
    found: list[Delivery]
    status: int = 0
    left: int = 0
    """Messages behind the last one of the batch."""
    up_to: int = 0
    """The sequence up to which the answer of a ``multi_last`` speaks; 0: it does not say."""


class DirectReader:
    """Reads of one stream. Open it inside a nursery-less ``async with``."""

    def __init__(self, transport: Transport, stream: str, *, replicas: int = 1) -> None:
        self._transport = transport
        self._replicas = replicas
        self._subject = f"$JS.API.DIRECT.GET.{stream}"
        self._leader_subject = f"$JS.API.STREAM.MSG.GET.{stream}"
        self._info_subject = f"$JS.API.STREAM.INFO.{stream}"
        self._reads: dict[str, _Read] = {}
        self._limit = trio.CapacityLimiter(READS_MAX)
        self._number = 0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self.floor = 0
        """A sequence below which the stream was purged, as of the latest mailbox that was read."""

    async def __aenter__(self) -> Self:
        self._inbox = self._transport.new_inbox() + "."
        self._subscription = await self._transport.subscribe(self._inbox + "*", self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            self._subscription.unsubscribe()

    async def subject(self, filter_subject: str, *, after: int = 0) -> list[Delivery]:
        """Return all messages of a subject filter above sequence ``after``, in order."""
        found: list[Delivery] = []
        async for part in self.follow(filter_subject, after):
            found += part
        return found

    async def mailbox(
        self,
        filter_subject: str,
        *,
        after: int = 0,
        continued: Callable[[Delivery], int] | None = None,
    ) -> list[Delivery]:
        """Return the same as ``subject`` for a mailbox: few messages among very many.

        Packs are among them as they are, and none is missing, also when the stream is purged
        meanwhile: the stream's counts, asked for after the reading, name them all. A read may
        have been served by a replica that lacked one, or before it was there; then it is
        repeated.

        ``continued`` is shown the newest ``owner.continued``, if there is one, and returns the
        sequence at or below which nothing is wanted.
        """
        for number in range(READS_OF_A_MAILBOX_MAX):
            if number:
                await trio.sleep(0.005 * 2**number)
            found = await self._mailbox(filter_subject, after, continued)
            if found is not None:
                return found
        raise UnavailableError(f"{filter_subject} changes faster than it can be read")

    async def _mailbox(
        self, filter_subject: str, after: int, continued: Callable[[Delivery], int] | None
    ) -> list[Delivery] | None:
        """Read a mailbox once; None when it has changed meanwhile.

        The server finds the next message of a wildcard filter by looking at every message in
        between (1 ms among 20,000), but the last one of each subject at once (10 us). In a
        mailbox nearly every message has a subject of its own, so the last ones are all, and
        the stream's counts prove it. A subject that has more is read for itself, up to the
        newest message of the first answer.
        """
        try:
            newest, left, _ = await self._get(
                {
                    "multi_last": [filter_subject],
                    "batch": SUBJECTS_MAX,
                    "max_bytes": BATCH_BYTES_MAX,
                }
            )
        except OversizedError:
            newest, left = [], 1
        if continued is not None:
            subject = filter_subject.removesuffix(">") + CONTINUED
            # An answer that was cut short need not have it.
            latest = await self.last([subject]) if left else newest
            after = max([after, *(continued(each) for each in latest if each.subject == subject)])
        if left:
            every = await self.subject(filter_subject, after=after)
            return await self._with_packs(every, await self._counts(filter_subject), after)
        if not newest:
            return []
        counts = await self._counts(filter_subject)
        if _packs_not_in(newest, counts):
            return None
        found = {each.seq: each for each in newest}
        through = max(found)
        for each in newest:
            count = counts.get(each.subject, 0)
            if count == 1 or each.seq <= after:
                continue
            if not count and "\\x" in each.subject:
                continue  # no UTF-8: the counts name it otherwise, and no fold takes it
            more = await self.subject(each.subject, after=after) if count else []
            if all(other.seq != each.seq for other in more):
                return None  # a replica that is behind, or a purge in between
            found |= {other.seq: other for other in more if other.seq <= through}
        return [found[seq] for seq in sorted(found) if seq > after]

    async def many(self, partition: int, instances: Collection[str]) -> dict[str, list[Delivery]]:
        """Return the mailboxes of many instances of one partition, as ``mailbox`` would.

        One that takes more than its newest messages, or that changes meanwhile, is left out.
        Raises UnavailableError, UnknownOutcomeError.
        """
        address = f"movant.mail.{partition}."
        least = await self.newest(f"{address}>")
        found: dict[str, list[Delivery]] = {}

        async def read(part: Sequence[str]) -> None:
            messages = await self.whole([f"{address}{each}.>" for each in part], least)
            for each in messages or ():
                found.setdefault(each.subject.split(".", 4)[3], []).append(each)

        await together(*(partial(read, part) for part in _parts(list(instances))))
        counts: dict[str, dict[str, int]] = {}
        for subject, count in (await self._counts(f"{address}>")).items():
            counts.setdefault(subject.split(".", 4)[3], {})[subject] = count
        return {
            instance: box
            for instance, box in found.items()
            if not _packs_not_in(box, counted := counts.get(instance, {}))
            and all(counted.get(each.subject) == 1 for each in box)
        }

    async def _with_packs(
        self, found: list[Delivery], counts: dict[str, int], after: int
    ) -> list[Delivery] | None:
        """Add the packs that the stream counts and a reading above ``after`` did not meet."""
        wanted = _packs_not_in(found, counts)
        if not wanted:
            return found
        more = await self.last(sorted(wanted))
        if len(more) < len(wanted):
            return None
        by_seq = {each.seq: each for each in (*found, *more) if each.seq > after}
        return [by_seq[seq] for seq in sorted(by_seq)]

    async def follow(
        self, filter_subject: str, after: int
    ) -> AsyncGenerator[list[Delivery], None]:
        """Yield the messages of a subject filter above ``after`` in portions, in order."""
        while True:
            part, left, _ = await self._get(
                {
                    "seq": after + 1,
                    "next_by_subj": filter_subject,
                    "batch": BATCH,
                    "max_bytes": BATCH_BYTES_MAX,
                }
            )
            # A few at a time: who takes them parses each, and others wait for that.
            for start in range(0, len(part), PORTION):
                yield part[start : start + PORTION]
                await trio.lowlevel.checkpoint()
            if not left:
                return
            after = part[-1].seq if part else after

    async def newest(self, filter_subject: str) -> int:
        """Return a sequence that a complete answer for the filter must reach, as the leader says.

        For who reads without a message that made him ask (hazard S6). One server alone is never
        behind: then it is 0. Raises UnavailableError, UnknownOutcomeError.
        """
        if self._replicas == 1:
            return 0
        body = msgspec.json.encode({"last_by_subj": filter_subject})
        answer = await self._transport.request(Outgoing(self._leader_subject, body), READ_S)
        return seq_of(answer.payload, self._leader_subject)

    async def last(self, subjects: Sequence[str]) -> list[Delivery]:
        """Return the last message of each subject; filters with wildcards may be used."""
        return (await self.latest(subjects))[0]

    async def latest(self, subjects: Sequence[str]) -> tuple[list[Delivery], int]:
        """Return the same, and the sequence up to which all answers speak.

        That is 0 when a part of the subjects has nothing: the server does not say then how
        far it looked.
        """
        found: list[Delivery] = []
        up_to = []
        for start in range(0, len(subjects), SUBJECTS_MAX):
            part = list(subjects[start : start + SUBJECTS_MAX])
            while part:
                messages, left, said = await self._get(
                    {"multi_last": part, "batch": SUBJECTS_MAX, "max_bytes": BATCH_BYTES_MAX}
                )
                found += messages
                up_to.append(said)
                if not left or not messages:
                    break
                # The answer was cut by its bytes. It is ordered by sequence, not by subject.
                had = {each.subject for each in messages}
                rest = [each for each in part if each not in had]
                if len(rest) == len(part):
                    break
                part = rest
        return found, min(up_to, default=0)

    async def whole(self, filters: Sequence[str], head: int) -> list[Delivery] | None:
        """Return the last message of each subject that matches, as of sequence ``head`` or later.

        None when one answer cannot tell: it is too large, of a replica that is behind, or
        empty, because then the server does not say how far it looked.
        """
        try:
            found, left, up_to = await self._get(
                {
                    "multi_last": list(filters),
                    "batch": SUBJECTS_MAX,
                    "max_bytes": BATCH_BYTES_MAX,
                }
            )
        except OversizedError:
            return None
        return found if not left and up_to >= head else None

    async def batch(self, filter_subject: str, after: int, limit: int) -> list[Delivery]:
        """Return up to ``limit`` messages above ``after``, in order, as one replica has them."""
        return (
            await self._get(
                {
                    "seq": after + 1,
                    "next_by_subj": filter_subject,
                    "batch": limit,
                    "max_bytes": BATCH_BYTES_MAX,
                }
            )
        )[0]

    async def since(self, moment: int) -> Delivery | None:
        """Return the first message that was stored at a time or later, or None.

        ``moment`` is in nanoseconds since 1970.
        """
        found, _, _ = await self._get(
            {"start_time": to_time(moment), "next_by_subj": ">", "batch": 1}
        )
        return found[0] if found else None

    async def _get(self, request: dict[str, Any]) -> tuple[list[Delivery], int, int]:
        """Ask once; ask again a few times when the answer is incomplete.

        Returns the messages, how many more there are behind them (the server may end a batch
        early, by its bytes), and up to which sequence the answer speaks, 0 if it does not say.
        Raises UnavailableError when the stream does not answer.
        """
        body = msgspec.json.encode(request)
        for pause_s in PAUSE_S:
            await trio.sleep(pause_s)
            async with self._limit:
                read = await self._ask(body)
            if read is None:
                continue
            if read.status == 404:  # noqa: PLR2004 - nothing there
                return [], 0, 0
            if read.status == 204:  # noqa: PLR2004 - the end of the batch
                return read.found, read.left, read.up_to
            if read.status == 413:  # noqa: PLR2004
                raise OversizedError(f"too many subjects for one direct get ({len(body)} bytes)")
        raise UnavailableError(f"{self._subject} does not answer")

    async def _counts(self, filter_subject: str) -> dict[str, int]:
        """Return how many messages each subject of a filter has."""
        return (await self._info({"subjects_filter": filter_subject})).subjects or {}

    async def first(self) -> int:
        """Return the first sequence that the stream still has."""
        return (await self._info({})).first_seq

    async def extent(self) -> tuple[int, int]:
        """Return the first sequence that the stream has, and one up to which any read sees all.

        With replicas that is 0: the next read may be served by one that is behind.
        """
        state = await self._info({})
        return state.first_seq, state.last_seq if self._replicas == 1 else 0

    async def _info(self, request: dict[str, str]) -> _Counts.State:
        body = msgspec.json.encode(request)
        try:
            answer = await self._transport.request(Outgoing(self._info_subject, body), READ_S)
        except UnknownOutcomeError as error:
            raise UnavailableError(f"{self._info_subject} does not answer") from error
        state = _counts_decoder.decode(answer.payload).state
        self.floor = max(self.floor, state.first_seq)
        return state

    async def _ask(self, body: bytes) -> _Read | None:
        self._number += 1
        token = str(self._number)
        read = self._reads[token] = _Read(trio.Event(), [])
        try:
            self._transport.publish(Outgoing(self._subject, body, reply=self._inbox + token))
            with trio.move_on_after(READ_S):
                await read.done.wait()
                return read
        except UnknownOutcomeError:
            return None
        finally:
            del self._reads[token]
        return None

    def _take(self, frames: Sequence[Frame]) -> None:
        start = len(self._inbox)
        for frame in frames:
            read = self._reads.get(frame.subject[start:])
            if read is None:
                continue
            status = h.status(frame.headers)
            if status:
                read.status = status
                said = h.decode(frame.headers) or {}
                read.left = int(said.get("Nats-Num-Pending", 0))
                read.up_to = int(said.get("Nats-UpTo-Sequence", 0))
                read.done.set()
            else:
                # Here and not at the end: a large batch comes in portions.
                read.found.append(delivery_of(frame))


def _packs_not_in(found: Sequence[Delivery], counts: dict[str, int]) -> set[str]:
    """Return the packs that the stream counts and that are not among what was read."""
    packs = {subject for subject in counts if is_pack(subject)}
    return packs - {each.subject for each in found} if packs else packs


def _parts(instances: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(instances), TOGETHER):
        yield instances[start : start + TOGETHER]
