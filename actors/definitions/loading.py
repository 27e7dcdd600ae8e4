"""Loading: run a packed definition beside every other version of itself.

Each definition has a name space of its own below ``movant_def_<hash>`` in ``sys.modules``:
module ``orders`` of a pack is ``movant_def_<hash>.orders``, and nothing ever stands there under
its plain name. The modules know only our ``__import__``: a name of the pack means the module of
the pack, also in an import statement inside a function that runs much later; every other name
goes the normal way. Python's own import machinery does the rest (locks, circular imports,
relative imports, ``get_type_hints``, dataclasses, source lines in tracebacks), because to it
these are ordinary modules with a loader.

This is isolation between versions, not a sandbox: the code runs with the daemon's rights.
"""

from __future__ import annotations

import builtins
import re
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Final

import msgspec

from actors.definitions.bundle import unpack
from actors.graphs.interpreter import GraphWorkflow
from actors.motions.interpreter import MotionWorkflow
from protocols.definition import Workflow
from protocols.errors import ConfigurationError, MovantError, NotFoundError
from protocols.graphs.graph import Graph
from protocols.guardrails.book import with_shared
from protocols.guardrails.check import RuleSet, resolved, rules_of
from protocols.guardrails.guardrail import Guardrail
from protocols.machines.machine import Machine

PREFIX: Final = "movant_def_"
_lock: Final = threading.RLock()
"""One load at a time: two threads that load one definition get the same modules."""


def load(data: bytes, digest: str) -> dict[str, Workflow[Any]]:
    """Return the workflows of a pack by name; a definition that is loaded is not run again.

    Raises BadValueError when the pack does not have this hash, NotFoundError when it imports
    what is not installed, and ConfigurationError, with file and line, when its code fails.
    """
    with _lock:
        capsule = _capsules.get(digest)
        if capsule is None:
            content = unpack(data, digest)
            packages = {module.name for module in content.manifest.modules if module.package}
            manifest = content.manifest
            shared = _shared(content.rules)
            capsule = _Capsule(
                digest,
                content.sources,
                packages,
                manifest.libraries,
                manifest.kernel,
                shared=shared,
            )
            capsule.enter()
            try:
                capsule.run(content.manifest.entries)
                capsule.read(content.documents)
            except BaseException:
                unload(digest)
                raise
        return dict(capsule.workflows)


def loaded(digest: str) -> bool:
    """Tell whether a definition is loaded in this process."""
    return digest in _capsules


def unload(digest: str) -> None:
    """Forget a definition. Only when no instance of it is active: lazy imports would fail."""
    with _lock:
        _capsules.pop(digest, None)
        root = PREFIX + digest
        for name in [*sys.modules]:  # a copy: other threads import meanwhile
            if name == root or name.startswith(root + "."):
                del sys.modules[name]


class _Capsule(InspectLoader):
    """The modules of one definition, and the loader of each."""

    def __init__(
        self,
        digest: str,
        sources: Mapping[str, str],
        packages: set[str],
        libraries: Mapping[str, str],
        kernel: int,
        *,
        shared: Mapping[str, Guardrail],
    ) -> None:
        self._shared = shared
        """Guardrails that its modules share with other definitions."""
        self.workflows: dict[str, Workflow[Any]] = {}
        self._of: dict[int, Workflow[Any]] = {}
        self._digest = digest
        self._root = PREFIX + digest
        self._sources = dict(sources)
        self._libraries = libraries
        self._kernel = kernel
        # A directory without __init__.py is a package as well, without any code.
        self._bare = {
            parent for name in sources for parent in _parents(name) if parent not in sources
        }
        self._packages = packages | self._bare
        self._builtins = {**vars(builtins), "__import__": self._import}

    def enter(self) -> None:
        """Make the definition importable below its root."""
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        root = ModuleType(self._root, "A loaded definition.")
        root.__path__ = []
        sys.modules[self._root] = root
        _capsules[self._digest] = self

    def run(self, entries: Sequence[str]) -> None:
        """Import the entry modules and collect their workflows."""
        for entry in entries:
            self._collect(entry, self._module(entry))

    def _module(self, name: str) -> ModuleType:
        """Import a module of the pack."""
        try:
            return import_module(f"{self._root}.{name}")
        except MovantError as error:  # a decorator, or code that uses our checks
            raise ConfigurationError(
                f"{self._where(error)}: {error.message}",
                hint=error.hint or "a module of a workflow must import without failing",
            ) from error
        except SyntaxError as error:
            where = f"{error.filename}:{error.lineno}"
            raise ConfigurationError(
                f"{where}: {error.msg}", hint="the code does not fit this Python version"
            ) from error
        except ImportError as error:
            raise NotFoundError(
                f"{self._where(error)}: {self._plain(error.msg)}", hint=self._install(error)
            ) from error
        except (RecursionError, MemoryError):
            raise  # the daemon's failure, never the definition's
        except Exception as error:
            raise ConfigurationError(
                f"{self._where(error)}: {type(error).__name__}: {self._plain(str(error))}",
                hint="a module of a workflow must import without failing",
            ) from error

    def read(self, documents: Mapping[str, str]) -> None:
        """Make workflows of the machines and graphs that are data."""
        for name, text in documents.items():
            try:
                found = of_json(text)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ConfigurationError(
                    f"the definition {name!r} cannot be read: {error}",
                    hint="it was packed by a newer movant, or changed on its way",
                ) from error
            self.workflows[found.name] = self._workflow(found)

    def _workflow(self, data: Machine | Graph) -> Workflow[Any]:
        if isinstance(data, Graph):
            return GraphWorkflow(data, self._kernel, self._functions(rules_of(data)))
        return MotionWorkflow(data, self._functions(rules_of(data)))

    def _held(self, workflow: Workflow[Any]) -> Workflow[Any]:
        """Return a workflow in Python, held to its own rules and to those that it shares."""
        rules = with_shared(workflow.options.guardrails, self._shared, self._shared)
        if not rules or type(workflow) is not Workflow:
            return workflow
        return workflow.with_rules(rules, self._functions(rules))

    def _functions(self, rules: Mapping[str, Guardrail]) -> dict[str, Any]:
        """Return the functions of guardrails, out of the modules that are packed."""
        found: dict[str, Any] = {}
        for name, rule in rules.items():
            if not rule.function:
                continue
            module, _, attribute = rule.function.partition(":")
            of = self._module(module) if self._has(module) else None
            function = getattr(of, attribute, None)
            if not callable(function):
                raise ConfigurationError(
                    f"guardrails.{name}.function: there is no function {rule.function!r}",
                    hint="it stands in a module beside the file, and is packed with it",
                )
            found[rule.function] = function
        return found

    def spec(self, name: str) -> ModuleSpec | None:
        """Return how to load a module, by its plain name."""
        if name not in self._sources and name not in self._bare:
            return None
        spec = ModuleSpec(
            f"{self._root}.{name}",
            self,
            origin=self._filename(name),
            is_package=name in self._packages,
        )
        spec.has_location = True  # so that __file__ is set and tracebacks name it
        return spec

    def get_source(self, fullname: str) -> str:
        """Return a source text; ``linecache`` asks for it when it shows a traceback."""
        return self._sources.get(fullname.removeprefix(self._root + "."), "")

    def get_code(self, fullname: str) -> CodeType:
        """Compile a module under a file name that tells definition and module."""
        filename = self._filename(fullname.removeprefix(self._root + "."))
        return compile(self.get_source(fullname), filename, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Run a module with our ``__import__`` among its builtins."""
        vars(module)["__builtins__"] = self._builtins
        exec(self.get_code(module.__name__), vars(module))  # noqa: S102 -- running definitions is the purpose

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 -- the signature of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002 -- the signature of __import__
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as the pack's modules see the world."""
        if level:
            self._check_level(globals or {}, level)
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if not self._has(name):
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        if fromlist:
            return builtins.__import__(f"{self._root}.{name}", globals, locals, fromlist, 0)
        import_module(f"{self._root}.{name}")
        return sys.modules[f"{self._root}.{name.partition('.')[0]}"]

    def _has(self, name: str) -> bool:
        """Tell whether a name is the pack's: its own modules, and names inside its packages.

        A directory without __init__.py may share its name with an installed package, so there
        only what the pack contains is the pack's.
        """
        top = name.partition(".")[0]
        return name in self._sources or name in self._bare or top in self._sources

    def _check_level(self, scope: Mapping[str, object], level: int) -> None:
        """Refuse ``from . import x`` outside of a package, as Python does."""
        package = str(scope.get("__package__") or "")
        depth = package.count(".") if package.startswith(self._root) else level
        if level > depth:
            raise ImportError("attempted relative import beyond top-level package")

    def _collect(self, entry: str, module: ModuleType) -> None:
        for each in list(vars(module).values()):
            if not isinstance(each, Machine | Graph | Workflow):
                continue
            value = self._of_module(each, entry)
            known = self.workflows.setdefault(value.name, value)
            if known is not value:
                raise ConfigurationError(
                    f"{self._filename(entry)}: workflow {value.name!r} is defined twice",
                    hint="give one of them another name",
                )

    def _of_module(self, data: Machine | Graph | Workflow[Any], entry: str) -> Workflow[Any]:
        """Return the one workflow of a definition, under however many names it stands."""
        found = self._of.get(id(data))
        if found is None:
            try:
                if isinstance(data, Workflow):
                    found = self._held(data)
                else:
                    found = self._workflow(resolved(data, self._shared))
                self._of[id(data)] = found
            except ConfigurationError as error:
                where = f"{self._filename(entry)}:{self._line_of(entry, data.name)}"
                raise ConfigurationError(f"{where}: {error.message}", hint=error.hint) from error
        return found

    def _line_of(self, module: str, word: str) -> int:
        """Return the first line where a text stands in quotes, or 1."""
        quoted = re.compile(rf"[\"']{re.escape(word)}[\"']")
        lines = enumerate(self._sources.get(module, "").split("\n"), 1)
        return next((number for number, line in lines if quoted.search(line)), 1)

    def _filename(self, name: str) -> str:
        path = name.replace(".", "/")
        tail = f"{path}/__init__.py" if name in self._packages else f"{path}.py"
        return f"{self._root}/{tail}"

    def _where(self, error: BaseException) -> str:
        """Return file and line of the innermost frame of the definition's own code."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if frame.filename.startswith(self._root + "/")]
        return f"{ours[-1].filename}:{ours[-1].lineno}" if ours else self._root

    def _plain(self, text: str) -> str:
        return text.replace(self._root + ".", "")

    def _install(self, error: ImportError) -> str:
        known = ", ".join(f"{name} {version}" for name, version in self._libraries.items())
        wanted = self._plain(error.name or "it")
        return f"install what provides {wanted!r} where the daemon runs" + (
            f"; the definition was packed with {known}" if known else ""
        )


def _shared(rules: bytes) -> Mapping[str, Guardrail]:
    """Return the shared guardrails of a pack."""
    try:
        return RuleSet.of(rules).guardrails if rules else {}
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"its shared guardrails cannot be read: {error}") from error


class _Steps(msgspec.Struct):
    """A document as far as it has to be read to tell a graph."""

    steps: msgspec.Raw = msgspec.Raw(b"")


def of_json(text: str) -> Machine | Graph:
    """Return a definition that is data, as it is stored. Raises msgspec.MsgspecError."""
    if msgspec.json.decode(text, type=_Steps).steps:
        return msgspec.json.decode(text, type=Graph)
    return msgspec.json.decode(text, type=Machine)


class _Finder(MetaPathFinder):
    """Finds the modules of loaded definitions, and nothing else."""

    def find_spec(
        self,
        fullname: str,
        path: object = None,  # noqa: ARG002 -- the signature of a finder
        target: object = None,  # noqa: ARG002 -- the signature of a finder
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        root, _, name = fullname.partition(".")
        capsule = _capsules.get(root.removeprefix(PREFIX))
        return capsule.spec(name) if capsule is not None and name else None


_finder: Final = _Finder()
_capsules: Final[dict[str, _Capsule]] = {}


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
