"""The owners of a journey's states; they undo by key, and refuse a key that was undone."""

from typing import Any

import movant

hotel = movant.Service("hotel")
airline = movant.Service("airline")

BOOKED: dict[str, str] = {}
"""What is booked, by the key of the step."""
REFUSED: set[str] = set()


@hotel.operation("book")
def book_hotel(motion: Any, call: movant.Call) -> str:
    """Book a room, once per key."""
    return _book(call.key, f"a room in {motion['input']['to']}")


@airline.operation("book")
def book_flight(motion: Any, call: movant.Call) -> str:
    """Book a flight, if there is one."""
    if motion["input"]["to"] == "moon":
        raise movant.Refused("refused", "nobody flies to the moon")
    return _book(call.key, f"a flight to {motion['input']['to']}")


@hotel.operation("cancel")
@airline.operation("cancel")
def cancel(undo: movant.UndoRequest) -> None:
    """Undo by key, whether the booking is there or not."""
    REFUSED.add(undo.key)
    BOOKED.pop(undo.key, None)


def _book(key: str, what: str) -> str:
    if key in REFUSED:
        raise movant.Refused("undone", "it was cancelled before it came")
    return BOOKED.setdefault(key, what)
