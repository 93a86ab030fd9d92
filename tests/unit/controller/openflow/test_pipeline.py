"""The tables refuse what contradicts them, and a cookie says what its flow is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import all_networks

from controller.model import Scheduler
from controller.openflow.flows import base_entries, listener_entries, talker_entries
from controller.openflow.pipeline import (
    CLASSIFY,
    COOKIE_MARK,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    FORWARD,
    LISTENER,
    PORTS,
    SWITCH_FORWARD,
    SWITCH_PORTS,
    ContradictionError,
    Entry,
    FlowEntry,
    Output,
    PopMpls,
    Purpose,
    PushMpls,
    SetField,
    SetMplsTtl,
    SetQueue,
    Table,
    ToGroup,
    is_ours,
    purpose_and_subject,
    without_digest,
)

TABLES = [PORTS, CLASSIFY, FORWARD, LISTENER, SWITCH_PORTS, SWITCH_FORWARD]
ACTIONS = [PushMpls(), PopMpls(ETH_IPV4), SetMplsTtl(64), SetQueue(1), Output(10), ToGroup(1)]
FIELDS = frozenset[str]().union(*(table.matches for table in TABLES)) | {"metadata", "ip_ecn"}
subjects = st.integers(0, (1 << 20) - 1)
purposes = st.sampled_from(Purpose)


def entry(table: Table = FORWARD, **changes: Any) -> FlowEntry:
    values: dict[str, Any] = {"priority": 1, "match": {}, "purpose": Purpose.FORWARDING}
    return FlowEntry(table, **values | changes)


@pytest.mark.parametrize("table", TABLES, ids=[f"{table.name}{table.number}" for table in TABLES])
@pytest.mark.parametrize("field", sorted(FIELDS))
def test_a_field_that_the_table_does_not_declare(table: Table, field: str) -> None:
    if field in table.matches:
        return
    with pytest.raises(ContradictionError, match=f"table {table.name} matches a field that the table does not declare"):
        entry(table, match={field: 1})


@pytest.mark.parametrize("table", TABLES, ids=[f"{table.name}{table.number}" for table in TABLES])
@pytest.mark.parametrize("action", ACTIONS, ids=[type(action).__name__ for action in ACTIONS])
def test_an_action_is_possible_where_the_table_declares_it(table: Table, action: Any) -> None:
    if type(action) in table.actions:
        assert entry(table, actions=(action,)).actions == (action,)
        return
    with pytest.raises(ContradictionError, match="has an action that the table does not declare"):
        entry(table, actions=(action,))


@pytest.mark.parametrize(("table", "field"), [(CLASSIFY, "eth_src"), (FORWARD, "ip_dscp"), (LISTENER, "mpls_label")])
def test_a_field_is_set_where_the_table_declares_it(table: Table, field: str) -> None:
    assert entry(CLASSIFY, actions=(SetField("ip_dscp", 1),)).actions
    with pytest.raises(ContradictionError, match="has an action that the table does not declare"):
        entry(table, actions=(SetField(field, 1),))


@pytest.mark.parametrize("table", TABLES, ids=[f"{table.name}{table.number}" for table in TABLES])
def test_a_flow_goes_on_to_a_declared_table_only(table: Table) -> None:
    for goto in TABLES:
        if goto in table.next_tables:
            assert entry(table, goto=goto).goto is goto
        else:
            with pytest.raises(ContradictionError, match="goes to a table out of order"):
                entry(table, goto=goto)


@pytest.mark.parametrize("table", TABLES)
def test_tables_come_one_after_the_other(table: Table) -> None:
    assert all(next_table.number > table.number for next_table in table.next_tables)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (PORTS, {"arp_sha": "02:00:00:00:00:01"}),
        (PORTS, {"arp_spa": "10.0.0.1", "eth_type": ETH_IPV4}),
        (PORTS, {"mpls_bos": 0, "eth_type": ETH_IPV4}),
        (CLASSIFY, {"ipv4_src": "10.0.0.1"}),
        (CLASSIFY, {"ipv4_src": "10.0.0.1", "eth_type": ETH_IPV6}),
        (CLASSIFY, {"ipv6_dst": "fd00::1", "eth_type": ETH_IPV4}),
        (CLASSIFY, {"ip_proto": 17, "eth_type": ETH_ARP}),
        (CLASSIFY, {"udp_dst": 7000, "eth_type": ETH_IPV4}),
        (CLASSIFY, {"udp_dst": 7000, "eth_type": ETH_IPV4, "ip_proto": 6}),
        (CLASSIFY, {"tcp_src": 80, "eth_type": ETH_IPV6, "ip_proto": 17}),
        (LISTENER, {"mpls_label": 17}),
        (SWITCH_FORWARD, {"mpls_tc": 5}),
    ],
)
def test_a_field_needs_what_gives_it_a_meaning(table: Table, match: dict[str, Any]) -> None:
    with pytest.raises(ContradictionError, match="matches a field without its prerequisite"):
        entry(table, match=match)


def test_a_contradiction_names_the_flow() -> None:
    with pytest.raises(ContradictionError, match=r"match \{'eth_type': 2048\}, actions \(Output\(port=3\),\)"):
        entry(FORWARD, match={"eth_type": ETH_IPV4}, actions=(Output(3),))


# Cookies


@given(purposes, subjects)
def test_a_cookie_tells_purpose_and_subject(purpose: Purpose, subject: int) -> None:
    cookie = entry(purpose=purpose, subject=subject).cookie
    assert is_ours(cookie)
    assert cookie < 1 << 64
    assert purpose_and_subject(cookie) == (purpose, 0 if purpose is Purpose.FORWARDING else subject)


@given(st.integers(0, (1 << 64) - 1))
def test_only_what_bears_our_mark_is_ours(cookie: int) -> None:
    assert is_ours(cookie) == (cookie >> 48 == COOKIE_MARK >> 48)


def test_a_purpose_of_another_version_is_not_known() -> None:
    with pytest.raises(ValueError, match="255 is not a valid Purpose"):
        purpose_and_subject(COOKIE_MARK | 0xFF << 40)


def test_flows_that_differ_have_other_cookies_however_many_there_are() -> None:
    """Of these, some 400 would meet if digests had 20 bits."""
    flows = [entry(FORWARD, match={"in_port": number}) for number in range(30_000)]
    assert len({flow.cookie for flow in flows}) == len(flows)


@given(purposes, subjects)
def test_what_takes_the_place_of_a_flow_is_for_the_same(purpose: Purpose, subject: int) -> None:
    one, other = (entry(purpose=purpose, subject=subject, priority=priority).cookie for priority in (1, 2))
    assert one != other
    assert without_digest(one) == without_digest(other)
    assert purpose_and_subject(without_digest(one)) == purpose_and_subject(one)


def test_a_cookie_changes_with_anything_in_its_flow() -> None:
    match = {"eth_type": ETH_IPV4, "ip_proto": 17}
    flow = FlowEntry(CLASSIFY, 5, match, Purpose.TALKER, 17, (SetQueue(1), Output(10)), FORWARD)
    changed = [
        replace(flow, table=PORTS, actions=(), goto=FORWARD),
        replace(flow, priority=6),
        replace(flow, match={**match, "ip_proto": 6}),
        replace(flow, match={**match, "udp_dst": 7000}),
        replace(flow, match={"eth_type": ETH_IPV4}),
        replace(flow, purpose=Purpose.FORWARDING),
        replace(flow, subject=18),
        replace(flow, actions=(SetQueue(2), Output(10))),
        replace(flow, actions=(Output(10), SetQueue(1))),
        replace(flow, actions=(SetQueue(1),)),
        replace(flow, goto=None),
    ]
    assert len({each.cookie for each in [flow, *changed]}) == 1 + len(changed)


def test_a_cookie_is_the_same_however_its_match_is_ordered_and_in_every_run() -> None:
    match = {"eth_type": ETH_MPLS, "mpls_label": 17, "mpls_bos": 1}
    backwards = dict(reversed(match.items()))
    assert entry(LISTENER, match=match).cookie == entry(LISTENER, match=backwards).cookie == 0x525401BEC42D9215


@pytest.mark.parametrize("scheduler", Scheduler)
def test_what_drops_says_so_and_nothing_else_does(scheduler: Scheduler) -> None:
    for network in all_networks(scheduler).values():
        flows: list[Entry] = []
        for each in network.channels.values():
            if network.is_scheduled(each):
                flows += [*talker_entries(network, each), *listener_entries(network, each)]
        for name in network.hypervisors:
            for bridge in network.bridges_of(name):
                flows += base_entries(network, bridge)
        for flow in flows:
            if isinstance(flow, FlowEntry):
                assert flow.purpose.is_drop == (not flow.actions and flow.goto is None)
