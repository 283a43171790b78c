from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from openlineage.client import event_v2 as ol
from openlineage.client.generated import (
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    schema_dataset,
)
from roundhouse.registry.v1 import webhook_pb2 as pb
from roundhouse.registry.v1 import webhook_service_pb2 as service_pb
from roundhouse.registry.v1 import webhook_service_pb2_grpc as pb_grpc

from services.common.clock import utc_now
from services.registry.core import webhooks as core
from services.registry.core.openlineage import SCORES_FACET
from services.registry.core.webhooks import WebhookChange
from tests.registry.test_api_lineage import ENDPOINT, record, served
from tests.support.calls import PROJECT, TIMEOUT_S, refused, request_id
from tests.support.eventually import eventually
from tests.support.receiver import OTHER_SECRET, SECRET, Receiver, receiving
from tests.support.registry_api import RegistryCaller, running_registry

Delivery = pb.WebhookDelivery


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[RegistryCaller]:
    """A registry that tries again soon and not often."""
    async with running_registry(
        tmp_path / "registry", webhook_attempts=2, webhook_first_retry_s=0.05
    ) as caller:
        yield caller


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def hooks(caller: RegistryCaller) -> pb_grpc.WebhookServiceStub:
    return pb_grpc.WebhookServiceStub(caller.channel)


async def create(caller: RegistryCaller, url: str, webhook_id: str = "hook", **fields: object):
    return await hooks(caller).CreateWebhook(
        service_pb.CreateWebhookRequest(
            parent=PROJECT,
            webhook_id=webhook_id,
            webhook=pb.Webhook(**{"url": url, "secret": SECRET, **fields}),
            request_id=request_id(),
        ),
        timeout=TIMEOUT_S,
    )


async def update(caller: RegistryCaller, webhook: pb.Webhook, *paths: str):
    return await hooks(caller).UpdateWebhook(
        service_pb.UpdateWebhookRequest(
            webhook=webhook, update_mask=FieldMask(paths=paths), request_id=request_id()
        ),
        timeout=TIMEOUT_S,
    )


async def deliveries(caller: RegistryCaller, **fields: str) -> list[Delivery]:
    request = service_pb.ListWebhookDeliveriesRequest(
        **{"parent": f"{PROJECT}/webhooks/hook", **fields}
    )
    return list((await hooks(caller).ListWebhookDeliveries(request, timeout=TIMEOUT_S)).deliveries)


async def test_a_webhook_is_kept_without_ever_showing_its_secret(
    caller: RegistryCaller, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    made = await create(caller, receiver.url, type_prefixes=["roundhouse.registry.model."])
    assert (made.secret, made.format) == ("", pb.Webhook.FORMAT_CLOUDEVENTS)
    got = await hooks(caller).GetWebhook(
        service_pb.GetWebhookRequest(name=made.name), timeout=TIMEOUT_S
    )
    listed = await hooks(caller).ListWebhooks(
        service_pb.ListWebhooksRequest(parent=PROJECT), timeout=TIMEOUT_S
    )
    assert got == made == listed.webhooks[0]
    await update(caller, pb.Webhook(name=made.name, secret=OTHER_SECRET), "secret")
    await caller.create_model()
    await eventually(lambda: len(receiver.received) == 1)
    message = receiver.received[0]
    # The old secret goes on for a day.
    assert message.is_signed_by(OTHER_SECRET)
    assert message.is_signed_by(SECRET)
    assert SECRET not in message.body.decode()
    printed = "".join(capfd.readouterr())
    assert SECRET not in printed
    assert SECRET not in repr(WebhookChange(secret=SECRET))


async def test_a_replaced_secret_signs_for_a_day_only(tmp_path: Path, receiver: Receiver) -> None:
    passed = timedelta()

    def now() -> datetime:
        return utc_now() + passed

    async with running_registry(tmp_path, now=now) as caller:
        made = await create(caller, receiver.url)
        await update(caller, pb.Webhook(name=made.name, secret=OTHER_SECRET), "secret")
        passed = core.OLD_SECRET_PERIOD + timedelta(seconds=1)
        await caller.create_model()
        await eventually(lambda: len(receiver.received) >= 2)
    assert sorted(set(receiver.types)) == ["model.created", "webhook.updated"]
    assert receiver.received[-1].is_signed_by(OTHER_SECRET)
    assert not receiver.received[-1].is_signed_by(SECRET)


async def test_a_webhook_whose_receiver_is_gone_is_paused_until_it_is_resumed(
    caller: RegistryCaller, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 410
    made = await create(caller, receiver.url, type_prefixes=["roundhouse.registry.model."])

    async def current() -> pb.Webhook:
        request = service_pb.GetWebhookRequest(name=made.name)
        return await hooks(caller).GetWebhook(request, timeout=TIMEOUT_S)

    await caller.create_model()
    async with asyncio.timeout(TIMEOUT_S):
        while not (gone := await current()).paused:
            await asyncio.sleep(0.01)
    assert gone.gone_time == gone.update_time
    assert gone.etag != made.etag
    dead = await deliveries(caller, filter="state = DEAD")
    assert [(each.attempts, each.status_code) for each in dead] == [(1, 410)]
    receiver.answer = lambda _: 200
    resumed = await update(caller, pb.Webhook(name=made.name), "paused")
    assert (resumed.paused, resumed.HasField("gone_time")) == (False, False)
    await caller.create_model("another")
    await eventually(lambda: len(receiver.received) == 2)
    assert [each.json["subject"] for each in receiver.received][1].endswith("/another")


async def test_only_the_wanted_events_of_its_own_project_are_sent(
    caller: RegistryCaller, receiver: Receiver
) -> None:
    await create(caller, receiver.url, type_prefixes=["roundhouse.registry.dataset."])
    await caller.create_model()
    dataset = await caller.create_dataset()
    await eventually(lambda: len(receiver.received) == 1)
    assert receiver.received[0].json["subject"] == dataset
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT_S):
        while not found:
            found = await deliveries(caller)
    (told,) = found
    assert (told.state, told.event_type) == (
        Delivery.STATE_DELIVERED,
        "roundhouse.registry.dataset.created",
    )
    assert told.name.endswith(f"/deliveries/{receiver.ids[0]}")


async def test_a_dead_letter_is_seen_and_sent_again(
    caller: RegistryCaller, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 500
    await create(caller, receiver.url)
    await caller.create_model()
    found: list[Delivery] = []
    async with asyncio.timeout(TIMEOUT_S):
        while not (found := await deliveries(caller, filter="state = DEAD")):
            await asyncio.sleep(0.02)
    assert [(each.attempts, each.status_code, each.error) for each in found] == [
        (2, 500, "answered 500")
    ]
    receiver.answer = lambda _: 200
    request = service_pb.RedeliverWebhookRequest(name=found[0].name, request_id=request_id())
    for _ in range(2):  # a repeat gets the first answer
        again = await hooks(caller).RedeliverWebhook(request, timeout=TIMEOUT_S)
        assert again.state == Delivery.STATE_PENDING
    async with asyncio.timeout(TIMEOUT_S):
        while (await deliveries(caller))[0].state != Delivery.STATE_DELIVERED:
            await asyncio.sleep(0.02)
    assert len(receiver.received) == 3


async def test_a_paused_webhook_gets_later_what_it_missed(
    caller: RegistryCaller, receiver: Receiver
) -> None:
    made = await create(caller, receiver.url, paused=True)
    await caller.create_model()
    assert not receiver.received
    await update(caller, pb.Webhook(name=made.name, paused=False), "paused")
    await eventually(lambda: receiver.types == ["model.created", "webhook.updated"])


async def test_a_deleted_webhook_is_forgotten_and_its_name_is_free(
    caller: RegistryCaller, receiver: Receiver
) -> None:
    made = await create(caller, receiver.url)
    with refused() as refusal:
        await create(caller, receiver.url)
    assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "WEBHOOK_EXISTS")
    await hooks(caller).DeleteWebhook(
        service_pb.DeleteWebhookRequest(name=made.name, etag=made.etag, request_id=request_id()),
        timeout=TIMEOUT_S,
    )
    with refused() as refusal:
        await deliveries(caller)
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND")
    again = await create(caller, receiver.url)
    assert again.uid != made.uid
    with refused() as refusal:
        await hooks(caller).RedeliverWebhook(
            service_pb.RedeliverWebhookRequest(
                name=f"{made.name}/deliveries/nobody", request_id=request_id()
            ),
            timeout=TIMEOUT_S,
        )
    assert refusal.reason == "DELIVERY_NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"url": "http://10.0.0.1/"}, ["webhook.url"]),
        ({"url": "https://169.254.169.254/latest"}, ["webhook.url"]),
        ({"secret": ""}, ["webhook.secret"]),
        ({"url": "nowhere", "secret": "mine"}, ["webhook.url", "webhook.secret"]),
        ({"uid": "mine"}, ["webhook.uid"]),
    ],
)
async def test_a_webhook_that_can_not_work_is_refused_with_its_faults(
    caller: RegistryCaller, fields: dict[str, str], faults: list[str]
) -> None:
    with refused() as refusal:
        await create(caller, **{"url": "https://example.com/", **fields})
    assert (refusal.code, refusal.reason, refusal.fields()) == (
        StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        faults,
    )


async def test_the_format_of_a_webhook_can_not_be_changed(
    caller: RegistryCaller, receiver: Receiver
) -> None:
    made = await create(caller, receiver.url)
    with refused() as refusal:
        await update(caller, made, "format")
    assert refusal.reason == "FIELD_IMMUTABLE"
    with refused() as refusal:
        await update(caller, pb.Webhook(name=made.name, etag="old", url=made.url), "url")
    assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_a_project_has_no_more_webhooks_than_are_served(
    caller: RegistryCaller, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.registry.core.use_cases.webhooks.LARGEST_COUNT", 1)
    await create(caller, receiver.url)
    with refused() as refusal:
        await create(caller, receiver.url, "another")
    assert (refusal.code, refusal.reason) == (
        StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_WEBHOOKS",
    )


FACETS = {
    "schema": schema_dataset.SchemaDatasetFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "errorMessage": error_message_run.ErrorMessageRunFacet,
}


def checked_facets(facets: dict[str, dict[str, object]]) -> dict[str, object]:
    """The facets as OpenLineage's own classes, which take no unknown field and need every other."""
    found = {}
    for key, facet in facets.items():
        body = dict(facet)
        schema = body.pop("_schemaURL")
        assert str(body.pop("_producer")).startswith("https://")
        if key == SCORES_FACET:
            assert body.keys() == {"split", "splitDigest", "rowCount", "metrics"}
            continue
        assert schema == FACETS[key]._get_schema(), key
        found[key] = FACETS[key](**body)
    return found


def checked_event(document: dict[str, object]) -> ol.RunEvent:
    """The run event as OpenLineage's own classes, whose validators raise on what is malformed."""
    body = dict(document)
    assert body.pop("schemaURL") == ol.RunEvent._get_schema()
    run, job = dict(body.pop("run")), dict(body.pop("job"))
    sides = {
        side: [
            kind(
                **{
                    key: checked_facets(value) if key.endswith("acets") else value
                    for key, value in each.items()
                }
            )
            for each in body.pop(side)
        ]
        for side, kind in (("inputs", ol.InputDataset), ("outputs", ol.OutputDataset))
    }
    return ol.RunEvent(
        **{**body, "eventType": ol.RunState(body["eventType"])},
        run=ol.Run(run.pop("runId"), checked_facets(run.pop("facets"))),
        job=ol.Job(job.pop("namespace"), job.pop("name"), checked_facets(job.pop("facets"))),
        **sides,
    )


async def test_openlineage_gets_each_run_in_its_own_terms(
    caller: RegistryCaller, receiver: Receiver
) -> None:
    await create(caller, receiver.url, format=pb.Webhook.FORMAT_OPENLINEAGE)
    version = await served(caller)
    await record(
        caller, "ROLLED_BACK", rollout=f"{ENDPOINT}/rollouts/bad", message="auc fell to 0.4"
    )
    await eventually(lambda: len(receiver.received) == 8)
    events = [checked_event(each.json) for each in receiver.received]
    assert [(event.eventType.value, event.job.name) for event in events] == [
        ("START", "datasets/flights/import"),
        ("COMPLETE", "datasets/flights/import"),
        ("START", "trainingJobs/first"),
        ("COMPLETE", "trainingJobs/first"),
        ("COMPLETE", "models/delays/evaluate"),
        ("START", "endpoints/late/deploy"),
        ("COMPLETE", "endpoints/late/deploy"),
        ("FAIL", "endpoints/late/deploy"),
    ]
    assert {event.job.namespace for event in events} == {"roundhouse://default"}
    sealed, ready, scored, deployed, failed = (events[i] for i in (1, 3, 4, 6, 7))
    assert [field["name"] for field in sealed.outputs[0].facets["schema"].fields] == ["x", "y"]
    assert sealed.outputs[0].outputFacets["outputStatistics"].rowCount == 1
    assert ready.inputs[0].name == sealed.outputs[0].name == "datasets/flights/snapshots/january"
    assert ready.inputs[0].facets == {"version": sealed.outputs[0].facets["version"]}
    assert ready.outputs[0].name == "models/delays/versions/1" == version.split("/", 2)[2]
    assert {each.name for each in scored.inputs} == {ready.outputs[0].name, ready.inputs[0].name}
    assert [each.name for each in deployed.outputs] == ["endpoints/late"]
    assert failed.run.facets["errorMessage"].message == "auc fell to 0.4"
    # What begins a run and what ends it have one id.
    runs = [event.run.runId for event in events]
    assert runs[0] == runs[1]
    assert runs[2] == runs[3]
    assert runs[5] == runs[6]
    assert len(set(runs)) == 5
