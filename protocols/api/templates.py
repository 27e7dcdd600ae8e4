"""What the API says about templates: definitions with parameters."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from protocols.api.base import By, Hash, Message, WorkflowName

TemplateName = Annotated[str, Meta(description="Name of a template.")]
Unusable = Annotated[str, Meta(description="Why it cannot be used; empty: it can.")]


class TemplateRegister(Message, frozen=True, kw_only=True):
    """Store a template; its name leads to it from now on."""

    text: Annotated[str, Meta(description="The text of its YAML file.")]
    by: By = None


class TemplateRow(Message, frozen=True, kw_only=True):
    """One template."""

    name: TemplateName
    hash: Annotated[str, Meta(description="Hash of its text.")]
    description: Annotated[str, Meta(description="What it is for.")] = ""
    parameters: Annotated[list[str], Meta(description="The names of its parameters.")] = []
    error: Unusable = ""


class TemplatePage(Message, frozen=True, kw_only=True):
    """All templates, by name."""

    templates: Annotated[list[TemplateRow], Meta(description="The rows.")]


class TemplateShow(Message, frozen=True, kw_only=True):
    """Show a template."""

    name: Annotated[str, Meta(description="Name or hash of a template.")]


class TemplateView(Message, frozen=True, kw_only=True):
    """A template: what it takes, and its text."""

    name: TemplateName
    hash: Annotated[str, Meta(description="Hash of its text.")]
    description: Annotated[str, Meta(description="What it is for.")] = ""
    schema: Annotated[dict[str, Any], Meta(description="JSON Schema of its parameters.")] = {}
    text: Annotated[str, Meta(description="The text of its file.")]
    error: Unusable = ""


class TemplateInstantiate(Message, frozen=True, kw_only=True):
    """Make a definition of a template. The same values give the same definition."""

    template: Annotated[str, Meta(description="Name or hash of a template.")]
    parameters: Annotated[dict[str, Any], Meta(description="Values of its parameters.")] = {}
    name: Annotated[
        str, Meta(description="Name of the workflow; empty: as the template says.")
    ] = ""
    register: Annotated[
        bool, Meta(description="Whether new instances start with it from now on.")
    ] = False
    by: By = None


class TemplateInstance(Message, frozen=True, kw_only=True):
    """A definition made of a template."""

    workflow: WorkflowName
    definition: Hash
    text: Annotated[str, Meta(description="The definition as YAML.")]
    registered: Annotated[bool, Meta(description="Whether new instances start with it.")] = False
