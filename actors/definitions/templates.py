"""Templates: graphs and machines with parameters, in YAML files; each set of values makes one.

    file + values --fill in--> nodes --build--> Graph or Machine --pack--> the same hash

    template: build
    parameters: {language: {type: string, enum: [java, node]}, reviewers: {type: array}}
    name: "build-{{template.language}}"
    steps:
      compile: {service: "{{template.language}}", operation: compile}
      approve: {gate: {approvers: "{{template.reviewers}}"}, needs: compile}

Values are filled in before anything else is read, so they may stand wherever a value or a key
stands. A reference that is a whole text keeps the type of its value. What is made is a definition
like any other: nothing of the template is left in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from actors.definitions.bundle import HASH_CHARS
from actors.files import yaml_struct
from actors.files.definitions import Definition, build, check
from actors.files.yaml_nodes import Node, Rewritten
from actors.files.yaml_struct import Builder, Document, Located
from protocols import codec
from protocols.errors import InvalidInputError, OversizedError
from protocols.findings import did_you_mean
from protocols.graphs.field import Field, FieldType, Part, field_of, put
from protocols.graphs.input import input_type, problem
from protocols.subjects import is_name

KEY: Final = "template"
"""Marks a file as a template, and begins its references."""
TEMPLATE_BYTES_MAX: Final = 180_000
_REFERENCE: Final = re.compile(
    r"\{\{\s*template((?:\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]{1,4}\])+)\s*\}\}"
)
_BEGUN: Final = re.compile(r"\{\{\s*template\b")
_STEP: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]+)\]")
_CONDITION: Final = "when"
"""In conditions values stand as such: a text in quotes."""


class Head(Part, frozen=True, kw_only=True):
    """What a file says about itself as a template; the rest of it is the definition."""

    template: Annotated[str, Meta(description="The name of the template.")]
    description: Annotated[str, Meta(description="What it is for, for people.")] = ""
    parameters: Annotated[
        dict[str, Field | FieldType],
        Meta(description="The values that it takes, as the fields of an input."),
    ] = msgspec.field(default_factory=dict)
    example: Annotated[
        dict[str, Any], Meta(description="Values with which the file is checked.")
    ] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring short forms to the long ones. Raises ValueError for a name that is none."""
        if not is_name(self.template):
            raise ValueError("template is a name: letters, digits, dots, '-' and '_'")
        put(self, "parameters", {name: field_of(each) for name, each in self.parameters.items()})

    @property
    def fields(self) -> dict[str, Field]:
        """The parameters in their long form."""
        return {name: each for name, each in self.parameters.items() if isinstance(each, Field)}

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the parameters."""
        return msgspec.json.schema(input_type(self.fields, "Parameters"))

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters with their defaults. Raises InvalidInputError."""
        try:
            typed = msgspec.convert(dict(given), input_type(self.fields, "Parameters"))
        except msgspec.ValidationError as error:
            raise InvalidInputError(
                f"the parameters do not fit template {self.template}: {error}",
                fields={"parameters": str(error)},
                hint=f"movant template show {self.template}",
            ) from error
        found: dict[str, Any] = msgspec.to_builtins(typed)
        if "{{" in msgspec.json.encode(found).decode():
            raise InvalidInputError(
                "a parameter holds '{{': what is filled in would be read as a reference",
                fields={"parameters": "holds '{{'"},
                hint="pass it in the input of a run instead",
            )
        return found


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template as it is stored: the text of its file. ``hash`` is that of the text."""

    head: Head
    text: bytes
    hash: str


def load_template(source: Path | str) -> Document[Definition]:
    """Read a file and check it with its example. Raises NotFoundError when there is none."""
    return yaml_struct.load(source, parse)


def parse(text: bytes) -> Document[Definition]:
    """Check the text of a template, filled in with its example, defaults, and samples."""
    used: set[str] = set()
    heads: list[Head] = []

    def sampled(head: Head) -> dict[str, Any]:
        heads.append(head)
        samples = {name: _sample(each) for name, each in head.fields.items()}
        return head.values({**samples, **head.example})

    document = _parsed(text, sampled, used, sampled=True)
    if not heads:
        return document
    unused = [name for name in heads[0].fields if name not in used]
    message = "no reference reads the parameter {!r}"
    warnings = [Located(1, 1, message.format(name), "", "warning") for name in unused]
    return document._replace(problems=[*document.problems, *warnings])


def template_of(text: bytes, called: str = "the template") -> Template:
    """Return a template; ``called`` is what errors call it.

    Raises ConfigurationError for a text that is none, or a wrong one.
    """
    if len(text) > TEMPLATE_BYTES_MAX:
        raise OversizedError(f"a template of {len(text)} bytes; limit {TEMPLATE_BYTES_MAX}")
    heads: list[Head] = []

    def keep(top: Node, builder: Builder) -> Head | None:
        head = _head(top, builder)
        if head is not None:
            heads.append(head)
        return head

    document = yaml_struct.parse_nodes(text, keep, lambda _: [])
    yaml_struct.value_of(document, called, "movant template validate")
    yaml_struct.value_of(parse(text), called, "movant template validate")
    return Template(head=heads[0], text=text, hash=hash_of(text))


def hash_of(text: bytes) -> str:
    """Return the hash by which a template is found."""
    return hashlib.sha256(text).hexdigest()[:HASH_CHARS]


def instantiate(template: Template, given: Mapping[str, Any], name: str = "") -> Definition:
    """Return what a template makes of values: the same for the same values, always.

    ``name`` goes before the name in the file. Raises InvalidInputError for values that do not
    fit, ConfigurationError for a definition that is wrong with these values.
    """
    values = template.head.values(given)
    document = _parsed(template.text, lambda _: values, set(), name)
    where = f"template {template.head.template}"
    return yaml_struct.value_of(document, where, "movant template validate")


def _parsed(
    text: bytes,
    values: Callable[[Head], dict[str, Any]],
    used: set[str],
    name: str = "",
    *,
    sampled: bool = False,
) -> Document[Definition]:
    """Read the text of a template with values filled in."""

    def built(top: Node, builder: Builder) -> Definition | None:
        return _build(top, builder, values=values, used=used, name=name, sampled=sampled)

    return yaml_struct.parse_nodes(text, built, check)


def _head(top: Node, builder: Builder) -> Head | None:
    """Read what a file says about itself as a template."""
    entries = top.entries or {}
    if KEY not in entries:
        builder.wrong(top, "this is no template", "write 'template: NAME' and 'parameters: …'")
        return None
    own = Node(None, top.line, top.column)
    own.entries = {key: entries[key] for key in Head.__struct_fields__ if key in entries}
    head = builder.build(own, Head)
    if not isinstance(head, Head):
        return None
    for name, field in head.fields.items():
        wrong = problem(field, name)
        if wrong:
            builder.wrong(entries["parameters"][1], f"parameter {name!r}: {wrong}")
    return None if builder.problems else head


def _build(
    top: Node,
    builder: Builder,
    *,
    values: Callable[[Head], dict[str, Any]],
    used: set[str],
    name: str,
    sampled: bool,
) -> Definition | None:
    """Build a definition from a file with the values of its parameters filled in."""
    head = _head(top, builder)
    if head is None:
        return None
    try:
        filling = _Filling(values(head), builder, used, sampled=sampled)
    except InvalidInputError as error:
        builder.wrong(top, error.message, error.hint)
        return None
    rest = Node(None, top.line, top.column)
    left = {key: each for key, each in (top.entries or {}).items() if key not in _OWN}
    rest.entries = left
    filled = filling.node(rest)
    called = name or ("" if "name" in left else head.template)
    if called and filled.entries is not None:
        key = Node("name", top.line, top.column)
        filled.entries["name"] = (key, Rewritten(called, top.line, top.column))
    return None if builder.problems else build(filled, builder)


_OWN: Final = frozenset({KEY, "parameters", "example"})


class _Filling:
    """Fills values into nodes."""

    def __init__(
        self, values: Mapping[str, Any], builder: Builder, used: set[str], *, sampled: bool
    ) -> None:
        self._sampled = sampled
        """Two parameters have the same sample, and may still make keys that differ."""
        self._values = values
        self._builder = builder
        self._used = used

    def node(self, node: Node, *, condition: bool = False) -> Node:
        """Return a node with all that its texts refer to."""
        if node.entries is not None:
            found = Node(None, node.line, node.column, node.width)
            found.entries = {}
            for key, value in node.entries.values():
                called = self._key(key)
                in_condition = called.value == _CONDITION
                if called.value in found.entries and not self._sampled:
                    message = f"{called.value!r} stands twice with these parameters"
                    self._builder.wrong(called, message, "keys have to differ")
                found.entries[called.value] = (called, self.node(value, condition=in_condition))
            return found
        if node.items is not None:
            found = Node(None, node.line, node.column, node.width)
            found.items = [self.node(each) for each in node.items]
            return found
        if not isinstance(node.value, str) or not _BEGUN.search(node.value):
            return node
        whole = _REFERENCE.fullmatch(node.value)
        if whole is not None and not condition:
            return _node_of(self._value(whole, node), node)
        return Rewritten(self._text(node, as_json=condition), node.line, node.column)

    def _key(self, key: Node) -> Node:
        if not _BEGUN.search(key.value):
            return key
        return Rewritten(self._text(key, as_json=False), key.line, key.column)

    def _text(self, node: Node, *, as_json: bool) -> str:
        """Return a text with values in it: text as it is, everything else as JSON."""

        def told(found: re.Match[str]) -> str:
            value = self._value(found, node)
            if isinstance(value, str) and not as_json:
                return value
            return codec.encode(value).decode()

        text = _REFERENCE.sub(told, node.value)
        # Braces of a value must not make a reference with those beside it.
        if text.count("{{") != _REFERENCE.sub("\0", node.value).count("{{"):
            self._builder.wrong(node, "what is filled in would be read as a reference")
        elif _BEGUN.search(text):
            message = "no reference to a parameter"
            self._builder.wrong(node, message, "write {{template.name}}, with parts or [number]")
        return text

    def _value(self, found: re.Match[str], node: Node) -> Any:
        """Return what a reference reads."""
        steps = [name or int(number) for name, number in _STEP.findall(found[1])]
        first = steps[0]
        if first not in self._values:
            known = did_you_mean(str(first), self._values)
            self._builder.wrong(node, f"there is no parameter {first!r}", known)
            return None
        self._used.add(str(first))
        value: Any = self._values
        for step in steps:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                self._builder.wrong(node, f"{found[0]} reads what is not there")
                return None
        return value


def _node_of(value: Any, at: Node) -> Node:
    """Return a value as a node, at the place of the reference to it."""
    node = Rewritten(None, at.line, at.column, at.width)
    if isinstance(value, dict):
        node.entries = {
            key: (_node_of(key, at), _node_of(each, at)) for key, each in value.items()
        }
    elif isinstance(value, list):
        node.items = [_node_of(each, at) for each in value]
    else:
        node.value = value
    return node


def _sample(field: Field) -> Any:
    """Return a value that fits a parameter: its default, if it has one."""
    if field.default is not msgspec.UNSET:
        return field.default
    if field.optional:
        return None
    if field.enum:
        return field.enum[0]
    least = field.min if field.min is not None else min(1.0, field.max or 1.0)
    match field.type:
        case "integer":
            return ceil(least)
        case "number":
            return least
        case "boolean":
            return True
        case "array":
            return [_sample(field.of_item) for _ in range(field.min_length or 0)]
        case "object":
            return {name: _sample(each) for name, each in (field.inner or {}).items()}
        case _:
            return "sample" + "x" * max(0, (field.min_length or 0) - 6)
