from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import ServiceError
from services.registry.core.approvals import Decision
from services.registry.core.bundles import MANIFEST, BundleFile
from services.registry.core.canonical import digest_of_bytes
from services.registry.core.errors import (
    IllegalTransition,
    NotTheCommittedFile,
    VersionDamaged,
    VersionNotReady,
    VersionQuarantined,
)
from services.registry.core.integrity import (
    Examination,
    FaultKind,
    FileFault,
    Stored,
    fault_of,
)
from services.registry.core.use_cases import approvals, promotion, versions
from services.registry.core.use_cases.aliases import MoveOrder, move_aliases
from services.registry.core.use_cases.integrity import (
    file_to_repair,
    record_examination,
    restore_version,
)
from services.registry.core.versions import Ancestry, ModelVersion, VersionState
from tests.support.registry_memory import MemoryRegistryTx
from tests.support.registry_values import MODEL, create_model, evaluated, ready_version

WHOLE = Examination(files=3, size_bytes=100, faults=())
LOST = FileFault("model.onnx", FaultKind.MISSING, digest_of_bytes(b"onnx"), 4)
DAMAGED = Examination(files=3, size_bytes=100, faults=(LOST,))
FILE = BundleFile("model.onnx", 4, digest_of_bytes(b"onnx"))
NO_ANCESTRY = Ancestry((), "", "")


@pytest.fixture
def tx() -> MemoryRegistryTx:
    return MemoryRegistryTx()


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (None, FaultKind.MISSING),
        (Stored(digest_of_bytes(b"onn"), 3, False), FaultKind.TRUNCATED),
        (Stored(digest_of_bytes(b"Onnx"), 4, False), FaultKind.DAMAGED),
        (Stored(digest_of_bytes(b"onnx."), 5, False), FaultKind.DAMAGED),
        (Stored(digest_of_bytes(b"x"), 1, True), FaultKind.SWAPPED),
    ],
)
def test_a_fault_says_what_happened_to_the_file(stored: Stored | None, kind: FaultKind) -> None:
    fault = fault_of(FILE, stored)
    assert fault is not None
    assert (fault.kind, fault.path, fault.expected_digest) == (kind, FILE.path, FILE.digest)


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_a_file_is_faultless_exactly_when_its_bytes_are_those_committed(
    committed: bytes, stored: bytes
) -> None:
    file = BundleFile("a.md", len(committed), digest_of_bytes(committed))
    fault = fault_of(file, Stored(digest_of_bytes(stored), len(stored), False))
    assert (fault is None) == (committed == stored)


def test_a_version_found_damaged_is_quarantined_once_and_told(tx: MemoryRegistryTx) -> None:
    name = ready_version(tx).meta.name
    quarantined = record_examination(tx, name, DAMAGED)
    assert quarantined.state is VersionState.QUARANTINED
    assert quarantined.quarantine is not None
    assert quarantined.quarantine.faults == (LOST,)
    assert record_examination(tx, name, DAMAGED) == quarantined
    assert tx.kinds().count("version.quarantined") == 1
    assert tx.kinds().count("version.verified") == 2


def test_a_version_found_whole_is_noted_with_the_time_and_not_changed(
    tx: MemoryRegistryTx,
) -> None:
    version = ready_version(tx)
    tx.pass_time(days=1)
    assert record_examination(tx, version.meta.name, WHOLE) == version
    assert tx.verified_at([version.meta.name]) == {version.meta.name: tx.now}


def uses(tx: MemoryRegistryTx, version: ModelVersion) -> list[str]:
    """Names of the uses that are refused to a version, each with its own error."""
    name = version.meta.name
    evaluation = evaluated(tx, version).meta.name
    gate = promotion.evaluate_gate(tx, evaluation, "").meta.name
    asked = approvals.request_approval(
        tx, name, gate_result=gate, requester="ann", expire_time=None
    ).meta.name
    record_examination(tx, name, DAMAGED)
    refused = []
    for use, call in {
        "alias": lambda: move_aliases(
            tx, [MoveOrder(f"{MODEL}/aliases/latest", name, "")], actor="ann", reason=""
        ),
        "download": lambda: tx.versions.get(name).file("model.onnx"),  # type: ignore[union-attr]
        "evaluate": lambda: evaluated(tx, version),
        "gate": lambda: promotion.evaluate_gate(tx, evaluation, ""),
        "ask": lambda: approvals.request_approval(
            tx, name, gate_result=gate, requester="ann", expire_time=None
        ),
        "approve": lambda: approvals.decide_approval(
            tx, asked, Decision.APPROVE, approver="bob", comment="", etag=""
        ),
        "deprecate": lambda: versions.deprecate_version(tx, name, etag=""),
    }.items():
        try:
            call()
        except VersionQuarantined as error:
            assert error.metadata == {"name": name, "path": "model.onnx"}
            refused.append(use)
    approvals.decide_approval(tx, asked, Decision.REJECT, approver="bob", comment="", etag="")
    return refused


def test_a_quarantined_version_is_of_no_use_until_it_is_restored(tx: MemoryRegistryTx) -> None:
    version = ready_version(tx)
    assert uses(tx, version) == [
        *("alias", "download", "evaluate", "gate", "ask", "approve", "deprecate")
    ]
    with pytest.raises(VersionDamaged) as refused:
        restore_version(tx, version.meta.name, DAMAGED, etag="")
    assert [fault.field for fault in refused.value.violations] == ["model.onnx"]
    restored = restore_version(tx, version.meta.name, WHOLE, etag="")
    assert (restored.state, restored.quarantine) == (VersionState.READY, None)
    assert tx.kinds()[-1] == "version.restored"
    order = MoveOrder(f"{MODEL}/aliases/latest", version.meta.name, "")
    move_aliases(tx, [order], actor="ann", reason="")


def test_a_deprecated_version_comes_back_deprecated(tx: MemoryRegistryTx) -> None:
    name = ready_version(tx).meta.name
    versions.deprecate_version(tx, name, etag="")
    record_examination(tx, name, DAMAGED)
    assert restore_version(tx, name, WHOLE, etag="").state is VersionState.DEPRECATED


def test_only_a_quarantined_version_is_repaired_and_restored(tx: MemoryRegistryTx) -> None:
    name = ready_version(tx).meta.name
    with pytest.raises(IllegalTransition):
        file_to_repair(tx, name, "model.onnx", FILE.digest)
    with pytest.raises(IllegalTransition):
        restore_version(tx, name, WHOLE, etag="")


def test_a_repair_takes_the_committed_bytes_only(tx: MemoryRegistryTx) -> None:
    version = ready_version(tx)
    record_examination(tx, version.meta.name, DAMAGED)
    assert file_to_repair(tx, version.meta.name, "model.onnx", FILE.digest) == FILE
    manifest = file_to_repair(tx, version.meta.name, MANIFEST, version.digest or "")
    assert manifest.digest == version.digest
    with pytest.raises(NotTheCommittedFile):
        file_to_repair(tx, version.meta.name, "model.onnx", digest_of_bytes(b"other"))


def test_an_open_upload_has_nothing_to_verify(tx: MemoryRegistryTx) -> None:
    create_model(tx)
    name = versions.begin_upload(tx, MODEL, NO_ANCESTRY, labels={}).meta.name
    with pytest.raises(VersionNotReady):
        record_examination(tx, name, WHOLE)


@given(st.lists(st.sampled_from(["damage", "heal", "deprecate", "restore"]), max_size=8))
def test_a_version_is_quarantined_exactly_from_a_fault_to_its_restoration(
    steps: list[str],
) -> None:
    tx = MemoryRegistryTx()
    name = ready_version(tx).meta.name
    is_damaged, is_quarantined, is_deprecated = False, False, False
    for step in steps:
        found = DAMAGED if is_damaged else WHOLE
        try:
            match step:
                case "damage":
                    is_damaged = True
                    record_examination(tx, name, DAMAGED)
                    is_quarantined = True
                case "heal":
                    is_damaged = False
                    record_examination(tx, name, WHOLE)
                case "deprecate":
                    versions.deprecate_version(tx, name, etag="")
                    is_deprecated = True
                case "restore":
                    restore_version(tx, name, found, etag="")
                    is_quarantined = False
        except ServiceError:
            assert step in ("deprecate", "restore")
        version = tx.versions.get(name)
        assert version is not None
        expected = VersionState.DEPRECATED if is_deprecated else VersionState.READY
        assert version.state is (VersionState.QUARANTINED if is_quarantined else expected)
        assert (version.quarantine is not None) == is_quarantined
