"""What stands between a site's server and its callers, made from the site file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from federation.config.security import check_exposed
from federation.registry.access import Access
from federation.services.audit import AUDIT_FILE, AuditLog
from federation.services.auth import Gatekeeper
from federation.services.limits import CallerLimits
from federation.services.token_check import Revocations, TokenCheck
from federation.services.tokens import TokenStore
from federation.wire.tls import check_own

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from federation.config import SiteConfig
    from federation.registry.registry import Registry
    from federation.wire.client import SiteClient

__all__ = ["SiteSecurity"]


class SiteSecurity:
    """The gate and the access rules of one site; `start` and `stop` as the server does.

    `ConfigError` for a site that would let other computers in without knowing them, has another's certificate, or a key
    that can't be read.
    """

    def __init__(self, config: SiteConfig, registry: Registry, clients: Mapping[str, SiteClient]) -> None:
        check_exposed(config.path, config.listen, config.tls, insecure=config.insecure)
        if config.tls is not None:
            check_own(config.tls, config.name)
        store = TokenStore(config.name, config.root)
        keys = {peer.name: peer.token_key for peer in config.peers if peer.token_key is not None}
        asked = {site: clients[site] for site in keys} if config.tls is not None else {}
        self._revocations = Revocations(store, asked)
        self.access = Access(registry, {peer.name: peer.may_follow for peer in config.peers})
        self.audit = AuditLog(config.root / AUDIT_FILE)
        self.gate = Gatekeeper(
            config,
            TokenCheck(store, keys, self._revocations.has),
            CallerLimits(config.limits, time.monotonic),
            self.audit,
        )

    def start(self) -> None:
        """Hear of revoked tokens from now on."""
        self._revocations.start()

    def stop(self) -> None:
        """End it."""
        self._revocations.stop()

    def revoked_tokens(self) -> Iterable[str]:
        """Ids of this site's tokens that are good no longer."""
        return self._revocations.own()
