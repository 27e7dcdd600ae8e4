"""OperatorQueries: raw messages, packed definitions, checks of the server, dead letters."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.store.dead_letters import HEADERS_KEPT_BYTES_MAX, TRIGGER
from actors.store.direct_reader import DirectReader
from actors.store.kv import ANSWER_S
from actors.store.stream_writer import PubAck
from protocols import headers as h
from protocols import subjects
from protocols.api import runs as api
from protocols.api.operations import SHOWN_BYTES_MAX
from protocols.errors import (
    BadValueError,
    MovantError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from protocols.mail import Signal
from protocols.ports import Frame, Outgoing
from protocols.routes import split, table_of
from runtime.checks import check_server
from runtime.server.accounts import foreign_subjects
from runtime.stored import Stand, StoredRuns
from runtime.triggers import messages

if TYPE_CHECKING:
    from runtime.daemon import Daemon

REPLAY_MAX: Final = 500
"""Letters that one request sends again."""
REPLAYED: Final = frozenset({"start", "signal"})
"""Kinds that anybody may send; the others are the daemon's and the services'."""
_ID_HEADER: Final = h.MESSAGE_ID
_DEAD: Final = "movant.dead."
_ack_decoder: Final = msgspec.json.Decoder(PubAck)


class OperatorQueries:
    """Answers operators. ``mail`` and ``dead`` read the streams of these names."""

    def __init__(self, daemon: Daemon, mail: DirectReader, dead: DirectReader) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._mail = mail
        self._stored = StoredRuns(daemon, mail)
        self._dead = dead

    async def messages(self, request: api.RunMessages) -> api.Message:
        """Read a page of raw messages."""
        subjects.check_id(request.id)
        found: list[api.StoredMessage] = []
        size, more = 0, False
        stand = await self._stored.stand(self._stored.partition_of(request.id))
        async with aclosing(self._batches(request, stand)) as batches:
            async for batch in batches:
                for each in batch:
                    size += min(len(each.payload), SHOWN_BYTES_MAX) + len(each.headers)
                    more = bool(found) and size > SHOWN_BYTES_MAX
                    if more:
                        break
                    found.append(_stored(each))
                if more:
                    break
        if not found and not request.after:
            raise NotFoundError(f"no instance {request.id!r}", hint="movant run ls")
        return api.MessagePage(
            messages=found,
            markers=[]
            if request.after
            else [api.EpochMarker(seq=seq, epoch=epoch) for seq, epoch in stand.epochs.markers()],
            next=found[-1].seq if more else 0,
        )

    async def fetch(self, request: api.WorkflowFetch) -> api.Message:
        """Read a packed definition."""
        code, table = split(request.hash)
        store = self._parts.definition_store
        routes = table_of(await store.table(table)) if table else None
        return api.WorkflowPacked(hash=request.hash, data=await store.get(code), routes=routes)

    async def check(self, _: api.Empty) -> api.Message:
        """Check server, streams and permissions with the daemon's login."""
        config = self._daemon.config
        return await check_server(
            self._parts.transport,
            foreign=foreign_subjects(config.services),
            partitions=config.partitions,
            replicas=config.replicas,
        )

    async def dead_list(self, request: api.DeadList) -> api.Message:
        """List dead letters."""
        letters = await self._letters(_filter(request.reason), request.after, request.limit + 1)
        rows = [_row(each) for each in letters[: request.limit]]
        more = len(letters) > request.limit
        counts = await self._counts()
        return api.DeadPage(letters=rows, reasons=counts, next=rows[-1].seq if more else 0)

    async def dead_show(self, request: api.DeadShow) -> api.Message:
        """Show a dead letter with its bytes."""
        letter = await self._letter(request.seq)
        row = msgspec.structs.asdict(_row(letter))
        return api.DeadView(
            **row, headers=_former_headers(letter), payload=letter.payload[:SHOWN_BYTES_MAX]
        )

    async def dead_replay(self, request: api.DeadReplay) -> api.Message:
        """Send letters again; what was sent is removed."""
        _check_which(request, "dead.replay")
        through = request.through or (await self._state())["last_seq"]
        letters, following = await self._chosen(request, through)
        results = []
        for letter in letters:
            try:
                subject = await self._send(letter)
                await self._delete(letter.seq)
                results.append(api.DeadReplayed(seq=letter.seq, subject=subject))
            except MovantError as error:
                results.append(api.DeadReplayed(seq=letter.seq, error=api.error_reply(error)))
        return api.DeadReplays(letters=results, next=following, through=through)

    async def dead_purge(self, request: api.DeadPurge) -> api.Message:
        """Remove letters."""
        _check_which(request, "dead.purge")
        if request.seq:
            await self._letter(request.seq)
            await self._delete(request.seq)
            return api.DeadPurged(purged=1)
        body = {"filter": _filter(request.reason)}
        told = await self._ask("$JS.API.STREAM.PURGE.DEAD", body)
        return api.DeadPurged(purged=int(told.get("purged", 0)))

    async def _batches(
        self, request: api.RunMessages, stand: Stand
    ) -> AsyncGenerator[list[Delivery], None]:
        """Yield an instance's messages; what was packed or archived stands where it was."""
        if stand.mark:
            whole = await self._stored.messages(request.id, stand)
            yield [each for each in whole if each.seq > request.after]
            return
        mailbox = subjects.mailbox(request.id, self._stored.partition_of(request.id))
        async with aclosing(self._mail.follow(mailbox, request.after)) as batches:
            async for batch in batches:
                yield batch

    async def _counts(self) -> dict[str, int]:
        found = (await self._state()).get("subjects") or {}
        return {subject.removeprefix(_DEAD): count for subject, count in sorted(found.items())}

    async def _state(self) -> dict[str, Any]:
        """Return the state of DEAD, with its subjects."""
        told = await self._ask("$JS.API.STREAM.INFO.DEAD", {"subjects_filter": _DEAD + ">"})
        if "state" not in told:
            raise UnavailableError(f"DEAD does not answer: {told.get('error')}")
        found: dict[str, Any] = told["state"]
        return found

    async def _letters(self, pattern: str, after: int, count: int) -> list[Delivery]:
        """Return up to so many letters above a sequence."""
        found: list[Delivery] = []
        async with aclosing(self._dead.follow(pattern, after)) as batches:
            async for batch in batches:
                found += batch
                if len(found) >= count:
                    break
        return found[:count]

    async def _letter(self, seq: int) -> Delivery:
        for letter in await self._letters(f"{_DEAD}>", seq - 1, 1):
            if letter.seq == seq:
                return letter
        raise NotFoundError(f"no dead letter {seq}", hint="movant dead ls")

    async def _chosen(self, request: api.DeadReplay, through: int) -> tuple[list[Delivery], int]:
        """Return the letters to send now, and behind which the next ones are."""
        if request.seq:
            return [await self._letter(request.seq)], 0
        found = await self._letters(_filter(request.reason), request.after, REPLAY_MAX + 1)
        found = [each for each in found if each.seq <= through]
        return found[:REPLAY_MAX], found[REPLAY_MAX - 1].seq if len(found) > REPLAY_MAX else 0

    async def _send(self, letter: Delivery) -> str:
        """Publish a letter where it was addressed, and wait until it is stored."""
        found = h.decode(letter.headers) or {}
        if letter.subject == subjects.dead(messages.REASON):
            return await self._fire(letter, found)
        subject = _address(found.get("Movant-Subject", ""))
        lines = _sendable(_former_headers(letter))
        if _ID_HEADER not in lines:
            if await self._counts_in_place(letter):
                raise RefusedError(
                    "a signal without an id would count twice: it stands in its mailbox and is"
                    " valid by now",
                    hint="it counts when its run is folded the next time; nothing need be sent",
                )
            # So that a letter that is sent twice counts once.
            lines[_ID_HEADER] = f"dead-{found.get('Movant-Sequence', letter.seq)}"
        frame = await self._parts.transport.request(
            Outgoing(subject, letter.payload, h.encode(lines)), ANSWER_S
        )
        try:
            ack = _ack_decoder.decode(frame.payload)
        except msgspec.DecodeError as error:
            raise UnavailableError("the stream did not acknowledge the letter") from error
        if ack.error is not None:
            raise RefusedError(f"the stream refused it: {ack.error.description}")
        return subject

    async def _fire(self, letter: Delivery, found: Mapping[str, str]) -> str:
        """Give a message to its trigger again, and to nobody else who listens there."""
        key, subject = found.get(TRIGGER, ""), found.get("Movant-Subject", "")
        triggers = getattr(self._parts, "triggers", None)
        if triggers is None:
            raise UnavailableError("triggers are not read yet", hint="try again soon")
        if not key:
            raise RefusedError("the letter does not say whose it was", hint="publish it yourself")
        block = h.block(h.encode(_sendable(_former_headers(letter))))
        token = found.get(_ID_HEADER, "").removeprefix(f"{key}-")
        await triggers.messages.again(key, Frame(subject, "", block, letter.payload), token)
        return subject

    async def _counts_in_place(self, letter: Delivery) -> bool:
        """Tell whether a signal is still in its mailbox, and this daemon can fold it there."""
        row = _row(letter)
        subject = row.subject
        async with aclosing(self._mail.follow(subject, row.source_seq - 1)) as batches:
            async for batch in batches:
                parsed = parse(batch[0], self._parts.keys)
                here = batch[0].seq == row.source_seq
                return here and isinstance(parsed, Letter) and isinstance(parsed.mail, Signal)
        return False

    async def _delete(self, seq: int) -> None:
        told = await self._ask("$JS.API.STREAM.MSG.DELETE.DEAD", {"seq": seq})
        if "error" in told:
            raise UnavailableError(f"letter {seq} stays: {told['error'].get('description')}")

    async def _ask(self, subject: str, request: Any) -> dict[str, Any]:
        frame = await self._parts.transport.request(
            Outgoing(subject, msgspec.json.encode(request)), ANSWER_S
        )
        told: dict[str, Any] = msgspec.json.decode(frame.payload, type=dict[str, Any])
        return told


def _stored(each: Delivery) -> api.StoredMessage:
    return api.StoredMessage(
        seq=each.seq,
        at=each.at,
        subject=each.subject,
        headers=each.headers,
        payload=each.payload[:SHOWN_BYTES_MAX],
        size=len(each.payload),
    )


def _check_which(request: api.DeadReplay | api.DeadPurge, verb: str) -> None:
    """Raise BadValueError unless one thing is named: a misspelled field must not mean all."""
    if (request.seq != 0) + (request.reason != "") + request.all != 1:
        raise BadValueError(
            f"{verb} takes one of `seq`, `reason` and `all`", hint="movant dead ls shows them"
        )


def _filter(reason: str) -> str:
    """Return the subjects of a reason. Raises InvalidIdError for what is none."""
    return f"{_DEAD}{subjects.check_id(reason, 'reason')}" if reason else f"{_DEAD}>"


def _row(letter: Delivery) -> api.DeadRow:
    found = h.decode(letter.headers) or {}
    source = found.get("Movant-Sequence", "")
    return api.DeadRow(
        seq=letter.seq,
        at=letter.at,
        reason=letter.subject.removeprefix(_DEAD),
        subject=found.get("Movant-Subject", ""),
        source_seq=int(source) if source.isdecimal() else 0,
        detail=found.get("Movant-Detail", ""),
        size=len(letter.payload),
    )


def _former_headers(letter: Delivery) -> bytes:
    """Return the header block that the message had, cut where the letter cut it."""
    text = (h.decode(letter.headers) or {}).get("Movant-Headers", "")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _address(stored: str) -> str:
    """Return where a message that stood at ``stored`` can be sent by anybody.

    Raises RefusedError.
    """
    tokens = stored.split(".")
    instance, rest = (tokens[3:4], tokens[4:]) if tokens[:2] == ["movant", "mail"] else ([], [])
    sendable = (
        len(instance) == 1
        and subjects.is_id(instance[0])
        and len(rest) > 1
        and rest[0] in REPLAYED
        and not {"", "*", ">"} & set(rest)
    )
    if not sendable:
        raise RefusedError(
            f"a message to {stored[:100]} is not sent again",
            hint="only starts and signals of valid ids are; correct it and publish it yourself",
        )
    return f"{subjects.TO}{instance[0]}.{'.'.join(rest)}"


def _sendable(block: bytes) -> dict[str, str]:
    """Return the headers to send again: none of the server's, and none that were cut off."""
    if not block:
        return {}
    found = h.decode(block)
    if found is None or len(block) >= HEADERS_KEPT_BYTES_MAX:
        raise RefusedError(
            "its headers cannot be read, or were too long to keep",
            hint="publish it yourself: movant dead show has its payload",
        )
    return {name: value for name, value in found.items() if not name.lower().startswith("nats-")}
