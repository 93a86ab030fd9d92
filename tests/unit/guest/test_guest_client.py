"""What a program asks for and waits for, of a service that keeps channels in a dict."""

from __future__ import annotations

from dataclasses import replace

from support.guest_service import MISSED, GuestService

from guest.client import Service
from guest.messages import Subscribe


class Prompt(GuestService):
    """Tells of one more miss whenever somebody has subscribed."""

    def _note(self, request: Subscribe, guest: tuple[str, int], nonce: int) -> None:
        super()._note(request, guest, nonce)
        if request.lease_s:
            self.tell(replace(MISSED, total_misses=self.count(Subscribe)))


def test_a_call_up_right_after_the_subscription_is_heard() -> None:
    with Prompt() as service, Service(service.way) as asking:
        assert next(asking.misses(0, lease_s=60)).total_misses == 1
