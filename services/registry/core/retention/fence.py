"""Keeps uploads and deletions of one stored content apart (docs/decisions/0010).

Contents are stored once and shared, so an upload may rely on bytes that a collection is
about to remove. Both declare themselves in the database first, where writers are serial:
an uploader claims a digest before it touches the store and gives the claim up in the
transaction that records the file; a collector condemns a digest only while nothing refers
to it and nobody claims it, and nobody may claim it until it is absolved. A claim's
existence, not its expiry, is what counts when the file is recorded; the expiry only says
when a collector may break the claim of an uploader that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from services.registry.core.errors import ContentCondemned


@dataclass(frozen=True, slots=True)
class Claim:
    """An uploader relies on a content, stored or about to be.

    Attributes:
        uid: Of this claim alone.
        holder: The process; the same again after a restart.
        expire_time: When a collector may break it.
    """

    uid: str
    digest: str
    holder: str
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Sentence:
    """A content that is being removed.

    Attributes:
        uncertain_until: By then every request to remove it has arrived or never will.
        attempts: How many times its removal was begun.
    """

    digest: str
    plan: str
    uncertain_until: datetime
    attempts: int = 1


class BlobLedger(Protocol):
    """Who relies on which stored content, in one transaction."""

    def referrers(self, digest: str) -> Sequence[str]:
        """The versions and snapshots with a file of this content."""
        ...

    def relied_on(self, digests: Sequence[str], now: datetime) -> frozenset[str]:
        """Those of `digests` that something refers to, or that `claimed` gives."""
        ...

    def claimed(self, digests: Sequence[str], now: datetime) -> frozenset[str]:
        """Those of `digests` with a claim that has not run out."""
        ...

    def claims_on(self, digest: str) -> Sequence[Claim]:
        """The claims on one content."""
        ...

    def add_claim(self, claim: Claim) -> None:
        """Note a claim."""
        ...

    def drop_claim(self, uid: str) -> bool:
        """Forget a claim; whether it was there."""
        ...

    def drop_claims_of(self, holder: str) -> None:
        """Forget the claims of one process."""
        ...

    def prolong_claims(self, uids: Collection[str], expire_time: datetime) -> None:
        """Let claims last until then."""
        ...

    def sentence(self, digest: str) -> Sentence | None:
        """The sentence on a content, if it is condemned."""
        ...

    def put_sentence(self, sentence: Sentence) -> None:
        """Note a sentence, in place of one on the same content."""
        ...

    def drop_sentence(self, digest: str) -> None:
        """Absolve a content."""
        ...


def claim(ledger: BlobLedger, wanted: Claim, now: datetime) -> Claim:
    """The claim, noted; from now on nobody removes the content.

    Raises:
        ContentCondemned: It is being removed; soon it is not.
    """
    sentence = ledger.sentence(wanted.digest)
    if sentence is not None:
        wait_s = (sentence.uncertain_until - now).total_seconds()
        raise ContentCondemned(wanted.digest, retry_after_s=max(0.2, wait_s))
    ledger.add_claim(wanted)
    return wanted


def redeem(ledger: BlobLedger, claimed: Claim) -> None:
    """Give the claim up in the transaction that records what it was for.

    Raises:
        ContentCondemned: It was broken: the bytes may be gone, so nothing may be recorded.
    """
    if not ledger.drop_claim(claimed.uid):
        raise ContentCondemned(claimed.digest, retry_after_s=0.2)


def condemn(
    ledger: BlobLedger, digest: str, plan: str, now: datetime, uncertain_until: datetime
) -> str | None:
    """Who relies on the content; None once nobody does and nobody can begin to.

    A content that is condemned already, as after a crash, is condemned again: its removal is
    tried once more, and nobody can have come to rely on it.
    """
    earlier = ledger.sentence(digest)
    if earlier is not None:
        ledger.put_sentence(
            replace(
                earlier,
                plan=plan,
                uncertain_until=max(uncertain_until, earlier.uncertain_until),
                attempts=earlier.attempts + 1,
            )
        )
        return None
    referrers = ledger.referrers(digest)
    if referrers:
        return referrers[0]
    claims = ledger.claims_on(digest)
    for held in claims:
        if held.expire_time > now:
            return f"an upload through {held.holder}"
    for broken in claims:
        ledger.drop_claim(broken.uid)
    ledger.put_sentence(Sentence(digest, plan, uncertain_until))
    return None


def absolve(ledger: BlobLedger, digest: str, now: datetime) -> bool:
    """Let uploads rely on the content again, once its removal was answered; False if too early.

    After a single attempt, the answer proves that no request is under way. After several, an
    earlier attempt's request, sent by a process that is gone or never answered, may be.
    """
    sentence = ledger.sentence(digest)
    if sentence is None:
        return True
    if sentence.attempts > 1 and now < sentence.uncertain_until:
        return False
    ledger.drop_sentence(digest)
    return True
