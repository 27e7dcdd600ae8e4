"""The rules of the forge, each as a pure function: specify, generate, review, build, keep."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from examples import forge
from examples.forge import advice, build, generate, review, spec
from examples.forge.workspace import Workspace
from movant import Failed, Refused

FOLDER: Final = Path(forge.__file__).parent
JAVA: Final = {"java_version": "17", "spring_boot_version": "3.2.0", "build_tool": "maven"}
NODE: Final = {"node_version": "18", "express_version": "4.18.0", "typescript": False}
SERVICE: Final = "src/main/java/forge/service/UserService.java"


def requirements(name: str) -> str:
    """Return requirements of the example."""
    return (FOLDER / "requirements" / f"{name}.txt").read_text()


def written(tmp_path: Path, files: dict[str, str]) -> Path:
    """Write a project."""
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def java(name: str = "users", **config: Any) -> dict[str, str]:
    """Return a Spring Boot project."""
    return generate.spring_boot(spec.specification(requirements(name)), {**JAVA, **config})


def test_requirements_become_an_openapi_document() -> None:
    """Five operations for each entity, a schema with types, a token when one is wanted."""
    document = spec.specification(requirements("users"))

    assert document["info"]["title"] == "Build a user management API with authentication"
    assert spec.operations_of(document) == [
        *("listUser", "createUser", "findUser", "replaceUser", "deleteUser")
    ]
    schema = document["components"]["schemas"]["User"]
    assert schema["properties"]["age"] == {"type": "integer"}
    assert schema["properties"]["email"]["x-unique"] is True
    assert document["security"] == [{"token": []}]
    assert yaml.safe_load(spec.as_yaml(document)) == document
    assert spec.entities_of(document) == spec.entities_in(requirements("users"))


def test_one_sentence_is_enough_and_a_vague_one_is_not() -> None:
    """What is managed is kept; who names nothing is refused, and so is a field of no type."""
    (entity,) = spec.entities_in("Create a REST API for user management")
    assert (entity.name, entity.fields) == ("user", (spec.Field("name", "string"),))
    with pytest.raises(Refused, match="nothing that is to be kept"):
        spec.specification(requirements("vague"))
    with pytest.raises(Refused, match="says no field"):
        spec.specification("A shop.\nitem: price money")


def test_the_same_specification_gives_the_same_project() -> None:
    """With the files that its technology and configuration ask for."""
    files = java()
    node = generate.express(spec.specification(requirements("library")), NODE)
    typed = generate.express(
        spec.specification(requirements("library")), {**NODE, "typescript": True}
    )

    assert files == java()
    assert "<version>3.2.0</version>" in files["pom.xml"]
    assert {"pom.xml", SERVICE, "src/main/java/forge/web/TokenFilter.java"} <= files.keys()
    assert "build.gradle" in java(build_tool="gradle")
    assert "Dockerfile" in java(enterprise_features=True)
    assert json.loads(node["package.json"])["dependencies"] == {"express": "^4.18.0"}
    assert {"src/store/books.js", "test/loans.test.js"} <= node.keys()
    assert {"tsconfig.json", "src/types/book.ts", "src/store/books.ts"} <= typed.keys()
    assert "kept: Map<number, Book>" in typed["src/store/books.ts"]
    with pytest.raises(Refused, match="not known here"):
        generate.project("cobol", {}, {})


def test_a_review_finds_what_is_wrong(tmp_path: Path) -> None:
    """A secret, a token that nobody asks for, an entity without a test, a long line."""
    document = spec.specification(requirements("users"))
    files = java()
    assert review.review("x", written(tmp_path / "good", files), document).score == 100

    tests = "src/test/java/forge/service"
    bad = {key: text for key, text in files.items() if not key.startswith(tests)}
    del bad["src/main/java/forge/web/TokenFilter.java"]
    bad[SERVICE] = 'String k = "sk_live_' + "4" * 24 + '";\n' + "x" * 130 + "\n"
    found = review.review("x", written(tmp_path / "bad", bad), document)

    assert sorted(each.rule for each in found.findings) == [
        "long-line",
        "open",
        "secret",
        "untested",
    ]
    assert (found.passed, found.score) == (False, 100 - 40 - 40 - 10 - 2)
    assert f"{SERVICE}:1" in found.summary
    assert "**high**" in review.report(found)


def test_a_missing_tool_is_skipped_and_never_passed(tmp_path: Path) -> None:
    """For both technologies: nothing is claimed that nobody has looked at."""
    script = generate.express(spec.specification(requirements("users")), NODE)
    for technology, files in (("java_springboot", java()), ("nodejs_express", script)):
        folder = written(tmp_path / technology, files)
        found = build.build("x", technology, folder, JAVA, which=lambda _: None)
        assert found.status == "skipped"
        assert {each.status for each in found.checks} == {"skipped"}
        assert "not installed here" in found.summary
    empty = tmp_path / "empty"
    empty.mkdir()
    assert build.build("x", "nodejs_express", empty, NODE).status == "failed"


@pytest.mark.skipif(shutil.which("javac") is None, reason="javac is not installed")
def test_a_project_that_is_broken_does_not_compile(tmp_path: Path) -> None:
    """The compiler's word is what is told, and its tests are not said to have passed."""
    files = java()
    files[SERVICE] = (
        files[SERVICE]
        .replace("return kept.get", "return kept.gone")
        .replace("Optional.ofNullable(kept.get(id))", "Optional.ofNullable(kept.gone(id))")
    )

    found = build.build("x", "java_springboot", written(tmp_path, files), JAVA)

    assert found.status == "failed"
    assert [each.status for each in found.checks[:2]] == ["failed", "skipped"]
    assert "gone" in found.checks[0].detail


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_test_that_fails_fails_the_build(tmp_path: Path) -> None:
    """Node runs what was generated, and finds a rule that is not kept."""
    files = generate.express(spec.specification("A shop.\nitem: name text"), NODE)
    store = "src/store/items.js"
    files[store] = files[store].replace("this.#kept.delete(id)", "false")

    found = build.build("x", "nodejs_express", written(tmp_path, files), NODE)

    assert [(each.name, each.status) for each in found.checks] == [
        ("syntax", "passed"),
        ("tests", "failed"),
    ]


def test_a_project_is_written_once_for_its_key_and_stays_undone(tmp_path: Path) -> None:
    """Who comes with another key finds it taken; what was undone is not written any more."""
    place = Workspace(tmp_path)
    place.write("a/b", {"x.txt": "1"}, "run-1/1/code")
    place.write("a/b", {"x.txt": "2"}, "run-1/1/code")
    with pytest.raises(Refused, match="somebody else"):
        place.write("a/b", {"x.txt": "3"}, "run-2/1/code")

    packed = zipfile.ZipFile(io.BytesIO(place.archive("a/b")))
    assert (packed.namelist(), packed.read("x.txt")) == (["x.txt"], b"1")
    assert place.archive("a/b") == place.archive("a/b")
    assert not place.discard("a/b", "run-2/1/code")
    assert place.discard("a/b", "run-1/1/code")
    assert not place.folder("a/b").exists()
    for key in ("run-1/1/code", "run-2/1/code"):
        with pytest.raises(Refused, match="undone before"):
            place.write("a/b", {"x.txt": "1"}, key)


@pytest.mark.parametrize("path", ["/etc", "../up", "a/../../b", "", ".hidden"])
def test_no_project_leaves_the_workspace(path: str, tmp_path: Path) -> None:
    """Whatever a run asks for."""
    with pytest.raises(Refused, match="no path in the workspace"):
        Workspace(tmp_path).folder(path)


def test_advice_follows_from_the_words(tmp_path: Path) -> None:
    """What is open, how it is built, what is alike; without an index it may be asked again."""
    found = advice.analysis(requirements("library"))
    index = FOLDER / "catalogue" / "repositories.json"
    hits = advice.search(index, requirements("users"))["found"]

    assert (found["entities"], found["operations"]) == (["book", "loan"], 10)
    assert found["open_points"] == ["loan: nothing tells two of them apart"]
    assert (
        advice.architecture(requirements("users"), {"enterprise_features": True})["style"]
        == "layers"
    )
    assert hits[0]["title"] == "example/token-filter"
    with pytest.raises(Failed, match="cannot be read"):
        advice.search(tmp_path / "repositories.json", "users")
