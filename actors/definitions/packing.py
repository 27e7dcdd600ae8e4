"""Packing: from a workflow's Python source to its definition (see ``bundle``)."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from actors.definitions.bundle import MODULES_MAX, Manifest, ModuleEntry, Packed, unpack, write
from actors.definitions.imports import Source, closure, find
from actors.definitions.loading import PREFIX, load, loaded, unload
from protocols.errors import ConfigurationError, MovantError, NotFoundError, OversizedError
from protocols.mail import KERNEL

DOCUMENTS: Final = (".yaml", ".yml")
"""Files whose definitions are data."""
_INSIDE: Final = re.compile(PREFIX + r"[0-9a-f]+/[\w/]+\.py")


def pack(source: Path | str, roots: Sequence[Path] = (), *, kernel: int = KERNEL) -> Packed:
    """Pack a Python file, a package directory, a dotted module name, or a machine's YAML file.

    A file is named as Python would name it when it runs from its own directory; its imports are
    looked for there first, then below ``roots``. The code is loaded once, to learn which
    workflows it defines. Raises NotFoundError, ConfigurationError and OversizedError.
    """
    if str(source).endswith(DOCUMENTS):
        from actors.files.definitions import pack_document  # noqa: PLC0415 - YAML is not for Python

        return pack_document(source)
    entries, search = locate(source, roots)
    found = closure(entries, search)
    if len(found.modules) > MODULES_MAX:
        raise OversizedError(
            f"{source} imports {len(found.modules)} modules of the project; "
            f"the limit is {MODULES_MAX}",
            hint="split the module that imports everything",
        )
    manifest = Manifest(
        entries=tuple(sorted(entries)),
        modules=tuple(_entry(module) for module in found.modules.values()),
        libraries=_libraries(found.foreign),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        kernel=kernel,
    )
    data = write(manifest, {name: module.text for name, module in found.modules.items()})
    return Packed(
        hash=manifest.hash,
        data=data,
        workflows=_workflows(data, manifest, {m.name: m.file for m in found.modules.values()}),
        modules=tuple(found.modules),
        libraries=manifest.libraries,
    )


def open_pack(data: bytes, *, keep: bool = False) -> Packed:
    """Return the Packed of a zip that came over the wire, verified and loaded once.

    ``keep``: it stays loaded, for who is about to use it.
    """
    manifest = unpack(data).manifest
    return Packed(
        hash=manifest.hash,
        data=data,
        workflows=_workflows(data, manifest, {}, keep=keep),
        modules=tuple(module.name for module in manifest.modules),
        libraries=manifest.libraries,
    )


def locate(source: Path | str, roots: Sequence[Path] = ()) -> tuple[list[str], list[Path]]:
    """Return the entry modules of a source and the directories to look for imports in."""
    search = [root.resolve() for root in roots]
    path = Path(source)
    if isinstance(source, str) and not path.exists() and path.suffix != ".py":
        search = search or [Path.cwd()]
        file = find(source, search)
        if file is None:
            raise NotFoundError(
                f"no file and no module {source!r} below {', '.join(map(str, search))}",
                hint="name a Python file, a package directory or a module of the project",
            )
        return _entries(source, file), search
    path = path.resolve()
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise NotFoundError(
            f"{file} does not exist",
            hint="name a Python file, or a directory with an __init__.py",
        )
    if file.suffix != ".py":
        raise ConfigurationError(
            f"{file} is no Python file", hint="a workflow file ends in .py or .yaml"
        )
    # As Python does it: the directory above the outermost package is where imports begin.
    base = file.parent
    parts = [] if file.name == "__init__.py" else [file.stem]
    while (base / "__init__.py").is_file():
        parts.insert(0, base.name)
        base = base.parent
    name = ".".join(parts)
    if find(name, [base]) is None:
        raise ConfigurationError(
            f"{file.name} cannot be imported: {name!r} is no module name",
            hint="use letters, digits and '_' in file and directory names",
        )
    return _entries(name, file), [base, *(root for root in search if root != base)]


def _entries(name: str, file: Path) -> list[str]:
    """Return a module, or a package with every module below it."""
    if file.name != "__init__.py":
        return [name]
    names = [name]
    for path in sorted(file.parent.iterdir()):
        inner = path / "__init__.py" if path.is_dir() else path
        module = path.stem.isidentifier() and inner.suffix == ".py" and inner.is_file()
        if module and inner != file:
            names += _entries(f"{name}.{path.stem}", inner)
    return names


def _entry(module: Source) -> ModuleEntry:
    digest = hashlib.sha256(module.text.encode()).hexdigest()
    return ModuleEntry(name=module.name, digest=digest, package=module.package)


def _workflows(
    data: bytes, manifest: Manifest, files: Mapping[str, Path], *, keep: bool = False
) -> tuple[str, ...]:
    """Load the definition, for a moment or to keep it, and return what it offers."""
    known = loaded(manifest.hash)
    names: tuple[str, ...] = ()
    try:
        names = tuple(sorted(load(data, manifest.hash)))
    except MovantError as error:
        # The author knows the files, not their names inside the definition.
        inside = {f"{PREFIX}{manifest.hash}/{m.path[4:]}": m.name for m in manifest.modules}
        shown = _INSIDE.sub(
            lambda found: str(files.get(inside.get(found[0], ""), found[0])), error.message
        )
        error.message = shown
        error.args = (shown,)
        raise
    finally:
        if not (known or (keep and names)):
            unload(manifest.hash)
    if not names:
        raise ConfigurationError(
            f"{', '.join(str(files.get(entry, entry)) for entry in manifest.entries)}: "
            "no workflow is defined here",
            hint="decorate an async function with @workflow, or make a Machine",
        )
    return names


def _libraries(foreign: Iterable[str]) -> dict[str, str]:
    """Return name and version of the installed distributions that provide the packages."""
    owners = _owners(tuple(_changed(each) for each in sys.path))
    names = {owner for package in foreign for owner in owners.get(package, ())}
    return {name: metadata.version(name) for name in sorted(names)}


@cache
def _owners(_installed: tuple[float, ...]) -> Mapping[str, list[str]]:
    """Return who provides each package; to find out reads what every distribution installed."""
    return metadata.packages_distributions()


def _changed(directory: str) -> float:
    """Return when something was installed into a directory, or removed from it."""
    with suppress(OSError):
        return Path(directory or ".").stat().st_mtime
    return 0.0
