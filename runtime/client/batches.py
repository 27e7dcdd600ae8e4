"""Many starts or signals as few requests: pure cutting of a long list into payloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from protocols.api import runs as api
from protocols.codec import encode
from protocols.errors import ConfigurationError
from protocols.subjects import check_id

CHUNK_ITEMS: Final = 500
"""Items in one request. Measured: 100 start 500 to 3,500 runs a second, 500 and 1,000 more than
5,000 while the daemon works on the runs; smaller requests are fairer to other clients."""
CHUNK_BYTES_MAX: Final = 512 * 1024
"""Half of what a server takes by default: the answer has to fit as well."""
_SPARE_BYTES: Final = 1_024


def starts(
    workflow: str,
    items: Iterable[Any],
    new_id: Callable[[], str],
    *,
    items_max: int,
    bytes_max: int,
    claim: Mapping[str, Any] | None = None,
) -> Iterator[bytes]:
    """Yield payloads of RunStartMany. An item that has no id gets one.

    ``claim`` has further fields of the request.

    Raises BadValueError for an input that is no value.
    """
    encoded = (encode(_with_id(item, new_id)) for item in items)
    head = encode({"workflow": workflow, **(claim or {})})[1:-1]
    return _cut(encoded, head, items_max, bytes_max)


def signals(
    name: str,
    ids: Iterable[str],
    data: Any,
    new_id: Callable[[], str],
    *,
    items_max: int,
    bytes_max: int,
) -> Iterator[bytes]:
    """Yield payloads of RunSignalMany. Every signal gets a message id of its own."""
    encoded = (
        encode(api.SignalItem(id=check_id(each), data=data, message_id=new_id())) for each in ids
    )
    return _cut(encoded, b'"name":%b' % encode(name), items_max, bytes_max)


def _cut(items: Iterable[bytes], head: bytes, items_max: int, bytes_max: int) -> Iterator[bytes]:
    """Join encoded items to payloads within both limits.

    One that is alone above the limit goes alone: the daemon says what is wrong with it.
    """
    if not 1 <= items_max <= api.ITEMS_MAX:
        raise ConfigurationError(
            f"chunk is {items_max}", hint=f"a request takes 1 to {api.ITEMS_MAX} items"
        )
    room = min(bytes_max - _SPARE_BYTES, CHUNK_BYTES_MAX)
    waiting: list[bytes] = []
    size = 0
    for encoded in items:
        if waiting and (len(waiting) >= items_max or size + len(encoded) > room):
            yield _payload(head, waiting)
            waiting, size = [], 0
        waiting.append(encoded)
        size += len(encoded) + 1
    if waiting:
        yield _payload(head, waiting)


def _with_id(item: Any, new_id: Callable[[], str]) -> api.StartItem:
    if isinstance(item, api.StartItem):
        if item.id is None:
            return api.StartItem(input=item.input, id=new_id())
        check_id(item.id)
        return item
    return api.StartItem(input=item, id=new_id())


def _payload(head: bytes, encoded: list[bytes]) -> bytes:
    return b'{"items":[%b],%b}' % (b",".join(encoded), head)
