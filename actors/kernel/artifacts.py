"""Artifacts: files that workflow code keeps with its run."""

from __future__ import annotations

from typing import Any, TypedDict

from actors.kernel.operations import Operation
from protocols import codec
from protocols.blobs import BLOB_BYTES_MAX, File, Result, check_artifact_name

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BYTES = "application/octet-stream"


class Kept(TypedDict):
    """What a workflow is told of an artifact: its name, and its size in bytes."""

    name: str
    size: int


class Artifacts:
    """The part of a context that keeps files."""

    __slots__ = ()

    def run(self, *args: Any, **kwargs: Any) -> Operation[Any]:
        """Run a function of your own as a step."""
        raise NotImplementedError

    def artifact(self, name: str, content: Any, content_type: str = "") -> Operation[Kept]:
        """Keep a file with the run, as a step: bytes, text, or any value as JSON.

        The name is one plain file name; of several with one name the latest counts. It is kept
        as long as the run's record, whole or not at all. Raises BadValueError for a name that
        cannot be one, OversizedError above 64 MB.
        """
        check_artifact_name(name)
        usual, data = BYTES, content
        if isinstance(content, str):
            usual, data = TEXT, content.encode()
        elif not isinstance(content, bytes):
            usual, data = JSON, codec.encode(content, limit=BLOB_BYTES_MAX)
        file = File(name, data, content_type or usual)
        return self.run(keep, file, name="artifact")


def keep(file: File) -> Result:
    """Return an answer that keeps a file."""
    return Result({"name": file.name, "size": len(file.content)}, (file,))
