"""
Who we are to a partner's HTTP service: a password, a token, a key, a signature, or a token that we ask for (OAuth 2).

No secret shows: neither in a message, nor in the variables of a traceback, nor in a log.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, urlencode

from attrs import frozen

from fcflow.errors import TransportError, TransportLoginError, TransportRefusedError, TransportUnsupportedError
from fcflow.signing import Signable, SignatureScheme, sign, signing_key
from fcflow.transports._faults import scrubbed
from fcflow.transports._http_answers import Said, cleaned, heard, look_failure
from fcflow.transports._http_urls import Base, taken_apart
from fcflow.transports._wire import Call, Wire
from fcflow.transports.base import Endpoint

__all__ = ["Hidden", "Login", "checked_header"]

_EARLY_S = 60
_UNSAID_S = 300
_TOKEN_TIMEOUT_S = 15
_LONGEST_TOKEN = 16_384
_HERE = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")


class Hidden(str):
    """A text that shows itself to nobody who prints the variables of a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def checked_header(name: str, value: str) -> str:
    """
    *value*, which can stand in a header.

    Raises:
        TransportUnsupportedError: It cannot.
    """
    if re.search(r"[\x00-\x1f\x7f]", value) or not value.isascii():
        raise TransportUnsupportedError(f"header {name}: expected printable ASCII, got other characters")
    return value


@frozen
class _Token:
    """A token that was asked for: how long it may be used, by this process's own clock."""

    text: Hidden
    until: float
    gone: float


_TOKENS: dict[tuple[str, ...], _Token] = {}
"""What this process was given, by who asked whom for what; a token is never written anywhere."""


class Login:
    """
    What every request to one partner carries.

    Args:
        wire: Makes a way to a server, from a time limit in seconds.
    """

    def __init__(self, endpoint: Endpoint, base: Base, wire: Callable[[float], Wire]) -> None:
        self._endpoint = endpoint
        self._base = base
        self._wire = wire
        self._used: str | None = None
        self._oauth: Mapping[str, Any] | None = endpoint.option("oauth")
        self._issuer = _issuer(self._oauth, base)
        signing = endpoint.option("sign")
        self._scheme = None if signing is None else SignatureScheme.of(signing)

    def headers(self, request: Signable) -> tuple[dict[str, str], tuple[str, ...]]:
        """The headers that say who we are, and the secrets in them, which no message may repeat."""
        secret = {name: Hidden(checked_header(name, value)) for name, value in self._secret_headers()}
        words = (Hidden(word) for value in secret.values() for word in (value, value.partition(" ")[2]) if word)
        known = [each for name in ("token", "password", "client_secret", "signing_key") for each in self._known(name)]
        return secret | self._signature(request), (*words, *known)

    def renew(self) -> bool:
        """After a 401: let go of the token that was used; ``False`` where asking for another cannot help."""
        if self._used is None:
            return False
        key, used = self._token_key(self._client_secret()), self._used
        if key in _TOKENS and _TOKENS[key].text == used:
            _TOKENS.pop(key, None)
        return True

    # ---------------------------------------------------------------- what is known beforehand

    def _secret_headers(self) -> Iterator[tuple[str, str]]:
        token, password, key = (self._known(name) for name in ("token", "password", "api_key"))
        ways = [name for name, found in (("token", token), ("password", password), ("oauth", self._oauth)) if found]
        if len(ways) > 1:
            raise TransportUnsupportedError(f"secrets: expected token or password or oauth, got {' and '.join(ways)}")
        for each in token:
            yield "Authorization", Hidden(f"Bearer {each}")
        for each in password:
            yield "Authorization", _basic(self._base.user or "", each)
        if self._oauth is not None:
            yield "Authorization", Hidden(f"Bearer {self._asked_token()}")
        for each in key:
            yield self._endpoint.option("api_key_header", "X-Api-Key"), each

    def _known(self, name: str) -> tuple[Hidden, ...]:
        """The secret called *name*; empty where there is none."""
        secret = self._endpoint.secret(name)
        return (Hidden(secret.strip()),) if secret and secret.strip() else ()

    # ---------------------------------------------------------------- a signature

    def _signature(self, request: Signable) -> dict[str, str]:
        scheme = self._scheme
        if scheme is None:
            return {}
        secret = next(iter(self._known("signing_key")), None)
        if secret is None:
            raise TransportUnsupportedError("option sign: expected a secret signing_key, there is none")
        at = scheme.written(datetime.now(UTC)) if scheme.is_dated else ""
        dated = {scheme.timestamp_header: at} if scheme.is_dated else {}
        signable = Signable(
            method=request.method, target=request.target, body=request.body, timestamp=at, id=request.id
        )
        return {**dated, scheme.header: sign(scheme, signing_key(secret, scheme.key_form), signable)}

    # ---------------------------------------------------------------- a token that we ask for

    def _client_secret(self) -> Hidden:
        found = self._known("client_secret")
        if not found:
            raise TransportUnsupportedError("option oauth: expected a secret client_secret, there is none")
        return found[0]

    def _token_key(self, secret: str) -> tuple[str, ...]:
        assert self._oauth is not None
        said = json.dumps(dict(self._oauth), sort_keys=True, default=str)
        return said, hashlib.sha256(secret.encode()).hexdigest()

    def _asked_token(self) -> Hidden:
        """The token of this process, asked for anew some time before it ends."""
        secret = self._client_secret()
        key = self._token_key(secret)
        known = _TOKENS.get(key)
        if known is None or known.until < time.monotonic():
            known = self._new_token(secret, known)
            _TOKENS[key] = known
        self._used = known.text
        return known.text

    def _new_token(self, secret: Hidden, known: _Token | None) -> _Token:
        """Ask for a token; while the one before is good still, a server that does not answer is no failure."""
        try:
            return self._given_token(secret)
        except TransportError:
            if known is not None and known.gone > time.monotonic():
                return known
            raise

    def _given_token(self, secret: Hidden) -> _Token:
        assert self._oauth is not None
        assert self._issuer is not None
        began = time.monotonic()
        base, target = self._issuer
        wire = self._wire(self._oauth.get("timeout_s", _TOKEN_TIMEOUT_S))
        headers, body, words = _question(self._oauth, secret)
        call = Call(method="POST", url=base.url(target), place=base.place(target), headers=headers, body=body)
        try:
            with wire.call(call) as answer:
                said = heard(answer, words, document=True)
        finally:
            wire.close()
        text, lasts_s = _token_of(said, call.place)
        return _Token(text=text, until=began + lasts_s - min(_EARLY_S, lasts_s / 4), gone=began + lasts_s)


def _issuer(oauth: Mapping[str, Any] | None, base: Base) -> tuple[Base, str] | None:
    """Whom to ask for tokens; in clear only on this machine."""
    if oauth is None:
        return None
    issuer = taken_apart(oauth["url"], "option oauth, url")
    host = re.sub(r":\d+$", "", issuer.host).strip("[]")
    if issuer.scheme != "https" and not (issuer.scheme == "http" and _HERE.fullmatch(host)):
        raise TransportUnsupportedError("option oauth, url: expected https, since the client's secret goes there")
    return issuer, issuer.target("")


def _question(oauth: Mapping[str, Any], secret: Hidden) -> tuple[dict[str, str], bytes, tuple[str, ...]]:
    """Headers and body of the request for a token (RFC 6749, 4.4), and the secrets in them."""
    form = {"grant_type": "client_credentials"}
    form |= {name: oauth[name] for name in ("scope", "audience", "resource") if name in oauth}
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "fcflow",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    words: tuple[str, ...] = (secret, Hidden(quote_plus(secret)))
    if oauth.get("client_in", "header") == "body":
        form |= {"client_id": oauth["client_id"], "client_secret": secret}
    else:
        login = _basic(quote_plus(oauth["client_id"]), quote_plus(secret))
        headers["Authorization"] = login
        words = (*words, Hidden(login.partition(" ")[2]))
    return headers, urlencode(form).encode(), words


def _token_of(said: Said, place: str) -> tuple[Hidden, float]:
    """The token in an answer, and for how many seconds it is good."""
    if said.status in (400, 401, 403):
        raise TransportLoginError(f"{place}: no token: {_oauth_error(said)}")
    if said.status != 200:
        failure = look_failure(said, place)
        raise TransportRefusedError(f"{place}: no token: {failure}") if said.status < 300 else failure
    try:
        found = said.document()
    except ValueError:
        found = None
    text = found.get("access_token") if isinstance(found, dict) else None
    if not isinstance(text, str) or not re.fullmatch(r"[\x21-\x7e]+", text) or len(text) > _LONGEST_TOKEN:
        raise TransportLoginError(f"{place}: no token: expected an access_token in the answer")
    kind = str(found.get("token_type") or "bearer")
    if kind.lower() not in ("bearer", "bearertoken"):
        raise TransportLoginError(f"{place}: no token: expected one of the type bearer, got {cleaned(kind, 40)}")
    return Hidden(text), _seconds(found.get("expires_in"))


def _oauth_error(said: Said) -> str:
    """What the server says is wrong: its code and its sentence."""
    try:
        found = said.document()
    except ValueError:
        found = None
    words = [found.get(name) for name in ("error", "error_description")] if isinstance(found, dict) else []
    text = ": ".join(
        cleaned(scrubbed(word, said.secrets), 200) for word in words if isinstance(word, str) and word.strip()
    )
    return f"HTTP {said.status}: {text}" if text else said.line()


def _seconds(said: Any) -> float:
    if isinstance(said, str) and said.isdecimal() and said.isascii():
        said = int(said[:9])
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said < 10**9:
        return float(said)
    return _UNSAID_S


def _basic(user: str, password: str) -> Hidden:
    return Hidden("Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii"))
