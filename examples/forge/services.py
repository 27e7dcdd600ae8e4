"""The services of the forge, in groups; each process has one of these, or several.

python -m examples.forge.services coder --data DIR --nats URL
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

import movant
from examples.forge import advice, build, generate, review, spec
from examples.forge.workspace import Workspace
from movant import UndoRequest

VERSION: Final = "1.0.0"


class Input(msgspec.Struct, frozen=True):
    """What a run was started with."""

    requirements: str
    output_path: str


class Phase(msgspec.Struct, frozen=True):
    """What every phase gets; ``results`` are those of the phases that it depends on."""

    input: Input
    technology: str = ""
    config: dict[str, Any] = {}
    results: dict[str, Any] = {}


class Code(msgspec.Struct, frozen=True):
    """What was generated."""

    output_path: str
    technology: str
    config: dict[str, Any]
    files: list[str]
    lines: int
    spec: dict[str, Any]


def writer(_: Path) -> list[movant.Service]:
    """Serve specifications."""
    service = movant.Service("api_spec_writer", version=VERSION, description="Writes OpenAPI.")

    @service.operation("write_specification")
    def write(phase: Phase) -> movant.Result:
        document = spec.specification(phase.input.requirements)
        operations = spec.operations_of(document)
        summary = f"{document['info']['title']}: {len(operations)} operations"
        file = movant.File("api_spec.yaml", spec.as_yaml(document), "application/yaml")
        return movant.Result({"spec": document, "summary": summary}, (file,))

    return [service]


def coder(data: Path) -> list[movant.Service]:
    """Serve generated projects."""
    service = movant.Service("code_generation", version=VERSION, description="Generates code.")
    workspace = Workspace(data)

    @service.operation("generate_project")
    def make(phase: Phase, call: movant.Call) -> movant.Result:
        document = phase.results["api_specification"]["spec"]
        files = generate.project(phase.technology, document, phase.config)
        path = phase.input.output_path
        workspace.write(path, files, call.key)
        found = Code(
            output_path=path,
            technology=phase.technology,
            config=phase.config,
            files=sorted(files),
            lines=sum(text.count("\n") for text in files.values()),
            spec=document,
        )
        packed = movant.File("generated_code.zip", workspace.archive(path), "application/zip")
        return movant.Result(found, (packed,))

    @service.operation("discard_project")
    def discard(request: UndoRequest, call: movant.Call) -> dict[str, bool]:
        if request.input is None:
            raise movant.Failed("input_lost", "nobody says which project it is")
        phase = msgspec.convert(request.input, Phase)
        return {"discarded": workspace.discard(phase.input.output_path, call.undoes)}

    return [service]


def reviewer(data: Path) -> list[movant.Service]:
    """Serve reviews."""
    service = movant.Service("code_review", version=VERSION, description="Reviews by rules.")
    workspace = Workspace(data)

    @service.operation("review_project")
    def look(phase: Phase) -> movant.Result:
        code = _code(phase)
        found = review.review(code.output_path, workspace.written(code.output_path), code.spec)
        page = movant.File("review.md", review.report(found).encode(), "text/markdown")
        return movant.Result(found, (page,))

    return [service]


def builder(data: Path) -> list[movant.Service]:
    """Serve builds: the same under the name that each technology has for it."""
    service = movant.Service("code_compilation", version=VERSION, description="Runs real tools.")
    workspace = Workspace(data)

    def make(phase: Phase) -> movant.Result:
        code = _code(phase)
        folder = workspace.written(code.output_path)
        found = build.build(code.output_path, code.technology, folder, code.config)
        if found.status == "failed":
            raise movant.Refused("build_failed", found.summary[:500], details=found.checks)
        told = movant.File("build.json", msgspec.json.encode(found), "application/json")
        return movant.Result(found, (told,))

    service.operation("compile_and_test", concurrency=1)(make)
    service.operation("test_and_lint", concurrency=1)(make)
    return [service]


def searchers(data: Path) -> list[movant.Service]:
    """Serve searches in two indexes, which are files below the data."""
    found = []
    for name, index in (("github_search", "repositories.json"), ("web_search", "pages.json")):
        service = movant.Service(name, version=VERSION, description=f"Searches {index}.")
        service.operation("search")(_searching(data / "catalogue" / index))
        found.append(service)
    return found


def analysts(_: Path) -> list[movant.Service]:
    """Serve analyses and designs."""
    analyst = movant.Service("ai_analyzer", version=VERSION, description="Reads requirements.")
    architect = movant.Service("architect_agent", version=VERSION, description="Designs parts.")

    @analyst.operation("analyze_requirements")
    def analyze(phase: Phase) -> dict[str, Any]:
        return advice.analysis(phase.input.requirements)

    @architect.operation("design_architecture")
    def design(phase: Phase) -> dict[str, Any]:
        return advice.architecture(phase.input.requirements, phase.config)

    return [analyst, architect]


def advisers(data: Path) -> list[movant.Service]:
    """Serve all that is only looked up, designed or written down."""
    return [*analysts(data), *searchers(data), *writer(data)]


GROUPS: Final[dict[str, Callable[[Path], list[movant.Service]]]] = {
    "advisers": advisers,
    "coder": coder,
    "reviewer": reviewer,
    "builder": builder,
}


def _searching(index: Path) -> Callable[[Phase], dict[str, Any]]:
    def search(phase: Phase) -> dict[str, Any]:
        return advice.search(index, phase.input.requirements)

    return search


def _code(phase: Phase) -> Code:
    """Return what was generated before. Raises Refused when that was left out."""
    found = phase.results.get("code_generation")
    if found is None:
        raise movant.Refused("no_project", "no code was generated")
    return msgspec.convert(found, Code)


def main(arguments: list[str] | None = None) -> None:
    """Run some groups of services as a process."""
    parser = argparse.ArgumentParser(description="Services of the forge.")
    parser.add_argument("groups", nargs="+", choices=sorted(GROUPS), metavar="GROUP")
    parser.add_argument("--data", type=Path, required=True, help="folder of projects and indexes")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", help="URL of the server")
    given = parser.parse_args(arguments)
    services = [each for group in given.groups for each in GROUPS[group](given.data)]
    movant.run_service(*services, nats=given.nats)


if __name__ == "__main__":
    main()
