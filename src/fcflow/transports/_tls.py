"""TLS as every way in to a server uses it: verified, 1.2 or newer, with errors that say what to do."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fcflow.errors import TransportTimeoutError, TransportUnavailableError, TransportUntrustedError
from fcflow.transports._faults import Failure, of_os_error
from fcflow.transports.base import Endpoint

__all__ = ["TLS_OPTIONS", "of_network", "of_tls", "one_line", "tls_context"]

TLS_OPTIONS: Mapping[str, Any] = {
    "ca_file": {
        "type": "string",
        "description": "PEM file of the certificate authorities to trust instead of the system's; relative to the "
        "configuration.",
    },
    "ca": {"type": "string", "description": "The same as PEM text."},
    "tls_version": {
        "enum": ["1.2", "1.3"],
        "description": "Exactly this version of TLS; otherwise the best of 1.2 and newer.",
    },
    "server_name": {
        "type": "string",
        "description": "Name that the certificate must be for, where it is not the host of the URL.",
    },
}


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """What the options of a connection say of certificates and versions."""
    ca_file = endpoint.option("ca_file")
    file = None if ca_file is None else str(endpoint.base / Path(ca_file))
    context = ssl.create_default_context(cafile=file, cadata=endpoint.option("ca"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    exactly = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}.get(endpoint.option("tls_version", ""))
    if exactly is not None:
        context.minimum_version = context.maximum_version = exactly
    return context


def of_tls(error: ssl.SSLError) -> Failure:
    """What an error of TLS means."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TransportUnavailableError, "the server closed the connection in the midst of TLS"
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"certificate not accepted: {error.verify_message}; a private CA goes into the option ca_file or ca"
        return TransportUntrustedError, message
    return TransportUntrustedError, f"TLS was not established: {error.reason or error}"


def of_network(error: OSError) -> Failure:
    """What an error of the network means: no answer in time, or none at all."""
    kind, text = of_os_error(error)
    return (kind if kind is TransportTimeoutError else TransportUnavailableError), text


def one_line(text: str) -> str:
    r"""
    What a server said, fit for a message.

    Example:
        >>> one_line("550-no\r\n550 such user\x00")
        '550-no 550 such user'
    """
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()[:300]
