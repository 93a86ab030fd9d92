"""Where a controller listens, and what is said where it cannot."""

from __future__ import annotations

import pytest
from support.http_server import taken_port

from controller.errors import CannotRun
from controller.listeners import listen_at
from controller.model import Endpoint


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_named_with_its_cure(address: str) -> None:
    with taken_port(address) as port, pytest.raises(CannotRun) as error:
        listen_at(Endpoint(address, port, port), port, "OpenFlow")
    assert error.value.what == f"cannot listen for OpenFlow at {address}:{port}: Address already in use"
    assert error.value.cure == "end what listens there (ss -ltnp names it), or choose another port in the topology file"


def test_an_address_that_is_not_this_machines() -> None:
    with pytest.raises(CannotRun, match=r"REST at 192\.0\.2\.1:8080: Cannot assign requested address"):
        listen_at(Endpoint("192.0.2.1", 6653, 8080), 8080, "REST")


def test_a_free_port_is_listened_at() -> None:
    with listen_at(Endpoint("127.0.0.1", 0, 0), 0, "REST") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
