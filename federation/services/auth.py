"""Who may make which call of a site's server: other sites by certificate, people by token; all else is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from federation.errors import FederationError, ForbiddenError
from federation.model.position import SchemaId
from federation.registry.access import SITE_CALLER, may_follow
from federation.registry.grants import check_user
from federation.wire.gate import Admission
from federation.wire.tls import site_of

if TYPE_CHECKING:
    from federation.config import SiteConfig
    from federation.services.audit import AuditLog
    from federation.services.limits import CallerLimits
    from federation.services.token_check import TokenCheck
    from federation.wire.gate import CallInfo

__all__ = ["Gatekeeper"]

_OURS: Final = "federation.wire.v1."
#: for other sites, and for people with a token; what they read is checked by schema
_READING: Final = frozenset(
    _OURS + name
    for name in ("Query/GetCatalog", "Query/Execute", "Lineage/Walk", "Site/Status", "Site/Fetch")
)
#: for other sites, by schema
_FOLLOWING: Final = frozenset(
    f"{_OURS}ChangeLog/{name}" for name in ("Follow", "Acknowledge", "Bootstrap", "Digest")
)
#: for other sites
_BETWEEN_SITES: Final = frozenset(_OURS + name for name in ("Site/Bring", "Site/Store", "Auth/Revoked"))


@attrs.frozen
class _Caller:
    """Who calls: a site, a user, or both when a site passes on a user's token; ``who`` is for limits and records."""

    who: str
    site: str | None = None
    user: str | None = None


class Gatekeeper:
    """The `Gate` of a site's server. Without ``[tls]`` nobody can be told apart: all is let in, within the limits."""

    def __init__(self, config: SiteConfig, tokens: TokenCheck, limits: CallerLimits, audit: AuditLog) -> None:
        self._config, self._tokens, self._limits, self._audit = config, tokens, limits, audit

    def admit(self, call: CallInfo) -> Admission:
        """Let a call in, on behalf of the user that it is found to be for."""
        if self._config.tls is None:
            who = _host(call.address)
            return Admission(who, call.user, self._limits.enter(who))
        try:
            caller = self._caller(call)
        except ForbiddenError:
            # guessing is bounded too
            self._limits.enter(_certificate(call))()
            raise
        leave = self._limits.enter(caller.who)
        try:
            return Admission(caller.who, self._permitted(call, caller), leave)
        except FederationError:
            leave()
            raise

    def refused(self, call: CallInfo, reason: str, who: str = "") -> None:
        """Write the refusal down."""
        who = who or _certificate(call)
        said = f"{who} for {call.user}" if call.user and not who.startswith("user ") else who
        self._audit.record(who=said, address=call.address, method=call.method, what=call.what, why=reason)

    def _caller(self, call: CallInfo) -> _Caller:
        site = site_of(call.names)
        if site is not None and site != self._config.name and self._config.peer(site) is None:
            raise ForbiddenError(
                f"site {site} is not a peer of site {self._config.name}",
                hint=f"the operator of {self._config.name} adds a [[peer]] of this name to the site file",
            )
        if call.token:
            user = self._tokens.user(call.token)
            return _Caller(f"user {user}", site, user)
        return _Caller(_certificate(call), site)

    def _permitted(self, call: CallInfo, caller: _Caller) -> str:
        """The user on whose behalf the call goes on; `ForbiddenError` where it may not."""
        if call.method in _READING:
            return self._reader(call, caller)
        here = self._config.name
        if call.method not in _FOLLOWING | _BETWEEN_SITES:
            raise ForbiddenError(f"{call.method} is not for {caller.who}", hint="sites have other calls")
        if caller.site is None:
            raise ForbiddenError(
                f"{call.method} of site {here} is for other sites, not for {caller.who}",
                hint="use the certificate of a site: federation site cert issue",
            )
        if call.method in _FOLLOWING and caller.site != here:
            self._check_following(call, caller.site)
        return ""

    def _reader(self, call: CallInfo, caller: _Caller) -> str:
        if caller.user is not None:
            return caller.user
        if caller.site is None:
            raise ForbiddenError(
                f"{call.method} of site {self._config.name} needs a token, and {caller.who} sent none",
                hint="export FEDERATION_TOKEN_FILE=FILE; the site's operator makes one: federation token issue",
            )
        if call.user:
            # a peer answers for its users; that it is another site only its certificate can say
            return check_user(call.user)
        return "" if caller.site == self._config.name else SITE_CALLER + caller.site

    def _check_following(self, call: CallInfo, site: str) -> None:
        here = self._config.name
        # one site may follow for several purposes: ncsa, ncsa:watch
        if call.follower.partition(":")[0] not in ("", site):
            raise ForbiddenError(
                f"site {site} may not follow in the name of {call.follower}",
                hint="a follower has the name that its certificate says",
            )
        peer = self._config.peer(site)
        schema = SchemaId(call.site, call.schema)
        if peer is None or not may_follow(schema, here, peer.may_follow):
            raise ForbiddenError(
                f"site {site} may not follow schema {schema} of site {here}",
                hint=f'the operator of {here} adds may_follow = ["{call.schema}"] to [[peer]] {site}',
            )


def _certificate(call: CallInfo) -> str:
    site = site_of(call.names)
    if site is not None:
        return f"site {site}"
    return call.names[0] if call.names else _host(call.address)


def _host(address: str) -> str:
    """The computer of a gRPC peer address, ``ipv4:127.0.0.1:50312``, without the port.

    >>> _host("ipv4:127.0.0.1:50312")
    '127.0.0.1'
    """
    _, _, rest = address.partition(":")
    return rest.rpartition(":")[0].strip("[]") or address
