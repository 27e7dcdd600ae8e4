"""Subjects: ids that are safe, names that are built in one place, the server's partitions."""

from __future__ import annotations

import asyncio  # noqa: TID251 -- nats-py is the independent witness here
import random
import string

import nats  # noqa: TID251 -- nats-py is the independent witness here
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import subjects
from protocols.errors import InvalidIdError
from tests.support.nats import NatsServer

BAD = ["", "_x", "-x", "a.b.", ".a", "a b", "a*", ">", "ü", "a\n", "a/b", "x" * 129, "a..b"]


@pytest.mark.parametrize("text", ["a", "0", "order-17", "A_b-C", "x" * 128])
def test_good_ids_are_taken(text: str) -> None:
    """Letters, digits, '_' and '-', up to 128 of them."""
    assert subjects.check_id(text) == text
    assert subjects.check_name(text) == text
    assert subjects.check_step_name(text) == text


@pytest.mark.parametrize("text", BAD)
def test_bad_ids_and_names_are_refused_with_the_rule(text: str) -> None:
    """Nothing that means something to the server or to us can be an id."""
    with pytest.raises(InvalidIdError, match="id") as caught:
        subjects.check_id(text)
    with pytest.raises(InvalidIdError, match="workflow") as named:
        subjects.check_name(text, "workflow")

    assert "letters" in caught.value.hint
    assert "letters" in named.value.hint
    assert len(caught.value.message) < 100


@pytest.mark.parametrize("text", ["", "_x", "a/b", "a#1", "x" * 129, "a b", "ü", "."])
def test_bad_step_names_are_refused(text: str) -> None:
    """Paths are built from step names, so '/' and '#' are reserved."""
    with pytest.raises(InvalidIdError, match="step name"):
        subjects.check_step_name(text)


def test_names_may_have_dots_and_ids_may_not() -> None:
    """An id is one token of a subject."""
    assert subjects.check_name("shop.orders.v2") == "shop.orders.v2"
    assert not subjects.is_id("shop.orders")


@pytest.mark.parametrize(
    ("path", "token"),
    [
        ("/charge", "charge"),
        ("/ship/charge#2", "ship/charge#2"),
        ("/a.b", "a%2Eb"),
        ("/" + "x" * 64, "x" * 64),
        ("/" + "x" * 65, "~5bdfee24423e08abbea275b4b68c302f90faa187"),
    ],
)
def test_step_tokens_never_change(path: str, token: str) -> None:
    """They stand in stored subjects: pinned values."""
    assert subjects.step_token(path) == token


@given(path=st.text(st.characters(codec="utf-8"), max_size=200).map("/".__add__))
def test_step_tokens_are_short_and_one_token(path: str) -> None:
    """Whatever a path holds, its token is safe in a subject."""
    token = subjects.step_token(path)

    assert len(token) <= subjects.STEP_TOKEN_BYTES_MAX
    assert token.isascii()
    assert not set(token) & set(" .*>\r\n\t\0")


def test_subjects_are_built_as_the_documentation_says() -> None:
    """The whole table in one place; other languages depend on it."""
    built = [
        subjects.to_start("i", "shop.order"),
        subjects.to_signal("i", "paid"),
        subjects.to_reply("i", "charge", 2, "k1-ff"),
        subjects.to_owner("i", "pinned"),
        subjects.to_control("i", "cancel"),
        subjects.mailbox("i", 7),
        subjects.marker(7),
        subjects.timer(7, "i", "t"),
        subjects.fired(7, "i", "t"),
        subjects.service("payments", "charge"),
        subjects.event("shop.order", "i", "completed"),
        subjects.done(7, "i"),
        subjects.api("run.start"),
        subjects.dead("stray"),
    ]

    assert built == [
        "movant.to.i.start.shop.order",
        "movant.to.i.signal.paid",
        "movant.to.i.reply.charge.2.k1-ff",
        "movant.to.i.owner.pinned",
        "movant.to.i.control.cancel",
        "movant.mail.7.i.>",
        "movant.mail.7._owner",
        "movant.timer.7.i.t",
        "movant.fired.7.i.t",
        "movant.svc.payments.charge",
        "movant.event.shop-order.i.completed",
        "movant.done.7.i",
        "movant.api.run.start",
        "movant.dead.stray",
    ]


@pytest.mark.server
def test_partitions_are_those_of_the_server(nats_binary: str) -> None:
    """Client and server put every id into the same partition, for several counts."""
    chars = string.ascii_letters + string.digits
    draw = random.Random(7)  # noqa: S311 -- test data
    ids = [draw.choice(chars) + "".join(draw.choices(chars + "-_", k=k % 128)) for k in range(500)]
    counts = (1, 7, 64, 1000)
    mappings = "".join(
        f'"probe.{n}.*": "seen.{n}.{{{{partition({n},1)}}}}.{{{{wildcard(1)}}}}"\n' for n in counts
    )

    async def ask(url: str) -> list[tuple[int, str, int]]:
        client = await nats.connect(url)
        seen: list[tuple[int, str, int]] = []
        done = asyncio.Event()

        async def note(message: object) -> None:
            _, count, partition, instance = message.subject.split(".")  # type: ignore[attr-defined]  # nats-py's Msg
            seen.append((int(count), instance, int(partition)))
            if len(seen) == len(counts) * len(ids):
                done.set()

        await client.subscribe("seen.>", cb=note)
        for count in counts:
            for instance in ids:
                await client.publish(f"probe.{count}.{instance}", b"")
        await asyncio.wait_for(done.wait(), 10)
        await client.close()
        return seen

    with NatsServer(nats_binary, extra=f"mappings = {{\n{mappings}}}") as server:
        seen = asyncio.run(ask(server.url))

    assert all(partition == subjects.partition_of(one, count) for count, one, partition in seen)


@pytest.mark.parametrize("name", ["charge", "x" * 80, "a.b"])
@pytest.mark.parametrize("generation", [1, 2, 1_000])
def test_a_step_token_tells_its_generation(name: str, generation: int) -> None:
    """Also one that is a hash; generations never share a token."""
    path = f"{subjects.root_of(generation)}/{name}"

    token = subjects.step_token(path)

    assert subjects.generation_of(token) == generation
    assert len(token) <= subjects.STEP_TOKEN_BYTES_MAX
    assert "." not in token
    assert token != subjects.step_token(f"/@{generation + 1}/{name}")


@pytest.mark.parametrize(
    "token", ["", "~", "~~", "%40", "%40/x", "%40x/y", "~x~y", "%402", "40/x"]
)
def test_a_token_that_names_no_generation_is_of_the_first(token: str) -> None:
    """Whatever stands in a mailbox."""
    assert subjects.generation_of(token) == 1
