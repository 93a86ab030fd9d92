"""The model: copies of a network."""

from support.networks import two_hypervisors

from controller.model import Scheduler


def test_with_scheduler_changes_every_uplink_and_nothing_else() -> None:
    network = two_hypervisors(Scheduler.EDF)
    fifo = network.with_scheduler(Scheduler.FIFO)
    assert {each.uplink.scheduler for each in fifo.hypervisors.values()} == {Scheduler.FIFO}
    assert fifo.with_scheduler(Scheduler.EDF) == network
    assert {each.uplink.scheduler for each in network.hypervisors.values()} == {Scheduler.EDF}
