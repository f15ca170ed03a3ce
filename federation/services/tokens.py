"""Tokens for people: issued and signed by a site, listed, revoked.

A token is a JSON Web Token signed with Ed25519 (RFC 8037): ``iss`` is the site, ``sub`` the user, ``jti`` its id,
``iat`` and ``exp`` are seconds of Unix time. The site keeps what it issued, never the tokens themselves.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.errors import CorruptionError, LimitError, NotFoundError, UserError
from federation.registry.grants import check_user
from federation.services.certificates import write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ALGORITHM", "AUDIENCE", "LIFETIME_S", "LIFETIME_S_MAX", "IssuedToken", "TokenStore"]

ALGORITHM: Final = "EdDSA"
AUDIENCE: Final = "federation"
#: a working day; the longest is a month
LIFETIME_S: Final = 12 * 3600
LIFETIME_S_MAX: Final = 31 * 86400
#: tokens that a site remembers, expired ones not counted
TOKENS_MAX: Final = 10_000


@attrs.frozen
class IssuedToken:
    """What a site remembers of a token; times are seconds of Unix time, ``revoked`` None for one that is good."""

    id: str
    user: str
    issued: int
    expires: int
    revoked: int | None = None

    def state(self, now: float) -> str:
        """In a word: good, expired or revoked."""
        if self.revoked is not None:
            return "revoked"
        return "good" if now < self.expires else "expired"


class TokenStore:
    """The tokens and the signing key of one site, in ``root/auth``; safe between processes.

    ``clock`` gives seconds of Unix time.
    """

    def __init__(self, site: str, root: Path, clock: Callable[[], float] = time.time) -> None:
        self.site, self._clock = site, clock
        self._directory = root / "auth"
        self.key_path = self._directory / "token.key"
        self.public_path = self._directory / "token.pub"
        self._list_path = self._directory / "tokens.json"
        self._revoked: tuple[tuple[int, int, int], dict[str, int]] | None = None

    def issue(self, user: str, lifetime_s: int = LIFETIME_S) -> tuple[IssuedToken, str]:
        """A new token for a user, with its text, which is kept nowhere. The first makes the site's key."""
        check_user(user)
        if not 0 < lifetime_s <= LIFETIME_S_MAX:
            raise UserError(
                f"a token can't be good for {lifetime_s} s", hint=f"at least 1 s, at most {LIFETIME_S_MAX} s"
            )
        with self._locked():
            key = self._make_key()
            now = int(self._clock())
            token = IssuedToken(str(uuid.uuid4()), user, now, now + lifetime_s)
            kept = [one for one in self.tokens() if one.expires > now]
            if len(kept) >= TOKENS_MAX:
                raise LimitError(
                    f"site {self.site} has {len(kept)} tokens that are good", hint="let some expire first"
                )
            self._write((*kept, token))
        claims = {
            "iss": self.site,
            "aud": AUDIENCE,
            "sub": user,
            "jti": token.id,
            "iat": token.issued,
            "exp": token.expires,
        }
        return token, jwt.encode(claims, key, algorithm=ALGORITHM)

    def tokens(self) -> tuple[IssuedToken, ...]:
        """Every token since the last issue that dropped expired ones, in order of issue."""
        try:
            raw = json.loads(self._list_path.read_bytes())
            return tuple(IssuedToken(**one) for one in raw)
        except FileNotFoundError:
            return ()
        except (ValueError, TypeError) as error:
            raise CorruptionError(
                f"{self._list_path} is not a list of tokens: {error}",
                hint="make a new signing key: remove the directory, issue tokens anew, tell the peers",
            ) from error

    def revoke(self, token_id: str) -> IssuedToken:
        """End a token before its time; `NotFoundError` for one that this site has not issued."""
        with self._locked():
            known = self.tokens()
            found = next((one for one in known if one.id == token_id), None)
            if found is None:
                raise NotFoundError(
                    f"site {self.site} has issued no token {token_id!r}",
                    hint=f"see: federation token list --site {self.site}",
                )
            if found.revoked is not None:
                return found
            gone = attrs.evolve(found, revoked=int(self._clock()))
            self._write(tuple(gone if one.id == token_id else one for one in known))
        return gone

    def revoked(self) -> frozenset[str]:
        """Ids of tokens that were revoked and have not expired; asked with every call, so the file is read once."""
        try:
            found = self._list_path.stat()
        except FileNotFoundError:
            return frozenset()
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = self._revoked
        if known is None or known[0] != mark:
            ends = {one.id: one.expires for one in self.tokens() if one.revoked is not None}
            known = self._revoked = (mark, ends)
        now = self._clock()
        return frozenset(token_id for token_id, expires in known[1].items() if now < expires)

    def public_key(self) -> bytes:
        """The PEM with which others check this site's tokens; the key is made where there is none."""
        with self._locked():
            self._make_key()
        return self.public_path.read_bytes()

    def _make_key(self) -> Ed25519PrivateKey:
        if not self.key_path.exists():
            private = Ed25519PrivateKey.generate()
            pem = private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            write_private(self.key_path, pem)
        loaded: Any = serialization.load_pem_private_key(self.key_path.read_bytes(), password=None)
        if not isinstance(loaded, Ed25519PrivateKey):
            raise UserError(f"{self.key_path} is not an Ed25519 key", hint="remove it; a new one is made")
        public = loaded.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if not self.public_path.exists() or self.public_path.read_bytes() != public:
            write_private(self.public_path, public)
        return loaded

    def _write(self, tokens: tuple[IssuedToken, ...]) -> None:
        rows = [attrs.asdict(token) for token in tokens]
        write_private(self._list_path, (json.dumps(rows, indent=1) + "\n").encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
