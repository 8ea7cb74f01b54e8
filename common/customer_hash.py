"""What stands for a customer where nobody is to be recognised: a keyed hash of the identifier.

The same customer has the same hash, so that rows about them can be joined by who has the key;
without it even a short number cannot be found by trying.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

HASH_BYTES = 16


def hashed(key: bytes, customer_id: str | None) -> str | None:
    """The BLAKE2b hash of the identifier with this key: 32 hexadecimal digits."""
    if customer_id is None:
        return None
    return hashlib.blake2b(customer_id.encode(), key=key, digest_size=HASH_BYTES).hexdigest()


def read_key(file: Path) -> bytes:
    """Read the key of the hashes; create it if it is missing, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as opened:
            opened.write(secrets.token_bytes(32))
        os.link(temporary, file)  # the first worker's counts
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
    return file.read_bytes()
