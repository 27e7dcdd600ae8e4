"""JSON Schemas and an AsyncAPI document of everything that crosses a subject.

Made from the Structs, for people and programs of other languages: a service, a client or a
dashboard needs these documents and NATS, nothing of ours. Each message is described as it is
on the wire: the subject, the headers and the payload.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from protocols import headers as h
from protocols import mail
from protocols.catalogue import HEADERS, PARAMETERS, Message, catalogue

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_VERSION: Final = "3.0.0"

Schema = dict[str, Any]


def messages() -> dict[str, Schema]:
    """Return a JSON Schema for each kind of message, by name.

    What a schema describes is an object with ``subject``, ``headers`` and ``payload``.
    """
    return {name: _message_schema(name, message) for name, message in catalogue().items()}


def asyncapi(version: str = "1") -> Schema:
    """Return the AsyncAPI document, from the daemon's point of view."""
    known = catalogue()
    schemas = _components(
        (message.payload for message in known.values()), "#/components/schemas/{name}"
    )
    channels: Schema = {}
    operations: Schema = {}
    for name, message in known.items():
        if name.endswith((".reply", ".error")):
            continue
        channels[name] = _channel(message, [name])
        operations[name] = {
            "action": "send" if message.by == "movant" else "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "title": message.title,
            "summary": message.summary,
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }
        answers = [answer for answer in (f"{name}.reply", _error_of(name)) if answer in known]
        if answers:
            # Where an answer goes is in the request: NATS's reply subject.
            channel = f"{name}.replies"
            channels[channel] = {
                **_channel(known[answers[0]], answers),
                "address": known[answers[0]].subject if name == "service.request" else None,
            }
            if name != "service.request":
                channels[channel].pop("parameters", None)
            operations[name]["reply"] = {
                "address": {
                    "location": "$message.header#/reply",
                    "description": "The reply subject of the NATS message, as it is.",
                },
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [
                    {"$ref": f"#/channels/{channel}/messages/{answer}"} for answer in answers
                ],
            }
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "movant",
            "version": version,
            "description": "Durable workflows as actors over NATS: every message on the wire.",
        },
        "defaultContentType": h.JSON,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {name: _component(name, message) for name, message in known.items()},
            "schemas": schemas,
        },
    }


def _error_of(name: str) -> str:
    return "api.error" if name.startswith("api.") else f"{name}.error"


def _message_schema(name: str, message: Message) -> Schema:
    schema: Schema = {
        "$schema": DIALECT,
        "$id": f"urn:movant:message:{name}",
        "title": message.title,
        "description": f"{message.summary} Published by {message.by}.",
        "type": "object",
        "required": ["subject", *(["headers"] if message.required else [])],
        "properties": {
            "subject": {"type": "string", "pattern": _pattern(message.subject)},
            "headers": _headers_schema(message),
            "payload": _payload(message, "#/$defs/{name}"),
        },
        "examples": [_example(message)],
    }
    if message.payload is not None and message.payload is not str:
        schema["required"].append("payload")
    definitions = _components([message.payload], "#/$defs/{name}")
    if definitions:
        schema["$defs"] = definitions
    return schema


def _example(message: Message) -> Schema:
    shown: Schema = {"subject": message.example_subject, "headers": message.example_headers}
    if message.example is not None:
        shown["payload"] = message.example
    return shown


def _pattern(subject: str) -> str:
    """Return the regular expression of a subject with parameters."""
    parts = re.split(r"\{(\w+)\}", subject)
    return (
        "^"
        + "".join(
            PARAMETERS.get(part, (".+", ""))[0] if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
        + "$"
    )


def _headers_schema(message: Message) -> Schema:
    names = (*message.required, *message.optional)
    properties = {
        name: {"type": "string", "pattern": HEADERS[name][0], "description": HEADERS[name][1]}
        for name in names
    }
    schema: Schema = {"type": "object", "properties": properties}
    if message.required:
        schema["required"] = list(message.required)
    return schema


def _payload(message: Message, template: str) -> Schema:
    if message.payload is None:
        return {"description": "Any JSON value; nothing at all means null."}
    if message.payload is str:
        return {"type": "string"}
    return {"$ref": template.format(name=message.payload.__name__)}


def _components(types: Iterable[Any], template: str) -> dict[str, Schema]:
    """Return the schemas of all Structs, by name, as they are on the wire."""
    wanted = [kind for kind in types if kind is not None and kind is not str]
    _, found = msgspec.json.schema_components(wanted, ref_template=template)
    for kind in wanted:
        if issubclass(kind, mail.Mail):
            _strip_mail(found[kind.__name__])
    return dict(sorted(found.items()))


def _strip_mail(schema: Schema) -> None:
    """Remove what the server knows of a message and what its subject says."""
    for field in ("seq", "at", "kind"):
        schema["properties"].pop(field, None)
    schema["required"] = [name for name in schema["required"] if name in schema["properties"]]
    if schema["properties"].pop("body", None) is not None:
        schema["properties"]["result"] = {"description": "The result, any JSON value."}


def _channel(message: Message, names: list[str]) -> Schema:
    channel: Schema = {
        "address": message.subject,
        "title": message.title,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    parameters = re.findall(r"\{(\w+)\}", message.subject)
    if parameters:
        channel["parameters"] = {
            name: {"description": PARAMETERS.get(name, ("", "A subject of the client."))[1]}
            for name in parameters
        }
    return channel


def _component(name: str, message: Message) -> Schema:
    component: Schema = {
        "name": name,
        "title": message.title,
        "summary": message.summary,
        "contentType": h.JSON,
        "payload": _payload(message, "#/components/schemas/{name}"),
    }
    if message.required or message.optional:
        component["headers"] = _headers_schema(message)
    if message.example is not None:
        component["examples"] = [
            {"name": "example", "headers": message.example_headers, "payload": message.example}
        ]
    return component
