"""Checks tokens of people: whose they are, by the keys and the revocations of the sites that issue them."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import attrs
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federation.errors import ConfigError, FederationError, ForbiddenError, UserError
from federation.registry.grants import check_user
from federation.services.tokens import ALGORITHM, AUDIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from federation.services.tokens import TokenStore
    from federation.wire.client import SiteClient

__all__ = ["Revocations", "TokenCheck", "read_public_key"]

#: how long a token may still be good at another site after its issuer revoked it
REVOKED_WITHIN_S: Final = 5.0

#: tokens whose signature need not be looked at again
_REMEMBERED: Final = 1024


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The key of an issuer; `ConfigError` for a file that holds none."""
    hint = "it is what federation token public-key printed at the site that issues the tokens"
    try:
        key: Any = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"token_key: cannot read {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise ConfigError(f"token_key: {path} holds no public key", hint=hint) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"token_key: {path} holds no Ed25519 key", hint=hint)
    return key


class Revocations:
    """Which tokens are good no longer: of this site at once, of ``issuers`` as they last said, asked every 5 s."""

    def __init__(self, store: TokenStore, issuers: Mapping[str, SiteClient]) -> None:
        self._store, self._issuers = store, dict(issuers)
        self._heard: dict[str, frozenset[str]] = {}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(site,), name=f"revoked-{site}", daemon=True)
            for site in self._issuers
        ]

    def start(self) -> None:
        """Ask from now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def own(self) -> Iterable[str]:
        """What others are told."""
        return sorted(self._store.revoked())

    def has(self, issuer: str, token_id: str) -> bool:
        """Whether the token is known to be revoked."""
        if issuer == self._store.site:
            return token_id in self._store.revoked()
        return token_id in self._heard.get(issuer, frozenset())

    def _ask(self, site: str) -> None:
        while not self._stopping.is_set():
            # while the issuer is silent, what was heard before stays; a token ends by itself at the latest
            with contextlib.suppress(FederationError):
                self._heard[site] = frozenset(self._issuers[site].revoked_tokens())
            self._stopping.wait(REVOKED_WITHIN_S)


@attrs.frozen
class _Claims:
    """What a token says, once its signature was found good."""

    issuer: str
    user: str
    id: str
    expires: float


class TokenCheck:
    """Finds the user of a token; ``issuers`` maps sites to the files of their public keys. ``clock`` is Unix time.

    Signatures are remembered, under digests of the tokens; expiry and revocation are looked at each time.
    """

    def __init__(
        self,
        store: TokenStore,
        issuers: Mapping[str, Path],
        is_revoked: Callable[[str, str], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._is_revoked, self._clock = store, is_revoked, clock
        self._keys = {site: read_public_key(path) for site, path in issuers.items()}
        self._own: tuple[tuple[int, int], Ed25519PublicKey] | None = None
        self._good: OrderedDict[bytes, tuple[Ed25519PublicKey, _Claims]] = OrderedDict()
        self._lock = threading.Lock()

    def user(self, token: str) -> str:
        """Whose token it is; `ForbiddenError` says why it is not accepted, without the token."""
        claims = self._claims(token)
        if self._clock() >= claims.expires:
            raise _refused(f"the token of user {claims.user} has expired")
        if self._is_revoked(claims.issuer, claims.id):
            raise _refused(f"token {claims.id} of user {claims.user} was revoked")
        return claims.user

    def _claims(self, token: str) -> _Claims:
        digest = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._good.get(digest)
        if known is not None and known[0] is self._key(known[1].issuer):
            return known[1]
        key, claims = self._verified(token)
        with self._lock:
            self._good[digest] = (key, claims)
            while len(self._good) > _REMEMBERED:
                self._good.popitem(last=False)
        return claims

    def _verified(self, token: str) -> tuple[Ed25519PublicKey, _Claims]:
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except jwt.InvalidTokenError:
            raise _refused("the token is not one that a site issued") from None
        key = self._key(issuer)
        if key is None:
            site, name = self._store.site, str(issuer)[:40]
            raise ForbiddenError(
                f"tokens of issuer {name!r} are not accepted at site {site}",
                hint=f"use one that {site} issued; or its operator adds token_key to [[peer]] {name}",
            )
        try:
            found = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                # times are compared by the clock that was passed in
                options={
                    "verify_exp": False,
                    "verify_iat": False,
                    "require": ["iss", "aud", "sub", "jti", "exp"],
                },
            )
        except jwt.InvalidTokenError:
            raise _refused(f"the token was not signed by site {issuer}, or was changed since") from None
        try:
            user, expires = check_user(str(found["sub"])), float(found["exp"])
        except (UserError, TypeError, ValueError) as error:
            raise _refused(f"the token of site {issuer} names no user or no end") from error
        return key, _Claims(str(issuer), user, str(found["jti"]), expires)

    def _key(self, issuer: object) -> Ed25519PublicKey | None:
        if issuer != self._store.site:
            return self._keys.get(issuer) if isinstance(issuer, str) else None
        try:
            found = self._store.public_path.stat()
        except FileNotFoundError:  # made with the first token, perhaps after the server began
            return None
        mark = (found.st_mtime_ns, found.st_ino)
        own = self._own
        if own is None or own[0] != mark:
            own = self._own = (mark, read_public_key(self._store.public_path))
        return own[1]


def _refused(message: str) -> ForbiddenError:
    return ForbiddenError(message, hint="ask for a new one: federation token issue")
