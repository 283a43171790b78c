"""Uploads and collections of shared contents, in every order, with crashes and late requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from services.registry.core.bundles import BundleFile
from services.registry.core.errors import ContentCondemned
from services.registry.core.retention import fence
from services.registry.core.retention.fence import Claim
from services.registry.core.use_cases import versions
from services.registry.core.versions import VersionState
from tests.support.registry_memory import MemoryRegistryTx
from tests.support.registry_values import MODEL, NO_ANCESTRY, create_model

T = TypeVar("T")

DIGEST = f"sha256:{'a' * 64}"
TTL = timedelta(seconds=60)
REMOVAL = timedelta(seconds=10)
CLOCK_SKEW = timedelta(seconds=5)
PLAN = "projects/default/collectionPlans/p"
SETTINGS = settings(
    max_examples=80,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@dataclass
class Upload:
    """One call that uploads, as far as it has come."""

    claim: Claim
    version: str
    is_stored: bool = False


@dataclass
class Removal:
    """The collector, once it has condemned the content."""

    begun: datetime
    is_answered: bool = False


@dataclass
class Store:
    """Whether it has the content, and requests that are under way to it."""

    holds: bool = False
    late_puts: int = 0
    late_deletes: list[datetime] = field(default_factory=list)


def _pick(items: list[T], at: int) -> T:
    return items[at % len(items)]


class Uploads(RuleBasedStateMachine):
    """The protocol of `fence` for one content, each rule one step of one process."""

    def __init__(self) -> None:
        super().__init__()
        self.tx = MemoryRegistryTx()
        self.store = Store()
        create_model(self.tx)
        self.open: list[str] = []
        self.uploads: list[Upload] = []
        self.removal: Removal | None = None

    @precondition(lambda self: len(self.uploads) < 3)
    @rule()
    def claim(self):
        wanted = Claim(self.tx.new_uid(), DIGEST, "registry", self.tx.now + TTL)
        try:
            claim = fence.claim(self.tx.blobs, wanted, self.tx.now)
        except ContentCondemned:
            return
        version = versions.begin_upload(self.tx, MODEL, NO_ANCESTRY, labels={}).meta.name
        self.open.append(version)
        self.uploads.append(Upload(claim, version))

    @precondition(lambda self: self.uploads)
    @rule(at=st.integers(0, 2))
    def put(self, at=0):
        """Sent and answered: it is stored, by this call or an earlier one."""
        _pick(self.uploads, at).is_stored = True
        self.store.holds = True

    @precondition(lambda self: self.uploads)
    @rule(at=st.integers(0, 2))
    def put_and_die(self, at=0):
        """Sent; the process dies, and the request arrives whenever it does."""
        self.uploads.remove(_pick(self.uploads, at))
        self.store.late_puts += 1

    @precondition(lambda self: any(upload.is_stored for upload in self.uploads))
    @rule(at=st.integers(0, 2))
    def record(self, at=0):
        """Acknowledged to the caller, however long the process had been held up."""
        stored = [upload for upload in self.uploads if upload.is_stored]
        upload = _pick(stored, at)
        self.uploads.remove(upload)
        if upload.version not in self.open:
            return
        try:
            fence.redeem(self.tx.blobs, upload.claim)
        except ContentCondemned:
            return
        file = BundleFile("model.onnx", 1, DIGEST)
        versions.record_artifact(self.tx, upload.version, file)

    @precondition(lambda self: self.open)
    @rule(at=st.integers(0, 2))
    def abort(self, at=0):
        version = _pick(self.open, at)
        self.open.remove(version)
        versions.abort_upload(self.tx, version)

    @precondition(lambda self: self.removal is None)
    @rule()
    def condemn(self):
        until = self.tx.now + REMOVAL + CLOCK_SKEW
        if fence.condemn(self.tx.blobs, DIGEST, PLAN, self.tx.now, until) is None:
            self.removal = Removal(self.tx.now)

    @precondition(lambda self: self.removal and not self.removal.is_answered)
    @rule()
    def remove(self):
        """Sent, and answered in time."""
        if self.tx.now <= self.removal.begun + REMOVAL:
            self.store.holds = False
            self.removal.is_answered = True

    @precondition(lambda self: self.removal and not self.removal.is_answered)
    @rule()
    def remove_and_die(self):
        """Sent; the process dies or gets no answer, and the request arrives whenever it does."""
        self.store.late_deletes.append(self.removal.begun + REMOVAL)
        self.removal = None

    @precondition(lambda self: self.removal and self.removal.is_answered)
    @rule()
    def absolve(self):
        if fence.absolve(self.tx.blobs, DIGEST, self.tx.now):
            self.removal = None

    @precondition(lambda self: self.removal)
    @rule()
    def crash(self):
        self.removal = None

    @precondition(lambda self: self.store.late_puts)
    @rule()
    def late_put_arrives(self):
        self.store.late_puts -= 1
        self.store.holds = True

    @precondition(lambda self: self.store.late_deletes)
    @rule(at=st.integers(0, 2), skew_s=st.sampled_from([-5, 0, 5]))
    def late_delete_arrives(self, at=0, skew_s=0):
        expiry = _pick(self.store.late_deletes, at)
        self.store.late_deletes.remove(expiry)
        if self.tx.now + timedelta(seconds=skew_s) <= expiry:
            self.store.holds = False

    @rule(seconds=st.sampled_from([1.0, 16.0, 61.0]))
    def time_passes(self, seconds):
        self.tx.pass_time(seconds=seconds)

    @invariant()
    def whatever_is_recorded_is_stored(self):
        if self.tx.blobs.referrers(DIGEST):
            assert self.store.holds

    def teardown(self):
        """After any history, a collector that lives long enough leaves no orphan."""
        self.tx.pass_time(seconds=61)
        for version in self.open:
            versions.abort_upload(self.tx, version)
        until = self.tx.now + REMOVAL + CLOCK_SKEW
        assert fence.condemn(self.tx.blobs, DIGEST, PLAN, self.tx.now, until) is None
        self.tx.pass_time(seconds=15)
        assert fence.absolve(self.tx.blobs, DIGEST, self.tx.now)
        assert fence.claim(
            self.tx.blobs, Claim("last", DIGEST, "registry", self.tx.now + TTL), self.tx.now
        )
        everything = self.tx.versions.everything()
        assert all(version.state is VersionState.REJECTED for version in everything)


TestUploads = Uploads.TestCase
TestUploads.settings = SETTINGS


def _never_claimed(tx: MemoryRegistryTx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tx.blobs), "claims_on", lambda *_: ())


def _claims_never_break(tx: MemoryRegistryTx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "redeem", lambda *_: None)


def _never_condemned(tx: MemoryRegistryTx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(tx.blobs), "put_sentence", lambda *_: None)


def _never_uncertain(tx: MemoryRegistryTx, monkeypatch: pytest.MonkeyPatch) -> None:
    def absolve(ledger: object, digest: str, now: datetime) -> bool:
        tx.blobs.__class__.drop_sentence(ledger, digest)
        return True

    monkeypatch.setattr(fence, "absolve", absolve)


def _no_referrers(tx: MemoryRegistryTx, monkeypatch: pytest.MonkeyPatch) -> None:
    condemn = fence.condemn

    def blind(ledger, digest, plan, now, until):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(ledger), "referrers", lambda *_: ())
            return condemn(ledger, digest, plan, now, until)

    monkeypatch.setattr(fence, "condemn", blind)


def _machine(*steps: str | float) -> None:
    """Takes the steps in their order; a number lets so many seconds pass."""
    machine = Uploads()
    for step in steps:
        if isinstance(step, float):
            machine.time_passes(seconds=step)
        else:
            getattr(machine, step)()
        machine.whatever_is_recorded_is_stored()


CASES = {
    "claims are not looked at": (_never_claimed, ("claim", "put", "condemn", "remove", "record")),
    "a broken claim is good": (
        _claims_never_break,
        ("claim", "put", 61.0, "condemn", "remove", "record"),
    ),
    "a condemned content may be claimed": (
        _never_condemned,
        ("condemn", "claim", "put", "remove", "record"),
    ),
    "a late request is forgotten": (
        _never_uncertain,
        (
            *("condemn", "remove_and_die", "condemn", "remove", "absolve"),
            *("claim", "put", "record", "late_delete_arrives"),
        ),
    ),
    "references are not looked at": (
        _no_referrers,
        ("claim", "put", "record", "condemn", "remove"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_model_sees_each_part_of_the_protocol_left_out(case, monkeypatch):
    fault, steps = CASES[case]
    fault(MemoryRegistryTx(), monkeypatch)
    with pytest.raises(AssertionError):
        _machine(*steps)
