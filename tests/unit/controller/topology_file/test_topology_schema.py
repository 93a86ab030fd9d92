"""The JSON Schema for editors agrees with the loader: valid files pass, slips are marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from controller.topology_file.schema import json_schema, validate

EXAMPLES = sorted((Path(__file__).parents[4] / "topologies").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def with_part(section: str, value: str) -> dict[str, Any]:
    return {"version": 1, "hypervisors": {"left": {"uplink": "100Mbps"}}} | {section: yaml.safe_load(value)}


def test_is_a_json_schema_of_its_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(json.dumps(json_schema())))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_takes_the_examples(file: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("hypervisors", "{left: {uplink: {rate: 1.5 Gbps}}}"),
        ("hypervisors", "{left: {uplink: {rate: 1Gbps, be_slack: auto, limit: 2Mbps}, allowance: 0us}}"),
        ("hypervisors", "{left: {uplink: {rate: 1Gbps, be_slack: 500us, scheduler: queues}}}"),
        ("switches", "{core: {kind: ovs}}"),
        ("links", "[[core, edge], [core, spare, 1Gbps]]"),
        ("classes", "{x: {queue: 7, dscp: 10, up_to: 5ms, limit: 2Mbps}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, packet: 160B, excess: drop}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, late: keep, on_bypass: block}}"),
        ("vms", "{a: {hypervisor: left, ip: [10.0.0.1, 'fd00::1/64'], mac: '02:00:00:00:00:AB'}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, on_miss: [log, pager]}}"),
        ("handlers", "{pager: {exec: [/bin/true, --queue], user: root, every: 10s, timeout: 500ms}}"),
        ("handlers", "{board: {webhook: 'https://example.org/misses', secret: /etc/rtvnic/board.secret}}"),
    ],
)
def test_takes(section: str, value: str) -> None:
    VALIDATOR.validate(with_part(section, value))


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("colour", "red"),
        ("version", "2"),
        ("hypervisors", "{}"),
        ("hypervisors", "{Left: {uplink: 1Gbps}}"),
        ("hypervisors", "{much-longer: {uplink: 1Gbps}}"),
        ("hypervisors", "{left: {uplink: 5}}"),
        ("hypervisors", "{left: {uplink: 5MBps}}"),
        ("hypervisors", "{left: {}}"),
        ("switches", "{core: bridge}"),
        ("hypervisors", "{left: {uplink: {rate: 1Gbps, be_slack: automatic}}}"),
        ("hypervisors", "{left: {uplink: {rate: 1Gbps, be_slack: 5}}}"),
        ("hypervisors", "{left: {uplink: {rate: 1Gbps, limit: 5ms}}}"),
        ("hypervisors", "{left: {uplink: 1Gbps, allowance: auto}}"),
        ("links", "[[core]]"),
        ("links", "[[core, edge, fast]]"),
        ("links", "[[core, edge, 5ms]]"),
        ("links", "[[core, edge, 1Gbps, 1Gbps]]"),
        ("links", "[[core, 1]]"),
        ("vms", "{a: {hypervisor: left, ip: nowhere}}"),
        ("classes", "{x: {queue: 8, dscp: 10, up_to: 5ms}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5, min_rate: 2Mbps}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, src_port: 70000}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, on_miss: 5}}"),
        ("handlers", "{Pager: {exec: [/bin/true]}}"),
        ("handlers", "{pager: {exec: /bin/true}}"),
        ("handlers", "{pager: {exec: [bin/true]}}"),
        ("handlers", "{pager: {exec: []}}"),
        ("handlers", "{pager: {exec: [/bin/true], user: 'a user'}}"),
        ("handlers", "{pager: {exec: [/bin/true], every: 5}}"),
        ("handlers", "{board: {webhook: 'ftp://127.0.0.1/', secret: /s}}"),
        ("handlers", "{board: {webhook: 'https://example.org/', secret: s}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, packet: 160}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, excess: keep}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, late: pass}}"),
        ("channels", "{c: {from: a, to: b, deadline: 5ms, min_rate: 2Mbps, on_bypass: drop}}"),
    ],
)
def test_marks(section: str, value: str) -> None:
    assert not VALIDATOR.is_valid(with_part(section, value))


def test_every_key_is_described() -> None:
    schema = json_schema()
    forms = [schema, *schema["$defs"].values()]
    undescribed = [key for form in forms for key, part in form["properties"].items() if "description" not in part]
    assert undescribed == []


@pytest.mark.parametrize(
    ("section", "entry", "most"),
    [
        ("hypervisors", {"uplink": "1Gbps"}, 64),
        ("switches", "plain", 64),
        ("links", None, 1024),
        ("vms", {"hypervisor": "left", "ip": "10.0.0.1"}, 1024),
        ("hosts", {"ip": "10.0.0.1"}, 1024),
        ("classes", {"queue": 1, "dscp": 1, "up_to": "5ms"}, 7),
        ("handlers", {"exec": ["/bin/true"]}, 16),
        ("channels", {"from": "a", "to": "b", "deadline": "5ms", "min_rate": "1kbps"}, 10_000),
    ],
)
def test_a_section_with_too_many_entries_says_so(section: str, entry: Any, most: int) -> None:
    for count, messages in ((most, []), (most + 1, [f"{most + 1} entries; at most {most}"])):
        entries = [["a", "b"]] * count if section == "links" else {f"n{number}": entry for number in range(count)}
        _, findings = validate({"version": 1, "hypervisors": {}, section: entries})
        assert [finding.message for finding in findings] == messages
