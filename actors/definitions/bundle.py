"""Bundles: the bytes of a packed definition, and how they are checked.

A bundle is a zip of the entry modules and of all project-local modules that they import, with
a manifest. Its hash is made from names and canonical sources, not from the bytes of the zip, so
that the same code has the same hash on every machine, in every directory, at every time.

    manifest.json            entries, modules with digests, environment
    rules.json               guardrails that its Python code shares with other definitions
    src/orders.py            module ``orders``
    src/shop/__init__.py     package ``shop``

Third-party distributions and the Python version are recorded for people and for error messages;
they are no part of the hash: the same code on a patched library is the same definition (hazard
M3). The kernel version is one: it says how the code is run, and runs that have begun keep theirs.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from protocols.errors import BadValueError, OversizedError

FORMAT: Final = 1
HASH_CHARS: Final = 32
"""128 bits: nobody finds two contents with one hash, and subjects and logs stay short."""
PACKED_BYTES_MAX: Final = 180_000
"""In base64 this still fits a payload of 256 kB, and a key-value entry of the server."""
SOURCE_BYTES_MAX: Final = 4_000_000
"""All sources of a pack together, unpacked: bounds what a hostile zip can make of itself."""
MODULES_MAX: Final = 500
_MANIFEST: Final = "manifest.json"
_RULES: Final = "rules.json"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_DEFLATE_LEVEL: Final = 9


class ModuleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One module of a pack. ``digest`` is the SHA-256 of its source."""

    name: str
    digest: str
    package: bool = False

    @property
    def path(self) -> str:
        """Where the source is in the zip."""
        stem = self.name.replace(".", "/")
        return f"src/{stem}/__init__.py" if self.package else f"src/{stem}.py"


class DocumentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A machine of a pack, as JSON. ``digest`` is the SHA-256 of its text."""

    name: str
    digest: str

    @property
    def path(self) -> str:
        """Where the text is in the zip."""
        return f"doc/{self.name}.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a pack says about itself."""

    format: int = FORMAT
    entries: tuple[str, ...]
    """The modules whose workflows the definition offers."""
    modules: tuple[ModuleEntry, ...]
    libraries: dict[str, str] = {}
    """Third-party distributions that the modules import, with the versions at packing."""
    python: str = ""
    kernel: int = 1
    documents: tuple[DocumentEntry, ...] = ()
    """Definitions that are data; their names are those of workflows."""
    rules: str = ""
    """The SHA-256 of the shared guardrails that its modules get; empty: none."""

    @property
    def hash(self) -> str:
        """The identity: entries, names and digests of modules and documents, and the kernel."""
        content: list[object] = [
            self.format,
            sorted(self.entries),
            sorted((module.name, module.package, module.digest) for module in self.modules),
        ]
        if self.documents:
            content.append(sorted((each.name, each.digest) for each in self.documents))
        if self.kernel > 1:
            content.append({"kernel": self.kernel})
        if self.rules:
            content.append({"rules": self.rules})
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:HASH_CHARS]


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A definition, ready to be stored: ``data`` is the zip, ``workflows`` what it offers."""

    hash: str
    data: bytes
    workflows: tuple[str, ...]
    modules: tuple[str, ...]
    libraries: dict[str, str] = {}


class Unpacked(NamedTuple):
    """A verified pack: the manifest, and the text of every module and document."""

    manifest: Manifest
    sources: dict[str, str]
    documents: dict[str, str]
    rules: bytes = b""
    """Shared guardrails of its modules, as a set is stored."""


def write(
    manifest: Manifest,
    texts: Mapping[str, str],
    documents: Mapping[str, str] | None = None,
    rules: bytes = b"",
) -> bytes:
    """Return a zip without anything of this moment or machine in it."""
    documents = documents or {}
    sizes = sum(len(text) for text in (*texts.values(), *documents.values()))
    if sizes > SOURCE_BYTES_MAX:
        raise OversizedError(f"sources of {sizes} bytes; the limit is {SOURCE_BYTES_MAX}")
    files = {module.path: texts[module.name].encode() for module in manifest.modules}
    files |= {each.path: documents[each.name].encode() for each in manifest.documents}
    if manifest.rules:
        files[_RULES] = rules
    files[_MANIFEST] = msgspec.json.format(
        msgspec.json.encode(manifest, order="deterministic"), indent=1
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(files):
            info = zipfile.ZipInfo(path, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[path], compresslevel=_DEFLATE_LEVEL)
    data = buffer.getvalue()
    if len(data) > PACKED_BYTES_MAX:
        raise OversizedError(
            f"the definition takes {len(data)} bytes; the limit is {PACKED_BYTES_MAX}",
            hint="keep data out of modules that workflows import",
        )
    return data


def unpack(data: bytes, expected: str = "") -> Unpacked:
    """Return manifest and sources of a pack, when every digest and the hash are right.

    Raises BadValueError for a damaged or changed pack, OversizedError for one over its limits.
    """
    if len(data) > PACKED_BYTES_MAX:
        raise OversizedError(f"a definition of {len(data)} bytes; limit {PACKED_BYTES_MAX}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = _read_all(archive)
        manifest = msgspec.json.decode(files.pop(_MANIFEST), type=Manifest)
        sources = {module.name: files.pop(module.path) for module in manifest.modules}
        texts = {name: text.decode("utf-8") for name, text in sources.items()}
        data_of = {each.name: files.pop(each.path) for each in manifest.documents}
        documents = {name: text.decode("utf-8") for name, text in data_of.items()}
        rules = files.pop(_RULES) if manifest.rules else b""
    except KeyError as error:
        raise _damaged(f"{error.args[0]} is missing") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        msgspec.DecodeError,
        UnicodeDecodeError,
        EOFError,
        NotImplementedError,
        RuntimeError,  # an encrypted member
    ) as error:
        raise _damaged(str(error)) from error
    if files:
        raise _damaged(f"{min(files)} is not in the manifest")
    digests = {module.name: module.digest for module in manifest.modules}
    _check_digests(sources, digests, "source of")
    _check_digests(data_of, {each.name: each.digest for each in manifest.documents}, "document")
    if manifest.rules:
        _check_digests({_RULES: rules}, {_RULES: manifest.rules}, "text of")
    if expected and manifest.hash != expected:
        raise _damaged(f"its content has the hash {manifest.hash}, not {expected}")
    if manifest.format != FORMAT or not set(manifest.entries) <= set(sources):
        raise _damaged(f"format {manifest.format} with entries {list(manifest.entries)}")
    return Unpacked(manifest, texts, documents, rules)


def _check_digests(content: Mapping[str, bytes], digests: Mapping[str, str], what: str) -> None:
    for name, data in content.items():
        if hashlib.sha256(data).hexdigest() != digests[name]:
            raise _damaged(f"the {what} {name} was changed")


def _read_all(archive: zipfile.ZipFile) -> dict[str, bytes]:
    infos = archive.infolist()
    if len(infos) > MODULES_MAX + 2 or sum(i.file_size for i in infos) > 2 * SOURCE_BYTES_MAX:
        raise OversizedError(
            f"a definition of {len(infos)} files is above the limit",
            hint=f"at most {MODULES_MAX} modules and {SOURCE_BYTES_MAX} bytes of source",
        )
    return {info.filename: archive.read(info) for info in infos}


def _damaged(reason: str) -> BadValueError:
    return BadValueError(
        f"the packed definition cannot be used: {reason}",
        hint="register the workflow again from its source",
    )
