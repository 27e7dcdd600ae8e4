"""The folder where projects lie: each belongs to the run that has generated it.

A project is written aside and moved into place, so there is never half of one. What was undone
stays undone: a late request with that key is refused.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from movant import Refused

OWNER: Final = ".forge"
"""The file in a project that names the key under which it was generated."""
_EPOCH: Final = (2024, 1, 1, 0, 0, 0)
"""Time of all files in an archive: the same project gives the same bytes."""


class Workspace:
    """Projects below one folder. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root / "projects"
        self._undone = root / "undone"
        self._lock = threading.Lock()
        self.root.mkdir(parents=True, exist_ok=True)
        self._undone.mkdir(exist_ok=True)

    def folder(self, output_path: str) -> Path:
        """Return where a project lies. Raises Refused for a path that leads elsewhere."""
        path = PurePosixPath(output_path)
        parts = path.parts
        if not parts or path.is_absolute() or any(each.startswith(".") for each in parts):
            raise Refused("output_path", f"{output_path[:100]!r} is no path in the workspace")
        return self.root / path

    def written(self, output_path: str) -> Path:
        """Return where a project lies that was generated. Raises Refused when it was not."""
        folder = self.folder(output_path)
        if not (folder / OWNER).is_file():
            raise Refused("no_project", f"nothing was generated in {output_path[:100]!r}")
        return folder

    def write(self, output_path: str, files: dict[str, str], key: str) -> None:
        """Write a project; once for a key. Raises Refused where another run has its own."""
        folder = self.folder(output_path)
        with self._lock:
            if self._tombstone(key).exists():
                raise Refused("undone", "this was undone before")
            if folder.exists():
                if self._owner(folder) == key:
                    return
                raise Refused("output_taken", f"{output_path[:100]!r} is that of somebody else")
            aside = self.root / f".{hashlib.sha256(key.encode()).hexdigest()}"
            shutil.rmtree(aside, ignore_errors=True)
            for name, text in files.items():
                file = aside / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            (aside / OWNER).write_text(key)
            folder.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(folder)

    def discard(self, output_path: str, key: str) -> bool:
        """Remove what was written under a key, or never let it be written."""
        folder = self.folder(output_path)
        with self._lock:
            self._tombstone(key).touch()
            if self._owner(folder) != key:
                return False
            shutil.rmtree(folder)
            return True

    def archive(self, output_path: str) -> bytes:
        """Return a project as a ZIP file."""
        folder = self.written(output_path)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for each in sorted(folder.rglob("*")):
                if each.is_file() and each.name != OWNER:
                    name = each.relative_to(folder).as_posix()
                    file.writestr(zipfile.ZipInfo(name, _EPOCH), each.read_bytes())
        return packed.getvalue()

    def _owner(self, folder: Path) -> str:
        try:
            return (folder / OWNER).read_text()
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def _tombstone(self, key: str) -> Path:
        return self._undone / hashlib.sha256(key.encode()).hexdigest()
