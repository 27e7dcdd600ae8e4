"""What trio takes of a read of the socket at once: a bounded number of frames, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocols.ports import Frame
from runtime.bridge.handover import Inbox, Subscribed
from runtime.bridge.wire import Chunk

RUNS = st.lists(st.tuples(st.sampled_from([b"1", b"2", b"3"]), st.integers(1, 9)), max_size=6)


def chunk(runs: list[tuple[bytes, int]], first: int) -> Chunk:
    """Return what one read held: numbered frames of some subscriptions."""
    made, number = [], first
    for sid, count in runs:
        made.append((sid, [Frame(str(number + n), "", b"", b"") for n in range(count)]))
        number += count
    return Chunk(made, [], number - first, 0, 100)


@given(st.lists(RUNS, max_size=5), st.integers(1, 12))
def test_a_turn_takes_so_many_frames_and_leaves_the_rest_in_order(
    reads: list[list[tuple[bytes, int]]], most: int
) -> None:
    """Each frame once, with its subscription; the counts end even, and events keep their place."""
    inbox = Inbox()
    wanted: list[object] = []
    total = 0
    for runs in reads:
        read = chunk(runs, total)
        wanted += [(sid, each.subject) for sid, frames in read.runs for each in frames]
        wanted.append((b"9",))
        total += read.frames
        inbox.put_chunk(read)
        inbox.items.append(Subscribed((b"9",)))

    taken: list[object] = []
    turns = []
    while inbox.items:
        frames = 0
        for item in inbox.take(most):
            if isinstance(item, Chunk):
                taken += [(sid, each.subject) for sid, run in item.runs for each in run]
                frames += item.frames
                inbox.note_taken(item)
            else:
                assert isinstance(item, Subscribed)
                taken.append(item.sids)
        turns.append(frames)

    assert taken == wanted
    assert max(turns, default=0) <= most
    assert (inbox.frames, inbox.bytes_count) == (0, 0)
