"""TLS to the broker: what it is made with, and what went wrong, in words that say what to do.

What a URL says (``amqps://...?cafile=FILE&certfile=FILE&keyfile=FILE&server_name=NAME``) goes
before the settings ``broker.tls``. RabbitMQ's own names of these parameters are known, too.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from ion.base.errors import ConfigurationError
from ion.base.files import read_file
from ion.base.settings import BrokerTlsSettings

log = logging.getLogger(__name__)

SCHEME = "amqps"
MAX_BYTES = 4 << 20  # all authorities that a system trusts are a tenth of it
NO_TLS = BrokerTlsSettings()  # nothing but what the URL says
_CA, _CERT, _KEY, _NAME = (
    ("cafile", "cacertfile"),
    ("certfile",),
    ("keyfile",),
    ("server_name", "server_name_indication"),
)
_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR of OpenSSL
_UNKNOWN_CA = {2, 18, 19, 20, 21, 24}
_OTHER_HOST = {62, 64}


@dataclass(frozen=True, slots=True)
class Tls:
    """What one connection is made with.

    :ivar name: that the broker's certificate has to be for; "": the host of the URL.
    :ivar verify: whether the certificate is looked at.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    name: str = ""
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Return a context; reads the files, which blocks for a moment.

        :raises ConfigurationError: a file is not there, or holds something else.
        """
        context = _trusting(self.ca_file)
        if not self.verify:
            log.warning("the broker's certificate is not verified: anybody may be the broker")
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert_file:
            _identify(context, self.cert_file, self.key_file)
        elif self.key_file:
            message = "broker.tls.key_file is given without a certificate: give cert_file, too"
            raise ConfigurationError(message)
        return context


def tls_of(url: URL, settings: BrokerTlsSettings) -> Tls:
    """Return what a connection to a URL is made with.

    :raises ConfigurationError: the URL says of ``verify`` what it cannot be.
    """
    return Tls(
        _given(url, _CA) or settings.ca_file or "",
        _given(url, _CERT) or settings.cert_file or "",
        _given(url, _KEY) or settings.key_file or "",
        _given(url, _NAME) or settings.server_name or "",
        _verify(url, settings.verify),
    )


def _given(url: URL, names: tuple[str, ...]) -> str:
    return next((url.query[name] for name in names if url.query.get(name)), "")


def _verify(url: URL, default: bool) -> bool:
    said = url.query.get("verify")
    if said is None:
        return default and url.query.get("no_verify_ssl", "0") == "0"
    if said in ("verify_peer", "verify_none"):
        return said == "verify_peer"
    message = "the broker URL's parameter verify is verify_peer or verify_none"
    raise ConfigurationError(message)


def _trusting(ca_file: str) -> ssl.SSLContext:
    pem = None
    if ca_file:
        # What stands between certificates, for people, need not be ASCII. Of "", though, the
        # library makes all that the system trusts: a file with nothing in it has no authorities.
        pem = _content(ca_file, "ca_file").decode("ascii", "ignore") or "\n"
    try:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        message = f"broker.tls.ca_file {ca_file!r} cannot be read as certificates in PEM: {error}"
        raise ConfigurationError(message) from error


def _identify(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    """Load certificate and key of this side; never asks for a password."""
    given = {"cert_file": cert_file, "key_file": key_file}
    for key, name in given.items():
        if name:
            _content(name, key)  # OpenSSL reads the file itself, and would read on for ever
    cert, own = (Path(name).expanduser() if name else None for name in given.values())
    assert cert is not None
    asked: list[bool] = []

    def password() -> bytes:
        asked.append(True)
        return b""

    try:
        context.load_cert_chain(cert, own, password)
    except (ssl.SSLError, OSError) as error:
        why = "the key has a password, which nobody can give here" if asked else str(error)
        files = " and ".join(repr(name) for name in (cert_file, key_file) if name)
        message = f"broker.tls: certificate and key in {files} cannot be used: {why}"
        raise ConfigurationError(message) from error


def _content(given: str, key: str) -> bytes:
    """Return what is in a file that a setting or URL names.

    :raises ConfigurationError: it is no regular file, cannot be read, or is larger than any
        certificates are.
    """
    try:
        content = read_file(Path(given).expanduser(), MAX_BYTES + 1)
    except FileNotFoundError:
        message = f"broker.tls.{key}: there is no file {given!r}"
        raise ConfigurationError(message) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"broker.tls.{key}: {given!r} cannot be read: {why}"
        raise ConfigurationError(message) from error
    if len(content) > MAX_BYTES:
        message = f"broker.tls.{key}: {given!r} is over {MAX_BYTES} bytes: is it the right file?"
        raise ConfigurationError(message)
    return content


class EndedAtOnce(ssl.SSLError):
    """The handshake is done, and the broker closes without a word: its alert may be lost."""

    def __str__(self) -> str:
        return (
            "the broker ended the connection before it said anything: it asks for a certificate of "
            "this side and got none (set broker.tls.cert_file), or does not know who vouches for "
            "this side's certificate"
        )


def explained(error: ssl.SSLError) -> str:
    """Return what an error of TLS means, and what to do."""
    said = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _unverified(error)
    reason = str(getattr(error, "reason", None) or "").upper()
    for word, meaning in _ALERTS:
        if word in reason or word in said.upper():
            return meaning
    return said


def _unverified(error: ssl.SSLCertVerificationError) -> str:
    code, said = error.verify_code, error.verify_message
    if code == _EXPIRED:
        return f"the broker's certificate has expired ({said}): it needs a new one"
    if code == _NOT_YET:
        return f"the broker's certificate is not valid yet ({said}): are the clocks right?"
    if code in _OTHER_HOST:
        return (
            f"the broker's certificate is for another host ({said}): name the broker as it does, "
            "or set broker.tls.server_name"
        )
    if code in _UNKNOWN_CA:
        return (
            f"nobody that is trusted here vouches for the broker's certificate ({said}): give the "
            "certificate of its authority, broker.tls.ca_file or ?cafile=FILE"
        )
    return f"the broker's certificate is refused ({said})"


_NO_CLIENT = (
    "the broker asks for a certificate of this side, and got none: set broker.tls.cert_file and "
    "broker.tls.key_file"
)
# Alerts of the broker are about the certificate of this side; the first word that fits counts.
_ALERTS = (
    ("WRONG_VERSION_NUMBER", "no TLS is spoken there (WRONG_VERSION_NUMBER): is it the TLS port?"),
    ("CERTIFICATE_REQUIRED", _NO_CLIENT),
    ("ALERT_UNKNOWN_CA", "the broker does not know who vouches for this side's certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", "this side's certificate has expired: it needs a new one"),
    ("ALERT_CERTIFICATE_REVOKED", "this side's certificate was revoked: it needs a new one"),
    ("ALERT_BAD_CERTIFICATE", "the broker refuses this side's certificate"),
    ("ALERT_CERTIFICATE_UNKNOWN", "the broker refuses this side's certificate"),
    ("ALERT_HANDSHAKE_FAILURE", f"the broker ends the handshake: {_NO_CLIENT}"),
    ("UNSUPPORTED_PROTOCOL", "the broker speaks older versions of TLS only: it needs TLS 1.2"),
    ("ALERT_PROTOCOL_VERSION", "the broker does not speak TLS 1.2 or later"),
)
