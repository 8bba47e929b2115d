"""Who calls: signed tokens that travel with calls, checked where they arrive.

Light: what needs PyJWT and cryptography (the extra ``identity``) is imported where a token is made
or checked for the first time.

A token (:mod:`.tokens`) says who somebody is (:mod:`.identity`). :mod:`.issuer` makes them with one
of :mod:`.keys`; :mod:`.credentials` has that of a party's own calls, :mod:`.acting` another for a
while. Where they arrive, :mod:`.authenticator` asks :mod:`.verifier`, which believes the keys of
:mod:`.trust` and knows :mod:`.revocations`; :mod:`.revocation_broadcast` and
:mod:`.revocation_catch_up` bring these to all containers. That all messages are signed, whoever
calls, is :mod:`.signed`; with a key for each party, :mod:`.key_pairs`.
"""

from __future__ import annotations

from ion.process.identity.acting import acting
from ion.process.identity.identity import Identity, current_identity

__all__ = ["Identity", "acting", "current_identity"]
