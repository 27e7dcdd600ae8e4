"""The specification: from requirements in plain words to an OpenAPI document.

    Build a user management API with authentication.

    user: email text unique, name text, age integer, active flag

A line for each thing says what is kept of it. Without such a line what is "managed" is kept, with
a name. ``token text = secret`` gives a field what it has when nobody says anything.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import yaml

from movant import Refused

TYPES: Final = {"text": "string", "integer": "integer", "number": "number", "flag": "boolean"}
LOCKED: Final = ("authentication", "login", "token")
VAGUE: Final = "vague_requirements"
_LINE: Final = re.compile(r"([a-z][a-z0-9]*)\s*:\s*(.+)")
_FIELD: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9]*) (text|integer|number|flag)( unique)?(?: = (.+))?"
)
_MANAGED: Final = re.compile(r"\b([a-z]+) management\b|\bkeeps ([a-z]+)s\b")


class Field(msgspec.Struct, frozen=True):
    """One field of an entity; ``type`` is that of JSON Schema."""

    name: str
    type: str
    unique: bool = False
    default: str = ""


class Entity(msgspec.Struct, frozen=True):
    """One kind of things that the API keeps."""

    name: str
    fields: tuple[Field, ...]

    @property
    def title(self) -> str:
        """Its name as a type."""
        return self.name[0].upper() + self.name[1:]

    @property
    def plural(self) -> str:
        """Its name in an address."""
        return f"{self.name[:-1]}ies" if self.name.endswith("y") else f"{self.name}s"


def entities_in(requirements: str) -> list[Entity]:
    """Return what the requirements want kept. Raises Refused when they do not say it."""
    found: dict[str, Entity] = {}
    for line in requirements.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is not None:
            name, fields = match.groups()
            found[name] = Entity(name, tuple(_field(each.strip()) for each in fields.split(",")))
    if not found:
        match = _MANAGED.search(requirements.lower())
        if match is None:
            raise Refused(VAGUE, "the requirements name nothing that is to be kept")
        name = match.group(1) or match.group(2)
        found[name] = Entity(name, (Field("name", "string"),))
    return list(found.values())


def title_of(requirements: str) -> str:
    """Return the first line: what is wanted, in one sentence."""
    lines = [line.strip() for line in requirements.splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else ""


def wants_token(requirements: str) -> bool:
    """Tell whether the API is to let only those in who are known."""
    return any(word in title_of(requirements).lower() for word in LOCKED)


def specification(requirements: str) -> dict[str, Any]:
    """Return the OpenAPI document of requirements. Raises Refused for vague ones."""
    entities = entities_in(requirements)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title_of(requirements), "version": "0.1.0"},
        "paths": {path: each for entity in entities for path, each in _paths(entity).items()},
        "components": {"schemas": {each.title: _schema(each) for each in entities}},
    }
    if wants_token(requirements):
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def entities_of(document: dict[str, Any]) -> list[Entity]:
    """Return the entities of a specification: what code is generated from."""
    return [
        Entity(
            title[0].lower() + title[1:],
            tuple(
                Field(name, each["type"], each.get("x-unique", False), each.get("default", ""))
                for name, each in schema["properties"].items()
                if name != "id"
            ),
        )
        for title, schema in document["components"]["schemas"].items()
    ]


def operations_of(document: dict[str, Any]) -> list[str]:
    """Return the ids of all operations, in their order."""
    return [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]


def as_yaml(document: dict[str, Any]) -> bytes:
    """Return a specification as a file."""
    return yaml.safe_dump(document, sort_keys=False).encode()


def _field(text: str) -> Field:
    match = _FIELD.fullmatch(text)
    if match is None:
        hint = f"a field is 'name type', with one of {', '.join(TYPES)}"
        raise Refused(VAGUE, f"{text[:60]!r} says no field: {hint}")
    name, kind, unique, default = match.groups()
    return Field(name, TYPES[kind], bool(unique), default or "")


def _schema(entity: Entity) -> dict[str, Any]:
    properties: dict[str, Any] = {"id": {"type": "integer", "readOnly": True}}
    for field in entity.fields:
        properties[field.name] = {"type": field.type}
        if field.unique:
            properties[field.name]["x-unique"] = True
        if field.default:
            properties[field.name]["default"] = field.default
    required = [each.name for each in entity.fields if not each.default]
    return {"type": "object", "properties": properties, "required": required}


def _paths(entity: Entity) -> dict[str, Any]:
    body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{entity.title}"}}}
    one = {"200": {"description": f"the {entity.name}", "content": body}}
    gone = {"404": {"description": "there is none"}}

    def operation(verb: str, responses: dict[str, Any], *, sends: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = {"operationId": f"{verb}{entity.title}", "responses": responses}
        if sends:
            found["requestBody"] = {"required": True, "content": body}
        return found

    return {
        f"/{entity.plural}": {
            "get": operation("list", {"200": {"description": f"all {entity.plural}"}}),
            "post": operation("create", {"201": one["200"]}, sends=True),
        },
        f"/{entity.plural}/{{id}}": {
            "get": operation("find", one | gone),
            "put": operation("replace", one | gone, sends=True),
            "delete": operation("delete", {"204": {"description": "it is gone"}} | gone),
        },
    }
