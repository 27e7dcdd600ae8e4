"""What an owner knows of its partitions: which of what is read it was handed before."""

from __future__ import annotations

import pytest

from actors.owning.partitions import Partitions
from actors.store.checkpoint import Checkpoint


@pytest.mark.parametrize(
    ("subject", "seq", "known"),
    [
        ("movant.mail.3.a.signal.go", 7, True),
        ("movant.mail.3.a.signal.go", 8, False),
        ("movant.mail.3._owner", 7, True),
        ("movant.mail.4.a.signal.go", 7, False),
        ("movant.mail.x.a.signal.go", 7, False),
        ("movant.mail.3", 7, False),
        ("movant.to.3.a.signal.go", 7, False),
    ],
)
def test_what_was_handed_on_is_known_by_its_subject(
    subject: str, seq: int, *, known: bool
) -> None:
    """Up to the position of its partition, if that is ours; what is odd is parsed and told."""
    partitions = Partitions(64)
    partitions.add(3, 1, Checkpoint(position=7))

    assert partitions.knows(subject, seq) is known
