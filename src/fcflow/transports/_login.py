"""How we log in to a mail server, and what of it must never show."""

from __future__ import annotations

import base64

from attrs import field, frozen

from fcflow.transports.base import Endpoint

__all__ = ["Login", "coded"]


@frozen
class Login:
    """
    A user with a password, or with a token of OAuth 2.

    Example:
        >>> Login("leeds", "s3cret", None)
        Login(user='leeds')
    """

    user: str
    password: str | None = field(repr=False)
    token: str | None = field(repr=False)

    @classmethod
    def of(cls, endpoint: Endpoint, user: str | None) -> Login:
        """What the secrets of a connection say."""
        return cls(user or "", endpoint.secret("password"), endpoint.secret("token"))

    @property
    def plain(self) -> str:
        """For the mechanism PLAIN."""
        return f"\0{self.user}\0{self.password}"

    @property
    def xoauth2(self) -> str:
        """For the mechanism XOAUTH2."""
        return f"user={self.user}\x01auth=Bearer {self.token}\x01\x01"

    @property
    def texts(self) -> tuple[str, ...]:
        """What a server's answer must not repeat to people: the secrets, and how they are written."""
        found = (self.password, coded(self.plain), coded(self.password)) if self.password else ()
        return tuple(text for text in (*found, *((self.token, coded(self.xoauth2)) if self.token else ())) if text)


def coded(text: str) -> str:
    """In base64, as mail servers want it."""
    return base64.b64encode(text.encode()).decode("ascii")
