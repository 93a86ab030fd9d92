"""Deliveries over HTTP on this machine: what arrives, and what is done about receivers that do not take them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import BinaryIO

import pytest
from support.http_server import unused_port
from support.miss_handlers import SECRET, Receiver, answer_with, secret_file, told

from controller.errors import CannotRun
from controller.handlers import webhooks
from controller.handlers.declared import Webhook
from controller.handlers.signing import key_of, signed
from controller.handlers.turns import End, How
from controller.handlers.webhooks import PAUSE_S, TRIES, Courier
from controller.units import NS_PER_MS, NS_PER_S

ENOUGH_NS = 20 * NS_PER_S
SHORT_NS = 50 * NS_PER_MS


class Sender:
    """Couriers that do not really pause."""

    def __init__(self, secret: Path) -> None:
        self.secret = secret
        self.pauses_s: list[float] = []

    def send(self, url: str, timeout_ns: int = ENOUGH_NS) -> End:
        return Courier(Webhook(url, self.secret), timeout_ns, self.pauses_s.append).deliver(told())


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return Sender(secret_file(tmp_path))


def test_a_delivery_says_all_and_is_signed(sender: Sender) -> None:
    with Receiver() as receiver:
        assert sender.send(receiver.url) == End(How.DONE)
    (delivery,) = receiver.deliveries
    content = json.loads(delivery.body)
    assert content == {"delivery_id": content["delivery_id"], **told()}
    sent = {name: delivery.headers[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    assert sent == signed(key_of(SECRET), content["delivery_id"], int(sent["webhook-timestamp"]), delivery.body)
    assert delivery.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_get_better_is_tried_again_as_the_same_delivery(sender: Sender, status: int) -> None:
    with Receiver(answer_with(status), answer_with(status)) as receiver:
        assert sender.send(receiver.url) == End(How.DONE, tries=3)
    assert len({delivery.headers["webhook-id"] for delivery in receiver.deliveries}) == 1
    assert len({delivery.body for delivery in receiver.deliveries}) == 1
    assert len(sender.pauses_s) == 2


def test_it_gives_up_after_pauses_that_get_longer(sender: Sender) -> None:
    with Receiver(*[answer_with(500)] * 9) as receiver:
        assert sender.send(receiver.url) == End(How.FAILED, "was answered with 500", TRIES)
    assert len(receiver.deliveries) == TRIES
    for number, pause_s in enumerate(sender.pauses_s):
        assert PAUSE_S * 2**number / 2 <= pause_s <= PAUSE_S * 2**number


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_stays_as_it_is_is_not_tried_again(sender: Sender, status: int) -> None:
    with Receiver(answer_with(status)) as receiver:
        assert sender.send(receiver.url) == End(How.FAILED, f"was answered with {status}")
    assert len(receiver.deliveries) == 1


def test_no_redirection_is_followed(sender: Sender) -> None:
    with Receiver() as other, Receiver(answer_with(307, f"Location: {other.url}")) as receiver:
        assert sender.send(receiver.url) == End(How.FAILED, "was answered with 307")
    assert other.deliveries == []


def test_nobody_there(sender: Sender) -> None:
    end = sender.send(f"http://127.0.0.1:{unused_port()}/")
    assert (end.how, end.tries) == (How.FAILED, TRIES)
    assert end.why.startswith("did not reach its receiver: ")


def test_one_that_says_nothing_is_left(sender: Sender) -> None:
    with Receiver() as receiver:
        receiver.answers = [receiver.hold] * TRIES
        assert sender.send(receiver.url, SHORT_NS) == End(How.TIMED_OUT, "had no answer within 50ms", TRIES)


def test_one_that_answers_drop_by_drop_is_left(sender: Sender) -> None:
    with Receiver() as receiver:
        receiver.answers = [receiver.drip] * TRIES
        assert sender.send(receiver.url, SHORT_NS).how is How.TIMED_OUT


def test_one_that_does_not_even_accept_is_left(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as other:
        other.connect(listener.getsockname())  # and nobody accepts it
        end = sender.send(f"http://127.0.0.1:{listener.getsockname()[1]}/", SHORT_NS)
    assert end.how is How.TIMED_OUT


def endless(stream: BinaryIO) -> None:
    stream.write(b"HTTP/1.1 200 Said\r\nContent-Length: 1000000000000\r\n\r\n")
    while True:
        stream.write(bytes(1 << 16))


def nonsense(stream: BinaryIO) -> None:
    stream.write(b"\xff\xfe\r\n\r\n")


def test_an_answer_without_end_is_not_read(sender: Sender) -> None:
    with Receiver(endless) as receiver:
        assert sender.send(receiver.url) == End(How.DONE)


def test_what_is_no_answer(sender: Sender) -> None:
    with Receiver(*[nonsense] * TRIES) as receiver:
        end = sender.send(receiver.url)
    assert (end.how, end.tries) == (How.FAILED, TRIES)


def test_the_machines_own_trust_is_asked_beyond_it(sender: Sender) -> None:
    """Whoever answers there has no certificate of an authority that this machine trusts, nor any at all."""
    with Receiver() as receiver:
        end = sender.send(receiver.url.replace("http:", "https:"))
    assert (end.how, receiver.deliveries) == (How.FAILED, [])


def test_a_proxy_of_the_environment_is_not_asked(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert sender.send(receiver.url) == End(How.DONE)
    assert proxy.deliveries == []


# The secret


def refusal(sender: Sender) -> str:
    """What is said in place of a delivery."""
    with Receiver() as receiver, pytest.raises(CannotRun) as refused:
        sender.send(receiver.url)
    assert receiver.deliveries == []
    return str(refused.value)


def test_a_secret_that_is_changed_counts_at_once(sender: Sender, tmp_path: Path) -> None:
    with Receiver() as receiver:
        sender.send(receiver.url)
        secret_file(tmp_path, SECRET.replace("M", "N"))
        sender.send(receiver.url)
    second = receiver.deliveries[1]
    again = signed(key_of(SECRET.replace("M", "N")), second.headers["webhook-id"],
        int(second.headers["webhook-timestamp"]), second.body)  # fmt: skip
    assert second.headers["webhook-signature"] == again["webhook-signature"]


def test_a_secret_that_others_may_read_is_not_used(sender: Sender) -> None:
    sender.secret.chmod(0o640)
    assert refusal(sender) == (f"others may read or write {sender.secret}; make it private: chmod 600 {sender.secret}")


def test_a_secret_that_is_not_there_says_how_to_make_it(sender: Sender) -> None:
    sender.secret.unlink()
    assert refusal(sender).startswith(f"cannot read {sender.secret}: No such file or directory; make it: (umask 077; ")


def test_a_secret_in_another_form_is_named(sender: Sender) -> None:
    sender.secret.write_text("password\n")
    assert refusal(sender).startswith(
        f"{sender.secret} is not the secret of a webhook: it does not begin with whsec_; "
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_cure_makes_a_secret(sender: Sender) -> None:
    sender.secret.unlink()
    subprocess.run(refusal(sender).partition("make it: ")[2], shell=True, check=True)
    assert len(webhooks.read_key(sender.secret)) == 32
