"""Versions whose bytes were read again: found whole, put into quarantine, restored."""

from __future__ import annotations

from services.common.errors import FieldViolation
from services.registry.core.bundles import BundleFile
from services.registry.core.errors import (
    IllegalTransition,
    NotTheCommittedFile,
    VersionDamaged,
)
from services.registry.core.integrity import Examination
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.lookup import the_version
from services.registry.core.versions import ModelVersion, VersionState


def record_examination(tx: RegistryTx, name: str, found: Examination) -> ModelVersion:
    """The version after what was found of its bytes: QUARANTINED if there is a fault.

    Raises:
        VersionNotFound: There is no such version.
        VersionNotReady: Nothing is committed.
    """
    version = the_version(tx, name)
    version.committed_files()
    _note(tx, name, found)
    known = () if version.quarantine is None else version.quarantine.faults
    if not found.faults or known == found.faults:
        return version
    quarantined = version.quarantined(found.faults, tx.now)
    tx.versions.replace(quarantined)
    tx.tell(
        "version.quarantined",
        name,
        {"digest": version.digest, "faults": [fault.as_json() for fault in found.faults]},
    )
    return quarantined


def restore_version(tx: RegistryTx, name: str, found: Examination, *, etag: str) -> ModelVersion:
    """The version where it stood before its quarantine.

    Raises:
        VersionNotFound: There is no such version.
        EtagMismatch: It has changed since the caller read it.
        IllegalTransition: It isn't QUARANTINED.
        VersionDamaged: Its bytes aren't whole.
    """
    version = the_version(tx, name)
    version.meta.check_etag(etag)
    restored = version.restored(tx.now)
    if found.faults:
        raise VersionDamaged(
            name, [FieldViolation(fault.path, str(fault)) for fault in found.faults]
        )
    _note(tx, name, found)
    tx.versions.replace(restored)
    tx.tell("version.restored", name, {"digest": version.digest, "state": restored.state.value})
    return restored


def file_to_repair(tx: RegistryTx, name: str, path: str, digest: str) -> BundleFile:
    """The committed file whose bytes may be stored again.

    Raises:
        VersionNotFound, ArtifactNotFound: There is no such version or file.
        IllegalTransition: The version isn't QUARANTINED.
        NotTheCommittedFile: Its bytes have another digest.
    """
    version = the_version(tx, name, "header.version")
    if version.quarantine is None:
        raise IllegalTransition(
            name, version.state, VersionState.QUARANTINED, "only a quarantined version is repaired"
        )
    file = version.committed_file(path)
    if file.digest != digest:
        raise NotTheCommittedFile(name, path, file.digest, digest)
    return file


def note_repair(tx: RegistryTx, name: str, file: BundleFile) -> BundleFile:
    """Tell that the file's bytes are stored again; the version stays in quarantine."""
    tx.tell("version.file_repaired", name, {"path": file.path, "digest": file.digest})
    return file


def _note(tx: RegistryTx, name: str, found: Examination) -> None:
    tx.note_verified(name, tx.now)
    tx.tell(
        "version.verified",
        name,
        {"files": found.files, "size_bytes": found.size_bytes, "faults": len(found.faults)},
    )
