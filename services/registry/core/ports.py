"""What the registry's core needs from the outside; adapters implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from services.common.resources import Collection, Page, PageQuery
from services.registry.core.aliases import Alias, AliasMove
from services.registry.core.approvals import Approval
from services.registry.core.bundles import BundleFile
from services.registry.core.canonical import Json
from services.registry.core.columns import CleanedTable, ColumnReport
from services.registry.core.deployments import Whereabouts
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.ledger import Touch
from services.registry.core.lineage import Direction, Edge, Node
from services.registry.core.models import Model
from services.registry.core.retention.fence import BlobLedger
from services.registry.core.retention.holds import Hold
from services.registry.core.retention.pins import Pin
from services.registry.core.retention.plans import CollectionPlan, Item, PlanItems
from services.registry.core.snapshots import (
    CleaningRules,
    Dataset,
    DatasetSnapshot,
    TableFormat,
)
from services.registry.core.versions import ModelVersion
from services.registry.core.webhooks import Webhook, WebhookDelivery


class Hooks(Protocol):
    """What the webhooks' deliveries rest on, in one transaction."""

    def subscribe(self, webhook: Webhook, secret: str) -> None:
        """Send a new webhook what happens from now on, signed with `secret`."""
        ...

    def replace_secret(self, webhook: Webhook, secret: str) -> None:
        """Sign with `secret`, and for a while with the one before it too."""
        ...

    def unsubscribe(self, webhook: Webhook) -> None:
        """Send nothing more, and drop the record of the deliveries."""
        ...

    def send_again(self, webhook: Webhook, event_id: str) -> WebhookDelivery | None:
        """Have an event sent again at once; None if it isn't on record."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a repeat of a request will be answered with.

    Attributes:
        request_id: UUID of the request.
        fingerprint: Of the method and the request's content.
        response: The serialized message.
    """

    request_id: str
    fingerprint: str
    response: bytes


class Recorder(Protocol):
    """Keeps records of all transactions where the metadata can be rebuilt from."""

    async def ship(self, number: int | None = None) -> None:
        """Return once the records of finished transactions are durable.

        Args:
            number: Of the last transaction that is asked for; None asks for all.

        Raises:
            BlobStoreUnavailable: It could not be written; the next call tries again.
        """
        ...


class RegistryTx(Protocol):
    """One transaction: everything in it happens, or nothing does; writers are serial."""

    datasets: Collection[Dataset]
    snapshots: Collection[DatasetSnapshot]
    models: Collection[Model]
    versions: Collection[ModelVersion]
    aliases: Collection[Alias]
    evaluations: Collection[Evaluation]
    gate_results: Collection[GateResult]
    approvals: Collection[Approval]
    webhooks: Collection[Webhook]
    hooks: Hooks
    pins: Collection[Pin]
    holds: Collection[Hold]
    plans: Collection[CollectionPlan]
    blobs: BlobLedger
    plan_items: PlanItems

    @property
    def now(self) -> datetime:
        """The moment at which everything in the transaction happens, UTC."""
        ...

    def new_uid(self) -> str:
        """A new UUID, 32 hex digits."""
        ...

    def take_number(self, model: str) -> int:
        """The model's next version number; none is given twice or left out."""
        ...

    def aliases_at(self, versions: Sequence[str]) -> Sequence[Alias]:
        """The aliases that point at one of `versions`."""
        ...

    def uploads(self, version: str) -> Mapping[str, BundleFile]:
        """The files uploaded for a version that isn't committed, by path."""
        ...

    def record_upload(self, version: str, file: BundleFile) -> None:
        """Note an uploaded file, in place of one of the same path."""
        ...

    def forget_uploads(self, version: str) -> None:
        """Drop the notes on a version's uploads."""
        ...

    def note_verified(self, version: str, time: datetime) -> None:
        """Note when a version's bytes were last read and held against their digests."""
        ...

    def verified_at(self, versions: Sequence[str]) -> Mapping[str, datetime]:
        """When each of the versions was last verified; those that never were are left out."""
        ...

    def stalest_version(self, before: datetime) -> str | None:
        """The READY or DEPRECATED version verified longest ago and before a moment."""
        ...

    def record_move(self, move: AliasMove) -> None:
        """Append to the history of an alias."""
        ...

    def record_touch(self, touch: Touch) -> None:
        """Append to the ledger of test sets."""
        ...

    def touches_of(self, data_digest: str, split_digest: str) -> Sequence[Touch]:
        """Every look at these rows so far, oldest first."""
        ...

    def link(self, edge: Edge) -> None:
        """Add an edge to the lineage; nothing if it is there."""
        ...

    def unlink(self, target: str) -> None:
        """Drop the edges that lead to `target`."""
        ...

    def link_all(self, edges: Sequence[Edge]) -> None:
        """Add edges to the lineage in their order, but for those that are there."""
        ...

    def edges_at(
        self, names: Sequence[str], direction: Direction, limit: int | None = None
    ) -> Sequence[Edge]:
        """The edges that leave `names` in `direction`, oldest first, at most `limit`."""
        ...

    def nodes(self, names: Sequence[str]) -> Sequence[Node]:
        """What is known of each of `names`, in their order."""
        ...

    def whereabouts(self, name: str) -> Whereabouts | None:
        """Where a rollout or an endpoint stands, if it was told."""
        ...

    def set_whereabouts(self, told: Whereabouts) -> None:
        """Note where a rollout or an endpoint stands, in place of what was noted."""
        ...

    def pins_on(self, target: str) -> Sequence[Pin]:
        """The pins on a version or snapshot, those that have run out among them."""
        ...

    def holds_on(self, target: str) -> Sequence[Hold]:
        """The holds in force on a version or snapshot."""
        ...

    def newer_versions(self, version: str) -> int:
        """How many READY versions of its model are newer."""
        ...

    def newer_snapshots(self, snapshot: str) -> int:
        """How many SEALED snapshots of its dataset are newer."""
        ...

    def running_plan(self) -> CollectionPlan | None:
        """The oldest plan that is RUNNING, of any project."""
        ...

    def tell(self, kind: str, subject: str, data: Mapping[str, Json]) -> None:
        """Write an event, such as `version.ready`, into the outbox."""
        ...

    def finish(self, answer: Answer | None = None) -> int:
        """Write down, for the record, what the transaction changed; its last call.

        Args:
            answer: That is kept with the change; None for work that nobody repeats.

        Returns:
            The transaction's number in the records; 0 if it changed nothing.
        """
        ...


class RegistryLists(Protocol):
    """Pages of each kind.

    Every method raises InvalidArgument for a filter, order or token that is malformed.
    """

    def datasets(self, query: PageQuery) -> Page[Dataset]:
        """Of a project, by name."""
        ...

    def snapshots(self, query: PageQuery) -> Page[DatasetSnapshot]:
        """Of a dataset, oldest first."""
        ...

    def models(self, query: PageQuery) -> Page[Model]:
        """Of a project, by name."""
        ...

    def versions(self, query: PageQuery) -> Page[ModelVersion]:
        """Of a model, oldest first."""
        ...

    def aliases(self, query: PageQuery) -> Page[Alias]:
        """Of a model, by name."""
        ...

    def alias_moves(self, query: PageQuery) -> Page[AliasMove]:
        """Of a model, newest first."""
        ...

    def touches(self, query: PageQuery) -> Page[Touch]:
        """Of a project, newest first."""
        ...

    def evaluations(self, query: PageQuery) -> Page[Evaluation]:
        """Of a version, newest first."""
        ...

    def gate_results(self, query: PageQuery) -> Page[GateResult]:
        """Of a version, newest first."""
        ...

    def approvals(self, query: PageQuery) -> Page[Approval]:
        """Of a version, or of all versions of a model, newest first."""
        ...

    def webhooks(self, query: PageQuery) -> Page[Webhook]:
        """Of a project, by name."""
        ...

    def webhook_deliveries(self, webhook: Webhook, query: PageQuery) -> Page[WebhookDelivery]:
        """Of a webhook, newest first."""
        ...

    def pins(self, query: PageQuery) -> Page[Pin]:
        """Of a project, by name."""
        ...

    def holds(self, query: PageQuery) -> Page[Hold]:
        """Of a project, newest first."""
        ...

    def plans(self, query: PageQuery) -> Page[CollectionPlan]:
        """Of a project, newest first."""
        ...

    def plan_items(self, query: PageQuery) -> Page[Item]:
        """Of a plan, in its order."""
        ...


class IntegrityMeter(Protocol):
    """Counts what reading versions again gives."""

    def read(self, size_bytes: int) -> None:
        """Bytes were read from the store to verify them."""
        ...

    def examined(self, is_whole: bool) -> None:
        """A version was verified."""
        ...


class BundleSigner(Protocol):
    """Signs what is committed. Blocks: call it in a thread."""

    def sign(self, version: str, manifest: bytes) -> bytes:
        """A signature that binds the manifest, and so every file, to the version's name."""
        ...


class FormatInspector(Protocol):
    """Tells files that only read when they are loaded from those that may run code. Blocks."""

    def fault(self, path: str, local: Path, sizes: Mapping[str, int]) -> str | None:
        """Why the file may not be in a bundle; None if it may.

        Args:
            path: Of the file in its bundle; its suffix says what it should be.
            local: Where its bytes are on this machine.
            sizes: Bytes of each file of the bundle, by path.
        """
        ...


class TableCleaner(Protocol):
    """Turns uploaded tables into canonical Parquet. Blocks: call it in a thread."""

    def clean(
        self,
        source: BinaryIO,
        target: BinaryIO,
        *,
        path: str,
        file_format: TableFormat,
        rules: CleaningRules,
        earlier: Sequence[BinaryIO],
    ) -> CleanedTable:
        """Write the usable rows of `source` to `target` and tell what they are.

        Args:
            source: The bytes as uploaded.
            target: Where the canonical Parquet goes.
            path: Of the file in its snapshot; for errors.
            file_format: Of `source`.
            rules: Which rows are kept.
            earlier: The snapshot's canonical files so far: their schema binds, and
                a row that one of them holds is a duplicate.

        Raises:
            UnreadableFile, ColumnNotFound, SchemaMismatch: The file is unusable.
        """
        ...

    def report(self, files: Sequence[BinaryIO]) -> tuple[ColumnReport, ...]:
        """A report on each column over all rows of canonical files."""
        ...
