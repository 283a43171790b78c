from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest
from aiohttp.abc import ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from services.common.webhooks.sending import http_sender, retry_after_s
from services.common.webhooks.signing import key_of, signed_headers
from services.common.webhooks.subscriptions import RetryPolicy
from services.common.webhooks.targets import GuardedResolver, TargetPolicy, TargetRefused
from tests.support.receiver import receiving

PUBLIC = TargetPolicy(loopback=False)
EMBEDDED = TargetPolicy(loopback=True)
ANYWHERE = TargetPolicy(loopback=True, private=True)


def test_a_signature_is_the_one_that_standard_webhooks_publishes() -> None:
    # The example of the specification's reference implementations.
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", "x" * 40])
def test_a_secret_that_can_not_sign_is_refused_without_being_told(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_") as refusal:
        key_of(secret)
    assert secret in ("", "whsec_") or secret not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "public", "embedded", "anywhere"),
    [
        ("https://example.com/hook?a=b", True, True, True),
        ("https://8.8.8.8/", True, True, True),
        ("http://example.com/", False, False, True),
        ("http://8.8.8.8/", False, False, True),
        ("http://127.0.0.1:8080/", False, True, True),
        ("http://localhost:8080/", False, True, True),
        ("http://[::1]:8080/", False, True, True),
        ("https://127.0.0.1/", False, True, True),
        ("https://0.0.0.0/", False, True, True),
        ("https://10.1.2.3/", False, False, True),
        ("https://192.168.0.1/", False, False, True),
        ("https://169.254.169.254/latest/meta-data", False, False, True),
        ("https://100.64.0.1/", False, False, True),
        ("https://[fd00::1]/", False, False, True),
        ("https://[fe80::1]/", False, False, True),
        ("https://[::ffff:10.0.0.1]/", False, False, True),
        ("https://[64:ff9b::a00:1]/", False, False, True),
        ("https://[2002:a00:1::]/", False, False, True),
        ("https://224.0.0.1/", False, False, False),
        ("https://user:pass@example.com/", False, False, False),
        ("https://example.com/#there", False, False, False),
        ("https://example.com:0/", False, False, False),
        ("https://example.com:99999/", False, False, False),
        ("ftp://example.com/", False, False, False),
        ("file:///etc/passwd", False, False, False),
        ("https:///path", False, False, False),
        ("https://[::1", False, False, False),
        ("example.com", False, False, False),
    ],
)
def test_a_url_is_allowed_where_the_policy_says(
    url: str, public: bool, embedded: bool, anywhere: bool
) -> None:
    faults = [policy.url_fault(url) for policy in (PUBLIC, EMBEDDED, ANYWHERE)]
    assert [not fault for fault in faults] == [public, embedded, anywhere], faults


class Names:
    """A resolver that gives what the test says, as a rebinding name server would."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(self, host: str, port: int, family: int) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=0, proto=0, flags=0)
            for each in self._answers.pop(0)
        ]

    async def close(self) -> None:
        pass


async def test_a_name_is_judged_by_its_addresses_each_time_that_it_is_connected_to() -> None:
    resolver = GuardedResolver(PUBLIC)
    resolver._resolver = Names(["93.184.216.34", "10.0.0.1"], ["169.254.169.254"], [])
    found = await resolver.resolve("rebinding.example", 443)
    assert [each["host"] for each in found] == ["93.184.216.34"]
    with pytest.raises(TargetRefused, match="private address"):
        await resolver.resolve("rebinding.example", 443)
    with pytest.raises(TargetRefused):
        await resolver.resolve("rebinding.example", 443)


async def test_a_name_that_leads_to_this_machine_is_refused_before_anything_is_sent() -> None:
    with receiving() as receiver:
        async with http_sender(PUBLIC, timeout_s=5.0) as sender:
            port = receiver.url.rpartition(":")[2]
            answer = await sender.post(f"https://localhost:{port}", {}, b"{}")
            assert answer.status_code == 0
            assert "this machine" in answer.error
            assert "refused" in (await sender.post(receiver.url, {}, b"{}")).error
    assert receiver.received == []


async def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    with receiving() as receiver, receiving() as elsewhere:
        receiver.answer = lambda _: 307
        receiver.headers = {"Location": elsewhere.url}
        async with http_sender(EMBEDDED, timeout_s=5.0) as sender:
            answer = await sender.post(receiver.url, {}, b"{}")
    assert (answer.status_code, "not followed" in answer.error) == (307, True)
    assert elsewhere.received == []


async def test_a_receiver_that_does_not_answer_in_time_or_is_not_there_is_a_failure() -> None:
    async with http_sender(EMBEDDED, timeout_s=0.3) as sender:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            port = silent.getsockname()[1]
            answer = await sender.post(f"http://127.0.0.1:{port}/", {}, b"{}")
            assert (answer.status_code, answer.error) == (0, "no answer within 0.3 s")
        answer = await sender.post(f"http://127.0.0.1:{port}/", {}, b"{}")
        assert answer.status_code == 0
        assert answer.error.startswith("Con")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0.0),
        ("90", 90.0),
        ("Fri, 02 Jan 2026 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("9" * 400, 999999999.0),
    ],
)
def test_a_receiver_asks_for_time_in_seconds_or_until_a_moment(header: str, seconds: float) -> None:
    assert retry_after_s(header, datetime(2026, 1, 2, tzinfo=UTC)) == seconds


def test_no_receiver_is_left_alone_for_longer_than_the_longest_wait() -> None:
    retry = RetryPolicy(first_s=2.0, longest_s=100.0)
    assert retry.wait(1, 0.0, 50.0).total_seconds() == 50.0
    assert retry.wait(1, 0.0, 1e9).total_seconds() == 100.0


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_waits_double_up_to_the_longest_and_half_of_each_is_chance(
    failures: int, draw: float
) -> None:
    retry = RetryPolicy(first_s=2.0, longest_s=100.0)
    longest = min(100.0, 2.0 * 2 ** (failures - 1))
    assert longest / 2 <= retry.wait(failures, draw).total_seconds() <= longest
    assert retry.wait(failures, 0.9) > retry.wait(failures, 0.1)
