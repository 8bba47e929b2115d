"""Who calls: signed tokens that travel with calls, checked where they arrive.

Light: what needs PyJWT and cryptography (the extra ``identity``) is imported where a token is made
or checked for the first time.
"""

from __future__ import annotations

from ion.process.identity.acting import acting
from ion.process.identity.identity import Identity, current_identity

__all__ = ["Identity", "acting", "current_identity"]
