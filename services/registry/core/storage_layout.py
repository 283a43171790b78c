"""What the registry keeps in its blob store, by the prefix of the key.

Everything that is written to the store stands under one of these prefixes:

- `CONTENTS`: bytes of files under their own digest. Unreachable once no version, snapshot,
  open upload or signature names the digest; only these may be collected.
- `RECORDS`: what the metadata database holds, written before each change is acknowledged,
  so that it can be rebuilt. Never collected.
- `staged/`: uploads that are under way, see `services.common.blobs.staging`; collected once
  they are abandoned.
- `PROBES`: what a starting service writes to try the store, and removes again.
"""

from __future__ import annotations

from typing import Final

CONTENTS: Final = "blobs/sha256/"
"""`blobs/sha256/ab/<64 hex digits>`: made by `services.common.blobs.content`."""

RECORDS: Final = "records/"
"""`records/<thousands>/<sequence number>.json`: one per transaction, in the order of commits."""

PROBES: Final = "probes/"
"""`probes/<uuid>`: made by `services.common.blobs.probe`."""

_RECORDS_PER_FOLDER: Final = 1000


def record_key(sequence: int) -> str:
    """Where the record of the transaction with this number, from 1 up, is stored."""
    return f"{RECORDS}{sequence // _RECORDS_PER_FOLDER:09d}/{sequence:012d}.json"


def sequence_of(key: str) -> int:
    """The number in a key that `record_key` made.

    Raises:
        ValueError: It made no such key.
    """
    number = key.rpartition("/")[2].removesuffix(".json")
    if not number.isdigit() or record_key(int(number)) != key:
        raise ValueError(f"{key!r} is no key of a record")
    return int(number)
