"""The processes of the demonstration: the daemon, the branches, the gazette."""

from __future__ import annotations

import shutil
from pathlib import Path

from examples.governance.serve import NAMES, RULES
from examples.stage import Stage as Common
from examples.stage import free_port


class Stage(Common):
    """The folder and the processes of one demonstration."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gazette_port = free_port()
        self.rules = folder / "rules"
        shutil.copytree(RULES, self.rules)

    def start_branches(self) -> None:
        """Start all seven."""
        for name in NAMES:
            self.start_branch(name)

    def start_branch(self, name: str) -> None:
        """Start one branch."""
        options = [*self.service_words, "--rules", str(self.rules)]
        options += ["--gazette", f"127.0.0.1:{self.gazette_port}"]
        self.start(name, "examples.governance.serve", name, *options)

    def open_gazette(self) -> None:
        """Start the printing house."""
        options = ("--data", str(self.folder), "--port", str(self.gazette_port))
        self.start("gazette", "examples.governance.gazette", *options)
