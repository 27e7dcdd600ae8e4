"""Many starts as few requests: pure cutting of a long list into payloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from protocols import api
from protocols.codec import encode
from protocols.errors import ConfigurationError
from protocols.subjects import check_id

CHUNK_ITEMS: Final = 500
"""Items in one request. Measured: 100 start 500 to 3,500 runs a second, 500 and 1,000 more than
5,000 while the daemon works on the runs; smaller requests are fairer to other clients."""
CHUNK_BYTES_MAX: Final = 512 * 1024
"""Half of what a server takes by default: the answer has to fit as well."""
WINDOW: Final = 4
"""Requests under way at once."""
_SPARE_BYTES: Final = 1_024


def chunks(
    workflow: str,
    items: Iterable[Any],
    new_id: Callable[[], str],
    *,
    items_max: int,
    bytes_max: int,
) -> Iterator[bytes]:
    """Yield payloads of RunStartMany. An item that has no id gets one.

    Every item is encoded once. One that is alone above the limit goes alone: the daemon says
    what is wrong with it. Raises BadValueError for an input that is no value.
    """
    if not 1 <= items_max <= api.ITEMS_MAX:
        raise ConfigurationError(
            f"chunk is {items_max}", hint=f"a request takes 1 to {api.ITEMS_MAX} items"
        )
    room = min(bytes_max - _SPARE_BYTES, CHUNK_BYTES_MAX)
    waiting: list[bytes] = []
    size = 0
    for item in items:
        encoded = encode(_with_id(item, new_id))
        if waiting and (len(waiting) >= items_max or size + len(encoded) > room):
            yield _payload(workflow, waiting)
            waiting, size = [], 0
        waiting.append(encoded)
        size += len(encoded) + 1
    if waiting:
        yield _payload(workflow, waiting)


def _with_id(item: Any, new_id: Callable[[], str]) -> api.StartItem:
    if isinstance(item, api.StartItem):
        if item.id is None:
            return api.StartItem(input=item.input, id=new_id())
        check_id(item.id)
        return item
    return api.StartItem(input=item, id=new_id())


def _payload(workflow: str, encoded: list[bytes]) -> bytes:
    return b'{"items":[%b],"workflow":%b}' % (b",".join(encoded), encode(workflow))
