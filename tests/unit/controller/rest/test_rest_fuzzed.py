"""Requests made from the API's own description, valid and not: whatever is asked, no answer is a server's error."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from support.domains import Driver
from support.examples import example
from support.fake_store import ENDPOINT, FakeStore

from controller.rest import event_stream
from controller.rest import server as rest
from controller.rest.access import RateLimit
from controller.rest.event_stream import EventStream
from controller.rest.gate import Door
from controller.rest.writes import Writer

NETWORK = example("two_hypervisors")
HOST = {"Host": "localhost"}
WITHOUT_LIMIT = Door(is_private=True, limit=RateLimit(per_s=1e6, at_once=1e6))
EXAMPLES = 60
SICK = (503, "/v1/health")
"""The domain's switches are not there, and it says so."""

STORE = FakeStore(NETWORK)
WRITER = Writer(NETWORK, STORE)
WRITER.add({"name": "new", "from": "camera", "to": "screen", "deadline": "5ms", "min_rate": "1Mbps", "protocol": "udp"})
BEFORE = STORE.now
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(event_stream, "LIFE_S", 0.01)  # no stream of events lasts longer
    API = rest.api(Driver(NETWORK, "left"), WRITER, EventStream(), ENDPOINT, WITHOUT_LIMIT)
DESCRIBED = schemathesis.openapi.from_asgi("/openapi.json", API, headers=HOST)


@DESCRIBED.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_is_an_error_of_the_server(case: schemathesis.Case) -> None:
    answer = case.call(headers=HOST)
    assert answer.status_code < 500 or (answer.status_code, case.path) == SICK


@DESCRIBED.include(path="/v1/channels/{name}").parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_for_a_channel_that_is_there_is_one(case: schemathesis.Case) -> None:
    STORE.now = BEFORE
    case.path_parameters = {"name": "new"}
    assert case.call(headers=HOST).status_code < 500
