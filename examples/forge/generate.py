"""Code of a specification: skeletons filled in, the same files for the same specification.

What keeps and checks data knows nothing of the framework, so it can be compiled and tested where
Spring and Express are not installed.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any, Final

from examples.forge.spec import Entity, Field, entities_of
from movant import Refused

SKELETONS: Final = Path(__file__).parent / "skeletons"
JAVA: Final = {"string": "String", "integer": "int", "number": "double", "boolean": "boolean"}
SCRIPT: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
SAMPLES: Final = {"string": '"{name}-1"', "integer": "3", "number": "2.5", "boolean": "true"}


class Skeleton(string.Template):
    """A text with places such as ``~{Entity}``."""

    delimiter = "~"


def project(technology: str, spec: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """Return the files of a project by their paths. Raises Refused for what nobody can make."""
    makers = {"java_springboot": spring_boot, "nodejs_express": express}
    if technology not in makers:
        known = ", ".join(makers)
        raise Refused("unknown_technology", f"{technology!r} is not known here: {known}")
    return makers[technology](spec, config)


def spring_boot(spec: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """Return a project for Spring Boot: ``build_tool`` is maven or gradle."""
    entities = entities_of(spec)
    given = {"title": spec["info"]["title"], "project": entities[0].plural, **config}
    name = "build.gradle" if config.get("build_tool") == "gradle" else "pom.xml"
    source, tests = "src/main/java/forge", "src/test/java/forge/service"
    found = {
        name: filled("java_springboot", name, given),
        f"{source}/Application.java": filled("java_springboot", "Application.java", given),
        f"{tests}/AllChecks.java": filled(
            "java_springboot",
            "AllChecks.java",
            {
                "calls": "".join(
                    f"        checks += {each.title}ServiceChecks.run();\n" for each in entities
                )
            },
        ),
    }
    for each in entities:
        values = given | _java(each)
        for skeleton, path in (
            ("Entity.java", f"{source}/domain/{each.title}.java"),
            ("Service.java", f"{source}/service/{each.title}Service.java"),
            ("Controller.java", f"{source}/web/{each.title}Controller.java"),
            ("Checks.java", f"{tests}/{each.title}ServiceChecks.java"),
        ):
            found[path] = filled("java_springboot", skeleton, values)
    if spec.get("security"):
        found[f"{source}/web/TokenFilter.java"] = filled("java_springboot", "TokenFilter.java", {})
    if config.get("enterprise_features"):
        path = f"{source}/web/HealthController.java"
        found[path] = filled("java_springboot", "HealthController.java", {})
        found["Dockerfile"] = filled("java_springboot", "Dockerfile", given)
    return found


def express(spec: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """Return a project for Express: in TypeScript, unless the configuration says no."""
    entities = entities_of(spec)
    typed = bool(config.get("typescript", True))
    ending = "ts" if typed else "js"
    given = {
        "title": spec["info"]["title"],
        "project": entities[0].plural,
        "build": "tsc" if typed else "node --check src/server.js",
        "main": "build/src/server.js" if typed else "src/server.js",
        "tests": "build/test" if typed else "test",
        **config,
        **_types(None, typed=typed),
    }
    locked = bool(spec.get("security"))
    guard = 'import { token } from "./token.js";\n' if locked else ""
    given["imports"] = guard + "".join(
        f'import {{ {each.plural} }} from "./routes/{each.plural}.js";\n' for each in entities
    )
    given["token"] = "app.use(token);\n" if locked else ""
    given["uses"] = "".join(f'app.use("/{each.plural}", {each.plural});\n' for each in entities)
    found = {"package.json": filled("nodejs_express", "package.json", given)}
    if typed:
        found["tsconfig.json"] = filled("nodejs_express", "tsconfig.json", {})
    for each in ("app", "server", *(("token",) if locked else ())):
        found[f"src/{each}.{ending}"] = filled("nodejs_express", each, given).lstrip("\n")
    for entity in entities:
        values = given | _script(entity, typed=typed)
        for skeleton, path in (
            ("store", f"src/store/{entity.plural}.{ending}"),
            ("routes", f"src/routes/{entity.plural}.{ending}"),
            ("test", f"test/{entity.plural}.test.{ending}"),
            *((("types", f"src/types/{entity.name}.ts"),) if typed else ()),
        ):
            found[path] = filled("nodejs_express", skeleton, values)
    return found


def filled(technology: str, name: str, values: dict[str, Any]) -> str:
    """Return a skeleton with its places filled in; a place without a value is a mistake."""
    return Skeleton((SKELETONS / technology / name).read_text()).substitute(values)


# Java


def _java(entity: Entity) -> dict[str, str]:
    fields = entity.fields
    sample = [SAMPLES[each.type].format(name=each.name) for each in fields]
    checks, refusals = "", ""
    for number, each in enumerate(fields):
        if each.type == "string" and not each.default:
            checks += _java_check(
                f"given.{each.name}() == null || given.{each.name}().isBlank()",
                f'IllegalArgumentException("{each.name} is missing")',
            )
            refusals += _java_refusal(entity, sample, number, "null", f"{each.name} is missing")
        if each.unique:
            checks += _java_check(
                "kept.values().stream().anyMatch(each -> each.id() != id"
                f" && each.{each.name}().equals(given.{each.name}()))",
                f'IllegalStateException("{each.name} is taken")',
            )
            refusals += _java_refusal(entity, sample, -1, "", f"{each.name} is taken")
    return {
        "entity": entity.name,
        "Entity": entity.title,
        "entities": entity.plural,
        "parameters": ", ".join(f"{JAVA[each.type]} {each.name}" for each in fields),
        "names": ", ".join(each.name for each in fields),
        "constants": "".join(
            f"    static final String DEFAULT_{each.name.upper()} = {json.dumps(each.default)};\n"
            for each in fields
            if each.default
        ),
        "checks": checks,
        "refusals": refusals,
        "sample": ", ".join(sample),
        "count": str(6 + refusals.count("refused(")),
    }


def _java_check(condition: str, error: str) -> str:
    return f"        if ({condition}) {{\n            throw new {error};\n        }}\n"


def _java_refusal(entity: Entity, sample: list[str], at: int, value: str, what: str) -> str:
    values = [value if number == at else each for number, each in enumerate(sample)]
    made = f"new {entity.title}(0L, {', '.join(values)})"
    return f'        refused(service, {made}, "{what}, and nobody says so");\n'


# JavaScript and TypeScript


def _types(entity: Entity | None, *, typed: bool) -> dict[str, str]:
    title = entity.title if entity else "unknown"
    found = {
        "import_type": f'import type {{ {title} }} from "../types/{entity.name}.js";\n\n'
        if entity
        else "",
        "kept_type": f": Map<number, {title}>",
        "list_type": f": {title}[]",
        "maybe_type": f": {title} | undefined",
        "one_type": f": {title}",
        "number_type": ": number",
        "any_type": ": any",
        "flag_type": ": boolean",
        "nothing_type": ": void",
        "work_type": ": (request: any, response: any) => void",
    }
    return found if typed else dict.fromkeys(found, "")


def _script(entity: Entity, *, typed: bool) -> dict[str, str]:
    fields = entity.fields
    checks, refusals = "", ""
    for each in fields:
        value = f"given.{each.name}"
        wrong = f'typeof {value} !== "{SCRIPT[each.type]}"'
        if each.type == "string" and not each.default:
            wrong += f" || !{value}.trim()"
        if each.default:
            wrong = f"{value} !== undefined && {wrong}"
        checks += f'    if ({wrong}) throw new Error("{each.name} is missing");\n'
        if not each.default:
            refusals += _script_refusal(
                entity, f"{each.name}: undefined", f"{each.name} is missing"
            )
        if each.unique:
            taken = f"this.all().some((each) => each.id !== id && each.{each.name} === {value})"
            checks += f'    if ({taken}) throw new Error("{each.name} is taken");\n'
            refusals += _script_refusal(entity, "", f"{each.name} is taken")
    sample = (f"{each.name}: {SAMPLES[each.type].format(name=each.name)}" for each in fields)
    return {
        "entity": entity.name,
        "Entity": entity.title,
        "entities": entity.plural,
        "members": "".join(f"  {each.name}: {SCRIPT[each.type]};\n" for each in fields),
        "constants": "".join(
            f"  static {each.name} = {json.dumps(each.default)};\n"
            for each in fields
            if each.default
        ),
        "checks": checks,
        "picked": ", ".join(_picked(entity, each) for each in fields),
        "sample": f"{{ {', '.join(sample)} }}",
        "refusals": refusals,
        **_types(entity, typed=typed),
    }


def _picked(entity: Entity, field: Field) -> str:
    default = f" ?? {entity.title}Store.{field.name}" if field.default else ""
    return f"{field.name}: given.{field.name}{default}"


def _script_refusal(entity: Entity, change: str, what: str) -> str:
    given = f"{{ ...sample, {change} }}" if change else "sample"
    first = "" if change else "  store.create(sample);\n"
    return (
        f'\ntest("refused: {what}", () => {{\n'
        f"  const store = new {entity.title}Store();\n"
        f"{first}"
        f"  assert.throws(() => store.create({given}), /{what}/);\n"
        "});\n"
    )
