"""The registry's transaction port in memory: the model that the database must equal."""

from __future__ import annotations

import itertools
from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from services.common.resources import Collection, ConcurrentChange, Resource
from services.registry.core import node_facts
from services.registry.core.aliases import Alias, AliasMove
from services.registry.core.approvals import Approval
from services.registry.core.bundles import BundleFile
from services.registry.core.canonical import Json
from services.registry.core.deployments import Whereabouts
from services.registry.core.evaluations import Evaluation
from services.registry.core.gates import GateResult
from services.registry.core.ledger import Touch
from services.registry.core.lineage import Direction, Edge, Node, bare_node
from services.registry.core.models import Model
from services.registry.core.names import parent_of
from services.registry.core.ports import Answer, Hooks
from services.registry.core.retention.fence import Claim, Sentence
from services.registry.core.retention.holds import Hold, HoldState
from services.registry.core.retention.pins import Pin
from services.registry.core.retention.plans import CollectionPlan, Item, ItemState, PlanState
from services.registry.core.snapshots import Dataset, DatasetSnapshot, SnapshotState
from services.registry.core.versions import ModelVersion, VersionState
from services.registry.core.webhooks import Webhook, WebhookDelivery

ResourceT = TypeVar("ResourceT", bound=Resource)

EPOCH = datetime(2013, 1, 1, tzinfo=UTC)


class MemoryCollection(Generic[ResourceT]):
    """`Collection` as a dict, in the order of addition."""

    def __init__(self) -> None:
        self._resources: dict[str, ResourceT] = {}

    def get(self, name: str) -> ResourceT | None:
        return self._resources.get(name)

    def add(self, resource: ResourceT) -> None:
        assert resource.meta.name not in self._resources
        self._resources[resource.meta.name] = resource

    def replace(self, resource: ResourceT) -> None:
        stored = self._resources.get(resource.meta.name)
        if stored is None or stored.meta.revision != resource.meta.revision - 1:
            raise ConcurrentChange(resource.meta.name)
        self._resources[resource.meta.name] = resource

    def remove(self, name: str) -> None:
        self._resources.pop(name, None)

    def all(self) -> Sequence[ResourceT]:
        return list(self._resources.values())

    def count(self, parent: str) -> int:
        return len(self.under(parent))

    def under(self, parent: str) -> Sequence[ResourceT]:
        return [each for name, each in self._resources.items() if parent_of(name) == parent]

    def everything(self) -> Sequence[ResourceT]:
        return list(self._resources.values())

    def newest(self, parent: str) -> ResourceT | None:
        return next(reversed(self.under(parent)), None)


class MemoryHooks:
    """`Hooks` in memory: who is subscribed, with which secrets. Nothing is ever delivered."""

    def __init__(self) -> None:
        self.secrets: dict[str, tuple[str, ...]] = {}

    def subscribe(self, webhook: Webhook, secret: str) -> None:
        self.secrets[webhook.meta.uid] = (secret,)

    def replace_secret(self, webhook: Webhook, secret: str) -> None:
        self.secrets[webhook.meta.uid] = (secret, self.secrets[webhook.meta.uid][0])

    def unsubscribe(self, webhook: Webhook) -> None:
        del self.secrets[webhook.meta.uid]

    def send_again(self, webhook: Webhook, event_id: str) -> WebhookDelivery | None:
        return None


class MemoryBlobLedger:
    """`BlobLedger` over the resources of a `MemoryRegistryTx`."""

    def __init__(self, tx: MemoryRegistryTx) -> None:
        self._tx = tx
        self.claims: dict[str, Claim] = {}
        self.sentences: dict[str, Sentence] = {}

    def referrers(self, digest: str) -> Sequence[str]:
        resources = [*self._tx.versions.everything(), *self._tx.snapshots.everything()]
        found = [each.meta.name for each in resources if digest in each.contents]
        for version, files in self._tx._uploads.items():
            if any(file.digest == digest for file in files.values()):
                found.append(version)
        return found

    def relied_on(self, digests: Sequence[str], now: datetime) -> frozenset[str]:
        referred = frozenset(each for each in digests if self.referrers(each))
        return referred | self.claimed(digests, now)

    def claimed(self, digests: Sequence[str], now: datetime) -> frozenset[str]:
        lasting = {claim.digest for claim in self.claims.values() if claim.expire_time > now}
        return lasting.intersection(digests)

    def claims_on(self, digest: str) -> Sequence[Claim]:
        return [claim for claim in self.claims.values() if claim.digest == digest]

    def add_claim(self, claim: Claim) -> None:
        assert claim.uid not in self.claims
        self.claims[claim.uid] = claim

    def drop_claim(self, uid: str) -> bool:
        return self.claims.pop(uid, None) is not None

    def drop_claims_of(self, holder: str) -> None:
        self.claims = {uid: each for uid, each in self.claims.items() if each.holder != holder}

    def prolong_claims(self, uids: Some[str], expire_time: datetime) -> None:
        for uid in self.claims.keys() & uids:
            self.claims[uid] = replace(self.claims[uid], expire_time=expire_time)

    def sentence(self, digest: str) -> Sentence | None:
        return self.sentences.get(digest)

    def put_sentence(self, sentence: Sentence) -> None:
        self.sentences[sentence.digest] = sentence

    def drop_sentence(self, digest: str) -> None:
        self.sentences.pop(digest, None)


class MemoryPlanItems:
    """`PlanItems` as lists."""

    def __init__(self) -> None:
        self.of: dict[str, dict[int, Item]] = {}

    def add(self, plan: str, items: Sequence[Item]) -> None:
        self.of[plan] = {item.position: item for item in items}

    def unsettled(self, plan: str) -> Item | None:
        for item in self.of[plan].values():
            if item.state in (ItemState.PENDING, ItemState.CONDEMNED):
                return item
        return None

    def settle(self, plan: str, item: Item) -> None:
        assert item.position in self.of[plan]
        self.of[plan][item.position] = item


class MemoryRegistryTx:
    """`RegistryTx` in memory; its clock and ids are the test's."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.events: list[tuple[str, str, Mapping[str, Json]]] = []
        self.moves: list[AliasMove] = []
        self.touches: list[Touch] = []
        self.answers: list[Answer | None] = []
        self.datasets: Collection[Dataset] = MemoryCollection()
        self.snapshots: MemoryCollection[DatasetSnapshot] = MemoryCollection()
        self.models: Collection[Model] = MemoryCollection()
        self.versions: MemoryCollection[ModelVersion] = MemoryCollection()
        self.aliases: Collection[Alias] = MemoryCollection()
        self.evaluations: Collection[Evaluation] = MemoryCollection()
        self.gate_results: Collection[GateResult] = MemoryCollection()
        self.approvals: Collection[Approval] = MemoryCollection()
        self.webhooks: Collection[Webhook] = MemoryCollection()
        self.hooks: Hooks = MemoryHooks()
        self._whereabouts: dict[str, Whereabouts] = {}
        self.pins: MemoryCollection[Pin] = MemoryCollection()
        self.holds: MemoryCollection[Hold] = MemoryCollection()
        self.plans: MemoryCollection[CollectionPlan] = MemoryCollection()
        self.blobs = MemoryBlobLedger(self)
        self.plan_items = MemoryPlanItems()
        self._edges: dict[tuple[str, str, str], Edge] = {}
        self._numbers: dict[str, int] = {}
        self._uploads: dict[str, dict[str, BundleFile]] = {}
        self._verified: dict[str, datetime] = {}
        self._ids = itertools.count(1)

    def pass_time(self, **duration: float) -> None:
        """Let the clock go on by a timedelta's arguments."""
        self.now += timedelta(**duration)

    def kinds(self) -> list[str]:
        """What the events so far tell of."""
        return [kind for kind, _, _ in self.events]

    def new_uid(self) -> str:
        return f"{next(self._ids):032x}"

    def take_number(self, model: str) -> int:
        self._numbers[model] = self._numbers.get(model, 0) + 1
        return self._numbers[model]

    def aliases_at(self, versions: Sequence[str]) -> Sequence[Alias]:
        models = {parent_of(version) for version in versions}
        return [
            alias
            for model in sorted(models)
            for alias in self.aliases.under(model)
            if alias.version in versions
        ]

    def uploads(self, version: str) -> Mapping[str, BundleFile]:
        return dict(self._uploads.get(version, {}))

    def record_upload(self, version: str, file: BundleFile) -> None:
        self._uploads.setdefault(version, {})[file.path] = file

    def forget_uploads(self, version: str) -> None:
        self._uploads.pop(version, None)

    def note_verified(self, version: str, time: datetime) -> None:
        self._verified[version] = time

    def verified_at(self, versions: Sequence[str]) -> Mapping[str, datetime]:
        return {name: self._verified[name] for name in versions if name in self._verified}

    def stalest_version(self, before: datetime) -> str | None:
        usable = (VersionState.READY, VersionState.DEPRECATED)
        times = [
            (self._verified.get(version.meta.name, version.meta.create_time), place, version)
            for place, version in enumerate(self.versions.all())
            if version.state in usable
        ]
        stale = [(time, place, version) for time, place, version in times if time < before]
        return min(stale)[2].meta.name if stale else None

    def record_move(self, move: AliasMove) -> None:
        self.moves.append(move)

    def record_touch(self, touch: Touch) -> None:
        self.touches.append(touch)

    def touches_of(self, data_digest: str, split_digest: str) -> Sequence[Touch]:
        return [
            touch
            for touch in self.touches
            if (touch.data_digest, touch.split_digest) == (data_digest, split_digest)
        ]

    def link(self, edge: Edge) -> None:
        self._edges.setdefault((edge.source, edge.target, edge.relation), edge)

    def unlink(self, target: str) -> None:
        self._edges = {key: edge for key, edge in self._edges.items() if edge.target != target}

    def link_all(self, edges: Sequence[Edge]) -> None:
        for edge in edges:
            self.link(edge)

    def edges_at(
        self, names: Sequence[str], direction: Direction, limit: int | None = None
    ) -> Sequence[Edge]:
        return [
            edge
            for edge in self._edges.values()
            if (edge.target if direction is Direction.UPSTREAM else edge.source) in names
        ][:limit]

    def nodes(self, names: Sequence[str]) -> Sequence[Node]:
        return [self._node(name) for name in names]

    def _node(self, name: str) -> Node:
        told = self._whereabouts.get(name)
        if told is not None:
            return node_facts.whereabouts_node(told)
        found = (
            self.snapshots.get(name)
            or self.versions.get(name)
            or self.evaluations.get(name)
            or self.gate_results.get(name)
            or self.approvals.get(name)
            or self.aliases.get(name)
        )
        began = self.now if found is None else found.meta.create_time
        match found:
            case DatasetSnapshot(state=state, digest=digest, window=window):
                days = None if window is None else (window.start, window.end)
                return node_facts.snapshot_node(
                    name, state.value, began, digest=digest or "", window=days
                )
            case ModelVersion(state=state, digest=digest):
                return node_facts.version_node(name, state.value, began, digest=digest or "")
            case Evaluation(scores=scores):
                return node_facts.evaluation_node(
                    name, began, split=scores.split, metrics=scores.metrics
                )
            case GateResult(verdicts=verdicts, passed=passed):
                failures = [each.explanation for each in verdicts if not each.passed]
                return node_facts.gate_result_node(
                    name, began, passed=passed, failures=failures, rules=len(verdicts)
                )
            case Approval(requester=requester, approver=approver):
                return node_facts.approval_node(
                    name,
                    found.state_at(self.now),
                    began,
                    requester=requester,
                    approver=approver,
                )
            case Alias(version=version):
                return node_facts.alias_node(name, began, version=version)
            case _:
                return bare_node(name)

    def whereabouts(self, name: str) -> Whereabouts | None:
        return self._whereabouts.get(name)

    def set_whereabouts(self, told: Whereabouts) -> None:
        self._whereabouts[told.name] = told

    def finish(self, answer: Answer | None = None) -> int:
        self.answers.append(answer)
        return len(self.answers)

    def tell(self, kind: str, subject: str, data: Mapping[str, Json]) -> None:
        self.events.append((kind, subject, data))

    def pins_on(self, target: str) -> Sequence[Pin]:
        return [pin for pin in self.pins.everything() if pin.target == target]

    def holds_on(self, target: str) -> Sequence[Hold]:
        return [
            hold
            for hold in self.holds.everything()
            if hold.target == target and hold.state is HoldState.ACTIVE
        ]

    def newer_versions(self, version: str) -> int:
        series = self.versions.under(parent_of(version))
        names = [each.meta.name for each in series]
        later = series[names.index(version) + 1 :]
        return sum(each.state is VersionState.READY for each in later)

    def newer_snapshots(self, snapshot: str) -> int:
        series = self.snapshots.under(parent_of(snapshot))
        names = [each.meta.name for each in series]
        later = series[names.index(snapshot) + 1 :]
        return sum(each.state is SnapshotState.SEALED for each in later)

    def running_plan(self) -> CollectionPlan | None:
        for plan in self.plans.everything():
            if plan.progress is PlanState.RUNNING:
                return plan
        return None
