"""Logins by key: reading nkey seeds and credentials files, and signing the server's nonce.

An nkey is an Ed25519 key in NATS's own base32 wrapping. nats-py needs two more packages for
it; signing one nonce per connection is all that we need, so here is Ed25519 after RFC 8032,
in plain integers. It takes some milliseconds, and their number may depend on the key: do not
sign for strangers with it.
"""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha512
from pathlib import Path
from typing import Final, NamedTuple

from protocols.errors import ConfigurationError

_FILE_BYTES_MAX: Final = 65_536
_PREFIX_SEED: Final = 18 << 3
_PREFIX_USER: Final = 20 << 3
_SEED_BYTES: Final = 36
"""Two bytes of prefix, the seed of 32, two of checksum."""
_BLOCK: Final = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s*(\S+)\s*-{3,}END [A-Z ]+-{3,}")

_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_BASE_X: Final = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y: Final = 46316835694926478169428394003475163141307993866256225615783033603165251855960

_Point = tuple[int, int, int, int]


class Key(NamedTuple):
    """The key of a user: what signs, and its public name (``U…``)."""

    seed: bytes
    public: str

    def sign(self, nonce: bytes) -> bytes:
        """Return the signature of a nonce, 64 bytes."""
        return sign(self.seed, nonce)


def read_seed(path: str) -> Key:
    """Return the key of a seed file (``SU…``). Raises ConfigurationError."""
    text = _read(path)
    found = next((line for line in text.split() if line.startswith("SU")), "")
    return _key(found, path)


def read_credentials(path: str) -> tuple[str, Key]:
    """Return the JWT and the key of a credentials file. Raises ConfigurationError."""
    blocks = {match[1]: match[2] for match in _BLOCK.finditer(_read(path))}
    jwt = blocks.get("NATS USER JWT", "")
    if not jwt:
        raise ConfigurationError(
            f"{path} is no credentials file: it has no NATS USER JWT",
            hint="nsc generate creds makes one; a bare seed belongs into nats.nkey",
        )
    return jwt, _key(blocks.get("USER NKEY SEED", ""), path)


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the Ed25519 signature of a message (RFC 8032)."""
    secret = sha512(seed).digest()
    scalar = _clamped(secret)
    public = _encoded(_times(scalar))
    r = int.from_bytes(sha512(secret[32:] + message).digest(), "little") % _ORDER
    commitment = _encoded(_times(r))
    challenge = int.from_bytes(sha512(commitment + public + message).digest(), "little")
    response = (r + challenge * scalar) % _ORDER
    return commitment + response.to_bytes(32, "little")


def public_bytes(seed: bytes) -> bytes:
    """Return the public key of a seed, 32 bytes."""
    return _encoded(_times(_clamped(sha512(seed).digest())))


def seed_text(seed: bytes) -> str:
    """Return a user's seed as NATS writes it (``SU…``)."""
    head = bytes((_PREFIX_SEED | _PREFIX_USER >> 5, (_PREFIX_USER & 31) << 3))
    return _wrapped(head + seed)


def public_text(seed: bytes) -> str:
    """Return the public name of a user's seed (``U…``)."""
    return _wrapped(bytes((_PREFIX_USER,)) + public_bytes(seed))


def _read(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the key {path} cannot be read: {error}",
            hint="check nats.nkey or nats.credentials, and who may read the file",
        ) from error


def _key(text: str, path: str) -> Key:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    whole = len(raw) == _SEED_BYTES and raw[-2:] == _checksum(raw[:-2])
    if (
        not whole
        or raw[0] & 0xF8 != _PREFIX_SEED
        or (raw[0] & 7) << 5 | raw[1] >> 3 != _PREFIX_USER
    ):
        raise ConfigurationError(
            f"{path} has no seed of a user's nkey",
            hint="nk -gen user makes one; it begins with SU",
        )
    seed = raw[2:-2]
    return Key(seed, public_text(seed))


def _wrapped(data: bytes) -> str:
    return base64.b32encode(data + _checksum(data)).decode().rstrip("=")


def _checksum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")


def _clamped(secret: bytes) -> int:
    return int.from_bytes(secret[:32], "little") & ((1 << 254) - 8) | 1 << 254


def _added(p: _Point, q: _Point) -> _Point:
    """Return the sum of two points in extended coordinates (RFC 8032, 5.1.4)."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int) -> _Point:
    """Return a multiple of the base point."""
    total: _Point = (0, 1, 1, 0)
    point: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
    while scalar:
        if scalar & 1:
            total = _added(total, point)
        point = _added(point, point)
        scalar >>= 1
    return total


def _encoded(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")
