"""Schemas: valid documents in which every example fits and every reference resolves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from protocols import headers, subjects
from protocols.api import runs as api
from protocols.archive import ArchiveRecord
from protocols.catalogue import HEADERS, PARAMETERS, catalogue
from protocols.schema import DIALECT, asyncapi, messages

SCHEMAS = messages()
DOCUMENT = asyncapi("0.1.0")


def references(node: Any) -> Iterator[str]:
    """Yield every $ref of a document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            elif key not in {"examples", "default"}:
                yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def resolve(document: Any, reference: str) -> Any:
    """Follow a local reference."""
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def fits(name: str, instance: Any) -> bool:
    """Tell whether an instance is valid for a message's schema."""
    return bool(Draft202012Validator(SCHEMAS[name]).is_valid(instance))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_valid_and_its_example_fits(name: str) -> None:
    """2020-12, with resolving references, and an example that is one."""
    schema = SCHEMAS[name]

    Draft202012Validator.check_schema(schema)

    assert schema["$schema"] == DIALECT
    assert schema["description"]
    assert all(resolve(schema, reference) for reference in references(schema))
    for example in schema["examples"]:
        Draft202012Validator(schema).validate(example)


def test_every_kind_of_message_has_a_schema() -> None:
    """Mailbox, services, events, API calls with replies and errors."""
    expected = {
        "start",
        "signal",
        "timer",
        "owner.pinned",
        "owner.timeout",
        "owner.refused",
        "owner.routed",
        "owner.turn",
        "owner.child",
        "control.cancel",
        "control.gate",
        "control.undo",
        "control.migrate",
        "control.repair",
        "control.switch",
        "control.fork",
        "control.review",
        "service.request",
        "service.request.reply",
        "service.request.error",
        "event",
        "api.error",
        *(f"api.{verb}" for verb in api.VERBS),
        *(f"api.{verb}.reply" for verb in api.VERBS),
    }

    assert set(SCHEMAS) == expected


@pytest.mark.parametrize(
    ("name", "instance"),
    [
        ("start", {"subject": "movant.to._owner.start.w", "headers": {}}),
        ("start", {"subject": "movant.to.a.b.start.w", "headers": {}}),
        ("start", {"subject": "movant.to.a.signal.w", "headers": {}}),
        ("signal", {"subject": "movant.to.a.signal.w", "headers": {headers.SCHEMA: "new"}}),
        ("service.request", {"subject": "movant.svc.a.b", "headers": {headers.KEY: "k"}}),
        ("service.request.error", {"subject": "movant.to.a.reply.s.1.t", "headers": {}}),
        ("owner.timeout", {"subject": "movant.to.a.owner.timeout", "payload": {"epoch": 1}}),
        ("owner.timeout", {"subject": "movant.to.a.owner.timeout"}),
        ("control.cancel", {"subject": "movant.to.a.control.cancel", "payload": 1}),
        ("api.run.start", {"subject": "movant.api.run.start", "payload": {}}),
        ("api.run.start", {"subject": "movant.api.run.stop", "payload": {"workflow": "w"}}),
    ],
)
def test_a_wrong_message_does_not_fit(name: str, instance: Any) -> None:
    """The schemas say no where the daemon says no."""
    assert not fits(name, instance)


def test_subjects_that_movant_builds_fit_the_schemas() -> None:
    """Builder and documentation are the same thing."""
    assert fits("start", {"subject": subjects.to_start("i", "shop.order")})
    assert fits("signal", {"subject": subjects.to_signal("i", "paid"), "payload": [1]})
    assert fits(
        "service.request.reply",
        {"subject": subjects.to_reply("i", subjects.step_token("/a/b#2"), 3, "k1-ab")},
    )


def test_owner_messages_are_described_without_what_the_server_adds() -> None:
    """Sequence, time and kind are not in a payload; a child's result is a value there."""
    child = SCHEMAS["owner.child"]["$defs"]["ChildEnded"]["properties"]

    assert not {"seq", "at", "kind", "body"} & set(child)
    assert {"step", "child", "status", "result", "failure"} <= set(child)


def test_the_asyncapi_document_is_complete_and_consistent() -> None:
    """Every reference resolves; operations speak of messages of their own channels."""
    assert DOCUMENT["asyncapi"].startswith("3.")
    assert DOCUMENT["info"]["title"] == "movant"
    assert all(resolve(DOCUMENT, reference) for reference in references(DOCUMENT))
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        for part in (operation, operation.get("reply")):
            if part is not None:
                channel = part["channel"]["$ref"]
                assert all(m["$ref"].startswith(f"{channel}/messages/") for m in part["messages"])
    assert set(DOCUMENT["components"]["messages"]) == set(catalogue())


def test_every_parameter_of_an_address_is_described() -> None:
    """AsyncAPI wants exactly the parameters that an address has."""
    for channel in DOCUMENT["channels"].values():
        address = channel["address"] or ""
        assert set(re.findall(r"\{(\w+)\}", address)) == set(channel.get("parameters", {}))
        assert all(item["description"] for item in channel.get("parameters", {}).values())


def test_requests_say_where_the_reply_goes() -> None:
    """A service replies into the mailbox, the API to the inbox of the client."""
    request = DOCUMENT["operations"]["service.request"]
    call = DOCUMENT["operations"]["api.run.start"]

    replies = resolve(DOCUMENT, request["reply"]["channel"]["$ref"])
    answers = resolve(DOCUMENT, call["reply"]["channel"]["$ref"])
    assert (request["action"], call["action"]) == ("send", "receive")
    assert replies["address"].startswith("movant.to.{id}.reply.")
    assert set(replies["messages"]) == {"service.request.reply", "service.request.error"}
    assert answers["address"] is None
    assert set(answers["messages"]) == {"api.run.start.reply", "api.error"}


def test_the_shared_schemas_of_the_document_are_valid() -> None:
    """Each component is a JSON Schema of its own."""
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_field_of_the_api_is_described() -> None:
    """Who reads the schema need not read our code."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if hasattr(api, name) and name not in {"Waiting", "Failure"}:
            assert all("description" in field for field in schema["properties"].values()), name


def test_patterns_of_headers_and_parameters_are_regular_expressions() -> None:
    """And every header in use is in the table, with a description."""
    for pattern, description in (*HEADERS.values(), *PARAMETERS.values()):
        re.compile(pattern)
        assert description.endswith(".")
    for message in catalogue().values():
        assert {*message.required, *message.optional} <= set(HEADERS)
        assert set(message.example_headers) <= {*message.required, *message.optional}


def test_an_archive_record_keeps_its_result_as_it_was() -> None:
    """The result of a finished instance is not read and written again."""
    record = ArchiveRecord(
        id="i",
        workflow="w",
        definition="d",
        status="completed",
        started_at=1,
        finished_at=2,
        through=3,
        result=msgspec.Raw(b'{"a": 1.0}'),
    )

    back = msgspec.json.decode(msgspec.json.encode(record), type=ArchiveRecord)

    assert bytes(back.result) == b'{"a": 1.0}'
