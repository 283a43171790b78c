from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from roundhouse.common.v1 import events_pb2
from roundhouse.registry.v1 import model_pb2, model_service_pb2

from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.registry_api import SIGNATURE, RegistryCaller, digest_of

pb, service_pb = model_pb2, model_service_pb2


MODEL = f"{PROJECT}/models/delays"


VERSION = f"{MODEL}/versions/1"


JOB = f"{PROJECT}/trainingJobs/first"


async def get_version(caller: RegistryCaller, name: str) -> model_pb2.ModelVersion:
    return await caller.models.GetVersion(
        service_pb.GetVersionRequest(name=name), timeout=TIMEOUT_S
    )


async def download(caller: RegistryCaller, version: str, path: str, offset: int = 0) -> bytes:
    stream = caller.models.DownloadArtifact(
        service_pb.DownloadArtifactRequest(version=version, path=path, offset_bytes=offset),
        timeout=TIMEOUT_S,
    )
    return b"".join([part.chunk async for part in stream])


async def test_states_move_only_as_the_life_cycle_has_it(caller: RegistryCaller) -> None:
    model = await caller.create_model()
    ready = await caller.ready_version(model)
    given_up = await caller.begin(model)
    aborted = await caller.models.AbortVersionUpload(
        service_pb.AbortVersionUploadRequest(name=given_up, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    assert aborted.state == pb.ModelVersion.STATE_REJECTED
    for name in (ready, given_up):
        with refused() as refusal:
            await caller.upload_artifact(name, "card.md", b"text")
        assert refusal.reason == "ILLEGAL_STATE_TRANSITION"
        with refused() as refusal:
            await caller.commit(name, digest_of(b""))
        assert refusal.reason == "ILLEGAL_STATE_TRANSITION"
    with refused() as refusal:
        await deprecate(caller, given_up)
    assert (refusal.code, refusal.reason) == (
        StatusCode.FAILED_PRECONDITION,
        "ILLEGAL_STATE_TRANSITION",
    )
    await caller.move((f"{MODEL}/aliases/shadow", ready, ""))
    with refused() as refusal:
        await deprecate(caller, ready)
    assert refusal.reason == "ILLEGAL_STATE_TRANSITION"
    other = await caller.ready_version(model)
    await caller.move((f"{MODEL}/aliases/shadow", other, ready))
    assert (await deprecate(caller, ready)).state == pb.ModelVersion.STATE_DEPRECATED
    assert await download(caller, ready, "signature.json") == SIGNATURE
    with refused() as refusal:
        await download(caller, given_up, "model.onnx")
    assert refusal.reason == "VERSION_NOT_READY"


async def deprecate(caller: RegistryCaller, version: str) -> model_pb2.ModelVersion:
    return await caller.models.DeprecateVersion(
        service_pb.DeprecateVersionRequest(name=version, request_id=request_id()),
        timeout=TIMEOUT_S,
    )


async def test_a_repeated_begin_and_commit_give_the_first_answer(caller: RegistryCaller) -> None:
    model = await caller.create_model()
    begin = service_pb.BeginVersionUploadRequest(
        parent=model, version=pb.ModelVersion(), request_id=request_id()
    )
    first = await caller.models.BeginVersionUpload(begin, timeout=TIMEOUT_S)
    assert await caller.models.BeginVersionUpload(begin, timeout=TIMEOUT_S) == first
    begin.version.labels["a"] = "1"
    with refused() as refusal:
        await caller.models.BeginVersionUpload(begin, timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (
        StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )
    commit = service_pb.CommitVersionRequest(
        name=first.name,
        manifest_digest=await caller.upload_bundle(first.name),
        request_id=request_id(),
    )
    ready = await caller.models.CommitVersion(commit, timeout=TIMEOUT_S)
    assert await caller.models.CommitVersion(commit, timeout=TIMEOUT_S) == ready
    assert await caller.begin(model) == f"{MODEL}/versions/2"


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        (
            {"snapshots": [f"{PROJECT}/datasets/d/snapshots/s"]},
            StatusCode.NOT_FOUND,
            "SNAPSHOT_NOT_FOUND",
        ),
        ({"parent_version": VERSION}, StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"),
        ({"training_job": "job"}, StatusCode.INVALID_ARGUMENT, "INVALID_NAME"),
        ({"digest": "mine"}, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_version_of_unknown_ancestry_is_refused_and_takes_no_number(
    caller: RegistryCaller, fields: dict[str, object], code: StatusCode, reason: str
) -> None:
    model = await caller.create_model()
    with refused() as refusal:
        await caller.begin(model, **fields)
    assert (refusal.code, refusal.reason) == (code, reason)
    assert await caller.begin(model) == VERSION


async def test_models_are_created_updated_listed_and_deleted(caller: RegistryCaller) -> None:
    rule = pb.GateRule(metric="auc", comparison=pb.GateRule.COMPARISON_AT_LEAST, value=0.6)
    policy = pb.PromotionPolicy(rules=[rule], protected_aliases=["champion"])
    await caller.create_model(description="late?", promotion_policy=policy)
    with refused() as refusal:
        await caller.create_model()
    assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "MODEL_EXISTS")
    model = await caller.models.GetModel(service_pb.GetModelRequest(name=MODEL), timeout=TIMEOUT_S)
    assert model.promotion_policy == policy
    changed = await caller.models.UpdateModel(
        service_pb.UpdateModelRequest(
            model=pb.Model(name=MODEL, etag=model.etag, labels={"a": "1"}),
            update_mask=FieldMask(paths=["labels"]),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )
    assert (changed.promotion_policy, dict(changed.labels)) == (policy, {"a": "1"})
    with refused() as refusal:
        await caller.models.UpdateModel(
            service_pb.UpdateModelRequest(
                model=pb.Model(
                    name=MODEL, promotion_policy=pb.PromotionPolicy(protected_aliases=["a", "a"])
                ),
                update_mask=FieldMask(paths=["promotion_policy"]),
                request_id=request_id(),
            ),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "INVALID_REQUEST"
    listed = await caller.models.ListModels(
        service_pb.ListModelsRequest(parent=PROJECT, filter='labels.a = "1"'), timeout=TIMEOUT_S
    )
    assert list(listed.models) == [changed]
    await caller.begin(MODEL)
    delete = service_pb.DeleteModelRequest(name=MODEL, request_id=request_id())
    with refused() as refusal:
        await caller.models.DeleteModel(delete, timeout=TIMEOUT_S)
    assert refusal.reason == "MODEL_NOT_EMPTY"
    await caller.create_model("empty")
    delete.name = f"{PROJECT}/models/empty"
    await caller.models.DeleteModel(delete, timeout=TIMEOUT_S)
    with refused() as refusal:
        await caller.models.GetModel(
            service_pb.GetModelRequest(name=delete.name), timeout=TIMEOUT_S
        )
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_versions_are_listed_with_their_aliases(caller: RegistryCaller) -> None:
    model = await caller.create_model()
    names = [await caller.ready_version(model, training_job=JOB), await caller.begin(model)]
    shadow = f"{MODEL}/aliases/shadow"
    await caller.move((shadow, names[0], ""))
    page = await caller.models.ListVersions(
        service_pb.ListVersionsRequest(parent=model), timeout=TIMEOUT_S
    )
    assert [version.name for version in page.versions] == names
    assert [list(version.aliases) for version in page.versions] == [[shadow], []]
    found = await caller.models.ListVersions(
        service_pb.ListVersionsRequest(parent=model, filter=f'training_job = "{JOB}"'),
        timeout=TIMEOUT_S,
    )
    assert [version.name for version in found.versions] == names[:1]


async def test_aliases_move_by_compare_and_set_all_or_none(caller: RegistryCaller) -> None:
    model = await caller.create_model()
    first, second = [await caller.ready_version(model) for _ in range(2)]
    one, two = f"{MODEL}/aliases/one", f"{MODEL}/aliases/two"
    with refused() as refusal:
        await caller.move((one, first, ""), (two, first, second))
    assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "ALIAS_MOVED")
    with refused() as refusal:
        await caller.models.GetAlias(service_pb.GetAliasRequest(name=one), timeout=TIMEOUT_S)
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "ALIAS_NOT_FOUND")
    moved = await caller.move((one, first, ""), (two, second, ""))
    assert [alias.version for alias in moved.aliases] == [first, second]
    rehearsed = await caller.move((one, second, first), validate_only=True)
    assert rehearsed.aliases[0].version == second
    alias = await caller.models.GetAlias(service_pb.GetAliasRequest(name=one), timeout=TIMEOUT_S)
    assert alias.version == first
    assert (await get_version(caller, two)).name == second
    await caller.move((one, second, first), reason="better")
    moves = await caller.models.ListAliasMoves(
        service_pb.ListAliasMovesRequest(parent=model, filter=f'alias = "{one}"'),
        timeout=TIMEOUT_S,
    )
    assert [(m.from_version, m.to_version, m.reason) for m in moves.moves] == [
        (first, second, "better"),
        ("", first, "test"),
    ]
    aliases = await caller.models.ListAliases(
        service_pb.ListAliasesRequest(parent=model), timeout=TIMEOUT_S
    )
    assert [alias.name for alias in aliases.aliases] == [one, two]


async def test_events_follow_each_change_and_can_be_resumed(caller: RegistryCaller) -> None:
    version = await caller.ready_version(await caller.create_model())
    request = events_pb2.WatchEventsRequest(type_prefixes=["roundhouse.registry.version."])
    items = [item async for item in caller.events.WatchEvents(request, timeout=TIMEOUT_S)]
    events = [item.event for item in items if item.HasField("event")]
    assert [event.type.rpartition(".")[2] for event in events] == ["begun", "ready"]
    assert {event.subject for event in events} == {version}
    request.cursor = events[0].cursor
    rest = [item async for item in caller.events.WatchEvents(request, timeout=TIMEOUT_S)]
    assert rest[0].event == events[1]
