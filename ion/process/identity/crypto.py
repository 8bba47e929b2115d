"""The only place that imports PyJWT and cryptography, which are an optional part."""

from __future__ import annotations

from ion.base.errors import ConfigurationError

try:
    import jwt
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
except ImportError as error:
    message = "tokens need PyJWT and cryptography: pip install 'ioncore[identity]'"
    raise ConfigurationError(message) from error

__all__ = [
    "Ed25519PrivateKey",
    "Ed25519PublicKey",
    "InvalidSignature",
    "UnsupportedAlgorithm",
    "jwt",
    "serialization",
]
