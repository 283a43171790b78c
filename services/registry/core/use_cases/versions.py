"""Model versions: from an empty upload to a bundle that never changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.registry.core.bundles import BundleFile, compare
from services.registry.core.errors import IllegalTransition
from services.registry.core.lineage import LONGEST_FEATURE, Edge, Relation, feature_name
from services.registry.core.names import ALIAS, TRAINING_JOB, checked
from services.registry.core.ports import RegistryTx
from services.registry.core.use_cases.identities import new_meta
from services.registry.core.use_cases.lookup import (
    the_alias,
    the_model,
    the_snapshot,
    the_version,
)
from services.registry.core.use_cases.retention import need_no_privacy_hold
from services.registry.core.versions import Ancestry, ModelVersion, VersionState


def begin_upload(
    tx: RegistryTx, model: str, ancestry: Ancestry, *, labels: Mapping[str, str]
) -> ModelVersion:
    """The model's next version, open for files.

    Raises:
        ModelNotFound, SnapshotNotFound, VersionNotFound: The model, or what the
            version stems from, doesn't exist.
        SnapshotNotSealed, BytesCollected, PrivacyHeld: A snapshot may still change, is gone,
            or nothing may be made from it.
    """
    the_model(tx, model, "parent")
    for index, snapshot in enumerate(ancestry.snapshots):
        the_snapshot(tx, snapshot, f"version.snapshots[{index}]").need_sealed()
        need_no_privacy_hold(tx, snapshot)
    if ancestry.parent_version:
        the_version(tx, ancestry.parent_version, "version.parent_version")
    if ancestry.training_job:
        checked(TRAINING_JOB, ancestry.training_job, "version.training_job")
    number = tx.take_number(model)
    name = f"{model}/versions/{number}"
    version = ModelVersion(
        meta=new_meta(tx, name, labels),
        number=number,
        state=VersionState.UPLOADING,
        ancestry=ancestry,
    )
    tx.versions.add(version)
    _link_ancestry(tx, name, ancestry)
    tx.tell("version.begun", name, {"training_job": ancestry.training_job})
    return version


def _link_ancestry(tx: RegistryTx, version: str, ancestry: Ancestry) -> None:
    for snapshot in ancestry.snapshots:
        tx.link(Edge(snapshot, version, Relation.TRAINED, tx.now))
        if ancestry.training_job:
            tx.link(Edge(snapshot, ancestry.training_job, Relation.TRAINED, tx.now))
    if ancestry.training_job:
        tx.link(Edge(ancestry.training_job, version, Relation.PRODUCED, tx.now))
    if ancestry.parent_version:
        tx.link(Edge(ancestry.parent_version, version, Relation.DERIVED, tx.now))


def need_open(tx: RegistryTx, name: str, field: str = "name") -> ModelVersion:
    """The version, which takes files.

    Raises:
        VersionNotFound: There is no such version.
        IllegalTransition: Its bundle is fixed or given up.
    """
    version = the_version(tx, name, field)
    if version.state is not VersionState.UPLOADING:
        raise IllegalTransition(name, version.state, VersionState.UPLOADING)
    return version


def record_artifact(tx: RegistryTx, name: str, file: BundleFile) -> BundleFile:
    """Note a file whose bytes are stored, in place of an earlier one of the same path.

    Raises:
        VersionNotFound: There is no such version.
        IllegalTransition: Its bundle is fixed or given up.
    """
    need_open(tx, name, "header.version")
    tx.record_upload(name, file)
    return file


def commit_version(
    tx: RegistryTx,
    name: str,
    listed: tuple[BundleFile, ...],
    *,
    digest: str,
    inputs: Sequence[str] = (),
    signature: BundleFile | None = None,
) -> ModelVersion:
    """The version READY, when the uploaded files are exactly the listed ones.

    Args:
        tx: The transaction.
        name: Of the version.
        listed: What its manifest lists, sorted by path.
        digest: Of the manifest.
        inputs: The model's; those that are columns of its snapshots join the lineage.
        signature: Over its manifest, stored already; None where none is made.

    Raises:
        VersionNotFound: There is no such version.
        IllegalTransition: It isn't UPLOADING.
        ManifestMismatch: Files are missing, truncated, changed or extra.
    """
    version = the_version(tx, name)
    version.can_move_to(VersionState.READY)
    compare(name, listed, tx.uploads(name))
    ready = replace(version.committed(digest, listed, tx.now), signature=signature)
    tx.versions.replace(ready)
    tx.note_verified(name, tx.now)
    tx.forget_uploads(name)
    _link_features(tx, ready, inputs)
    tx.tell("version.ready", name, {"digest": digest, "size_bytes": ready.size_bytes})
    return ready


def _link_features(tx: RegistryTx, version: ModelVersion, inputs: Sequence[str]) -> None:
    edges = []
    for snapshot in version.ancestry.snapshots:
        columns = {column.name for column in the_snapshot(tx, snapshot).schema}
        for column in inputs:
            feature = feature_name(snapshot, column)
            if column in columns and len(feature) <= LONGEST_FEATURE:
                edges.append(Edge(snapshot, feature, Relation.SELECTED, tx.now))
                edges.append(Edge(feature, version.meta.name, Relation.FEATURED, tx.now))
    tx.link_all(edges)


def abort_upload(tx: RegistryTx, name: str) -> ModelVersion:
    """The version REJECTED; its number isn't used again.

    Raises:
        VersionNotFound: There is no such version.
        IllegalTransition: It isn't UPLOADING.
    """
    rejected = the_version(tx, name).moved_to(VersionState.REJECTED, tx.now)
    tx.versions.replace(rejected)
    tx.forget_uploads(name)
    tx.tell("version.rejected", name, {})
    return rejected


def deprecate_version(tx: RegistryTx, name: str, *, etag: str) -> ModelVersion:
    """The version DEPRECATED; its bytes stay.

    Raises:
        VersionNotFound: There is no such version.
        EtagMismatch: It has changed since the caller read it.
        VersionQuarantined: Its bytes aren't whole.
        IllegalTransition: It isn't READY, or an alias points at it.
    """
    version = the_version(tx, name)
    version.meta.check_etag(etag)
    version.need_whole()
    deprecated = version.moved_to(VersionState.DEPRECATED, tx.now)
    for alias in tx.aliases_at([name]):
        raise IllegalTransition(
            name, version.state, VersionState.DEPRECATED, f"{alias.meta.name} points at it"
        )
    tx.versions.replace(deprecated)
    tx.tell("version.deprecated", name, {"digest": version.digest})
    return deprecated


def resolve_version(tx: RegistryTx, name: str) -> ModelVersion:
    """The version called `name`, or that the alias called `name` points at.

    Raises:
        VersionNotFound, AliasNotFound: There is none.
    """
    if ALIAS.matches(name):
        return the_version(tx, the_alias(tx, name).version)
    return the_version(tx, name)
