"""Which project-local modules a module imports, and where they are: found without running it.

The scan reads syntax trees, so it sees every import statement, also those inside functions and
behind conditions. It takes too much rather than too little: a module that is packed and never
imported costs some bytes, one that is missing stops an instance.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from protocols.errors import ConfigurationError, NotFoundError

OWN: Final = frozenset({"actors", "movant", "protocols", "runtime", "supervisors"})
"""movant's own packages: versioned as the kernel, never packed."""
_HOME: Final = Path(__file__).resolve().parents[2]


class Source(NamedTuple):
    """One module as it is packed: canonical text, and the file that it came from."""

    name: str
    text: str
    package: bool
    file: Path


class Closure(NamedTuple):
    """The modules that an entry needs, by name, and the foreign packages they import."""

    modules: dict[str, Source]
    foreign: tuple[str, ...]


class Import(NamedTuple):
    """One imported name, absolute; ``star`` for ``from name import *``.

    ``escapes`` for ``importlib.import_module``, which no definition can redirect to itself.
    """

    name: str
    line: int
    star: bool = False
    escapes: bool = False


def closure(entries: Iterable[str], roots: Sequence[Path]) -> Closure:
    """Return all project-local modules that ``entries`` import, directly or not.

    Raises NotFoundError for a missing entry and ConfigurationError, naming file and line, for
    what cannot be read or cannot be pinned.
    """
    modules: dict[str, Source] = {}
    foreign: set[str] = set()
    waiting = list(entries)
    for name in waiting:
        if find(name, roots) is None:
            raise NotFoundError(
                f"no module {name!r} below {', '.join(map(str, roots))}",
                hint="name a Python file, a package directory or a module of the project",
            )
    while waiting:
        name = waiting.pop()
        found = find(name, roots) if name not in modules else None
        if found is None:
            continue
        source = modules[name] = Source(name, canonical(found), _is_package(found), found)
        for item in imports(parse(source.text, found), source):
            top = item.name.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            if top in OWN:
                _check_own(top, item.line, found, roots)
            elif _is_local(top, roots):
                if item.escapes:
                    raise ConfigurationError(
                        f"{found}:{item.line}: import_module({item.name!r}) would not be pinned",
                        hint=f"write an import statement for {item.name}; it may be in a function",
                    )
                waiting.extend(_with_parents(item, roots))
            else:
                foreign.add(top)
        waiting.extend(_parents(name))
    return Closure(dict(sorted(modules.items())), tuple(sorted(foreign)))


def find(name: str, roots: Sequence[Path]) -> Path | None:
    """Return the file of a module below the first root that has it; None when there is none."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for root in roots:
        base = root.joinpath(*parts)
        for file in (base / "__init__.py", base.with_name(base.name + ".py")):
            if file.is_file() and "site-packages" not in file.parts:
                return file
    return None


def canonical(file: Path) -> str:
    """Return a source text without what has no meaning for Python.

    That is the encoding, the kind of line ends, white space at line ends (outside of strings)
    and empty lines at the end of the file. Line numbers stay, because tracebacks show them.
    """
    try:
        with file.open("rb") as raw:
            encoding, _ = tokenize.detect_encoding(raw.readline)
        # open() makes every line end "\n", as Python's own reader does.
        with file.open(encoding=encoding) as opened:
            text = opened.read()
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise ConfigurationError(
            f"{file}:1: not readable as Python: {error}", hint="save the file as UTF-8"
        ) from error
    inside = _lines_ending_in_strings(text)
    lines = text.split("\n")
    kept = [
        line if number in inside else line.rstrip(" \t") for number, line in enumerate(lines, 1)
    ]
    return "\n".join(kept).rstrip("\n") + "\n"


def parse(text: str, file: Path) -> ast.Module:
    """Return the syntax tree. Raises ConfigurationError that names file, line and column."""
    try:
        return ast.parse(text, filename=str(file))
    except (SyntaxError, ValueError) as error:  # a null byte is either, by Python version
        line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
        raise ConfigurationError(
            f"{file}:{line}:{column}: {getattr(error, 'msg', error)}",
            hint="the file is no valid Python; mend this line",
        ) from error


def imports(tree: ast.Module, source: Source) -> Iterator[Import]:
    """Yield every module that ``source`` may import, with absolute names.

    ``from a import b`` yields ``a`` and ``a.b``: whether b is a module is for ``find``.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, source)
            star = any(alias.name == "*" for alias in node.names)
            if base:
                yield Import(base, node.lineno, star)
            for alias in node.names:
                if alias.name != "*":
                    yield Import(f"{base}.{alias.name}".lstrip("."), node.lineno)
        elif isinstance(node, ast.Call):
            yield from _dynamic(node)


def _absolute(node: ast.ImportFrom, source: Source) -> str:
    if not node.level:
        return node.module or ""
    package = source.name if source.package else source.name.rpartition(".")[0]
    parts = package.split(".") if package else []
    if node.level > len(parts):
        raise ConfigurationError(
            f"{source.file}:{node.lineno}: relative import beyond the top-level package",
            hint="put the file into a package (a directory with __init__.py), "
            "or import the module by its plain name",
        )
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def _dynamic(node: ast.Call) -> Iterator[Import]:
    """Yield the module of ``import_module("a.b")`` and ``__import__("a.b")``."""
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name not in {"import_module", "__import__"} or not node.args:
        return
    first = node.args[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield Import(first.value.lstrip("."), node.lineno, escapes=name == "import_module")


def _with_parents(item: Import, roots: Sequence[Path]) -> Iterator[str]:
    yield item.name
    yield from _parents(item.name)
    if item.star:
        # __all__ of a package may name submodules, which the statement then imports.
        file = find(item.name, roots)
        if file is not None and _is_package(file):
            for path in sorted(file.parent.iterdir()):
                if path.stem != "__init__" and (path.suffix == ".py" or path.is_dir()):
                    yield f"{item.name}.{path.stem}"


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _is_package(file: Path) -> bool:
    return file.name == "__init__.py"


def _is_local(top: str, roots: Sequence[Path]) -> bool:
    return find(top, roots) is not None or any(root.joinpath(top).is_dir() for root in roots)


def _check_own(top: str, line: int, file: Path, roots: Sequence[Path]) -> None:
    """Refuse a project's own package that has the name of one of movant's.

    It would be this daemon's package that the workflow imports, whatever the project meant.
    """
    local = find(top, roots)
    if local is not None and not local.resolve().is_relative_to(_HOME):
        raise ConfigurationError(
            f"{file}:{line}: {top!r} is a package of movant, and the project has one as well",
            hint=f"rename {local}",
        )


def _lines_ending_in_strings(text: str) -> frozenset[int]:
    """Return the numbers of lines whose end lies inside a string that goes on below."""
    inside: set[int] = set()
    opened: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = tokenize.tok_name[token.type]
            if kind == "STRING":
                inside.update(range(token.start[0], token.end[0]))
            elif kind == "FSTRING_START":  # Python 3.12 and later
                opened.append(token.start[0])
            elif kind == "FSTRING_END":
                inside.update(range(opened.pop(), token.end[0]))
    except (tokenize.TokenError, SyntaxError):
        # No valid Python: parse() says where. Nothing is stripped until then.
        return frozenset(range(1, text.count("\n") + 2))
    return frozenset(inside)
