"""The version of movant; pyproject.toml names the same one."""

from typing import Final

VERSION: Final = "0.1.0"
