"""Who calls: signed tokens that travel with calls, checked where they arrive.

Light: what needs PyJWT and cryptography (the extra ``identity``) is imported where a token is made
or checked for the first time.

A token (``tokens.py``) says who somebody is (``identity.py``). ``issuer.py`` makes them with one of
``keys.py``; ``own.py`` has that of a party's own calls, ``acting.py`` another for a while. Where
they arrive, ``desk.py`` asks ``verifier.py``, which believes the keys of ``trust.py`` and knows
``revocations.py``; ``telling.py`` and ``catching_up.py`` bring these to all containers. That all
messages are signed, whoever calls, is ``signed.py``; with a key for each party, ``pairs.py``.
"""

from __future__ import annotations

from ion.process.identity.acting import acting
from ion.process.identity.identity import Identity, current_identity

__all__ = ["Identity", "acting", "current_identity"]
