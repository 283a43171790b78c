from __future__ import annotations

import protovalidate
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from tests.contracts.descriptors import enums, is_repeated, messages, methods, reads_only, rules
from tests.contracts.minimal_requests import minimal_request

# What makes a repeat of these harmless in place of a request id.
REPEATABLE_BY = {"WorkerService": "claim", "IngestService": "batch_id"}
# The claim itself: a worker's second claim of a job supersedes its first.
CLAIMS = {"WorkerService.ClaimJob"}
LARGEST_BYTES = 3 * 2**20


def named(method: MethodDescriptor) -> str:
    return f"{method.containing_service.name}.{method.name}"


def field_anywhere(message: Descriptor, name: str) -> FieldDescriptor | None:
    """The field, or that of the header which opens a stream."""
    if name in message.fields_by_name:
        return message.fields_by_name[name]
    header = message.fields_by_name.get("header")
    return None if header is None else header.message_type.fields_by_name.get(name)


MUTATIONS = [method for method in methods() if not reads_only(method)]
READS = [method for method in methods() if reads_only(method)]
PAGED = [method for method in methods() if "next_page_token" in method.output_type.fields_by_name]


@pytest.mark.parametrize("method", MUTATIONS, ids=named)
def test_every_mutation_can_be_repeated_without_harm(method):
    if named(method) in CLAIMS:
        return
    name = REPEATABLE_BY.get(method.containing_service.name, "request_id")
    field = field_anywhere(method.input_type, name)
    assert field is not None, f"no {name}"
    if name == "request_id":
        assert rules(field).string.uuid, "an empty request id must be refused"
    else:
        assert rules(field).required or rules(field).string.min_len


@pytest.mark.parametrize("method", READS, ids=named)
def test_no_read_takes_a_request_id(method):
    assert field_anywhere(method.input_type, "request_id") is None


@pytest.mark.parametrize("method", methods(), ids=named)
def test_what_lists_is_paged(method):
    if method.name.startswith("List"):
        assert method in PAGED


@pytest.mark.parametrize("method", PAGED, ids=named)
def test_pages_have_a_size_and_a_token_and_one_kind_of_item(method):
    request, response = method.input_type.fields_by_name, method.output_type.fields
    assert rules(request["page_size"]).int32.HasField("gte")
    assert not rules(request["page_size"]).int32.HasField("lte"), "too large is coerced down"
    assert request["page_token"].type == FieldDescriptor.TYPE_STRING
    assert len([field for field in response if is_repeated(field)]) == 1


@pytest.mark.parametrize("enum", enums(), ids=lambda enum: enum.full_name)
def test_the_zero_of_every_enum_is_unspecified(enum):
    assert enum.values_by_number[0].name.endswith("_UNSPECIFIED")


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.full_name)
def test_bytes_of_requests_are_bounded(message):
    if message.name.endswith("Request"):
        for field in message.fields:
            if field.type == FieldDescriptor.TYPE_BYTES:
                assert 0 < rules(field).bytes.max_len <= LARGEST_BYTES


@pytest.mark.parametrize("method", methods(), ids=named)
def test_the_rules_of_every_request_can_be_met(method):
    protovalidate.validate(minimal_request(method.input_type))
