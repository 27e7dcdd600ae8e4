"""What can go wrong with the server, by what the caller must do.

ConfigurationError              a person has to change something first
├─ ServerMissingError           no nats-server is installed
├─ ServerTooOldError            the one that was found is too old
├─ ServerUnusableError          what was found does not run, or refuses its configuration
├─ PortTakenError               another process listens on the port
├─ StoreLockedError             another daemon uses the store
├─ StoreNotWritableError        the store directory cannot be written
├─ CredentialsError             a password of the server's users cannot be used
└─ DiskFullError                too little free space to promise anything
UnavailableError                trying again may help
├─ InstallError                 the binary could not be fetched now
└─ ServerDiedError              the server ended or hangs: start it again
"""

from __future__ import annotations

from typing import Final

from protocols.errors import ConfigurationError, MovantError, UnavailableError

INSTALL_HINT: Final = "run: movant nats install"


class ServerMissingError(ConfigurationError):
    """There is no nats-server on PATH or in movant's cache."""

    code = "refused.configuration.server_missing"


class ServerTooOldError(ConfigurationError):
    """The nats-server that was found lacks features that movant's promises rest on."""

    code = "refused.configuration.server_too_old"


class ServerUnusableError(ConfigurationError):
    """The nats-server does not run here, or ends at once; the message has its last words."""

    code = "refused.configuration.server_unusable"


class PortTakenError(ConfigurationError):
    """Another process listens on the port that the server has to use."""

    code = "refused.configuration.port_taken"


class StoreLockedError(ConfigurationError):
    """Another daemon uses the store. ``pid`` is that daemon, 0 when it did not say."""

    code = "refused.configuration.store_locked"

    def __init__(self, message: str, *, pid: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class StoreNotWritableError(ConfigurationError):
    """The store directory cannot be created or written."""

    code = "refused.configuration.store_not_writable"


class CredentialsError(ConfigurationError):
    """A password of the embedded server's users is missing, not ours, or open to others."""

    code = "refused.configuration.credentials"


class DiskFullError(ConfigurationError):
    """The file system of the store, or the limit given to the server, is used up."""

    code = "refused.configuration.disk_full"


class InstallError(UnavailableError):
    """The binary could not be fetched or unpacked; nothing was changed."""

    code = "unavailable.install"


class ServerDiedError(UnavailableError):
    """The server ended unexpectedly or stopped answering. Its store is intact."""

    code = "unavailable.server_died"


_OUT_OF_SPACE: Final = frozenset({10023, 10028, 10047, 10077, 10118})
"""JetStream error codes: insufficient resources, memory, storage; store failed for limits."""


def from_api_error(code: int, description: str) -> MovantError | None:
    """Return a DiskFullError for JetStream's ways to say so, None for every other error."""
    lowered = description.lower()
    if code not in _OUT_OF_SPACE and "insufficient" not in lowered and "no space" not in lowered:
        return None
    return DiskFullError(
        f"the NATS server has no room left: {description}",
        hint="free disk space, or raise store_bytes_max of the embedded server, then start again",
    )
