"""The form of a topology file (version 1) as pydantic models, and the JSON Schema that they publish for editors.

Each model knows one entry on its own; what entries must be to each other is in `rules`. Short forms are turned into
long ones before validation. `validate` puts pydantic's verdict into the user's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from controller.model import (
    AUTO_SLACK_NS,
    CHANNELS_MAX,
    FULL_LABELLED_FRAME_BYTES,
    SHORTEST_DEADLINE_NS,
    UDP_BYTES,
    VM_MTU,
    Bypass,
    Excess,
    IpInterface,
    Late,
    Protocol,
    Scheduler,
    SwitchKind,
)
from controller.network.labels import MAX_DEADLINE_NS
from controller.topology_file import fields, handler_fields
from controller.topology_file.fields import choice, quantity, shown, suggestion, whole_number
from controller.topology_file.source import Finding, Place
from controller.units import DURATION, NS_PER_MS, NS_PER_S, RATE, SIZE

ADDRESSES_MAX = 16
HANDLERS_MAX = 16
LEAST_PERIOD_NS, LONGEST_PERIOD_NS = 100 * NS_PER_MS, 3600 * NS_PER_S
SHORTEST_TIMEOUT_NS, LONGEST_TIMEOUT_NS = 100 * NS_PER_MS, 60 * NS_PER_S


_LINK_RATE = quantity(RATE, 10**6, 10**11)
_SLACK = quantity(DURATION, 0, MAX_DEADLINE_NS)


def _slack(value: Any) -> int:
    return AUTO_SLACK_NS if value == "auto" else _SLACK.read(value)


def _rate_alone(value: Any) -> Any:
    return {"rate": value} if isinstance(value, str | int) else value


def _kind_alone(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str | int) else value


def _one_alone(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _link(value: Any) -> tuple[str, str, int | None]:
    if not isinstance(value, list) or len(value) not in (2, 3) or not all(isinstance(part, str) for part in value):
        raise ValueError("a link joins two switches; write it as [core, edge] or [core, edge, 1Gbps]")
    return value[0], value[1], None if len(value) == 2 else _LINK_RATE.read(value[2])


_LINK_SCHEMA = {
    "type": "array",
    "prefixItems": [{"type": "string"}, {"type": "string"}, _LINK_RATE.schema],
    "minItems": 2,
    "maxItems": 3,
}

Deadline = Annotated[int, quantity(DURATION, SHORTEST_DEADLINE_NS, MAX_DEADLINE_NS)]
UplinkRate = Annotated[int, _LINK_RATE]
Limit = Annotated[int | None, quantity(RATE, 1000, 10**11)]
Port = Annotated[int | None, whole_number(1, 65535)]
Reference = Annotated[str, fields.REFERENCE]
OptionalReference = Annotated[str | None, fields.REFERENCE]
OptionalInterface = Annotated[str | None, fields.INTERFACE_NAME]
Address = Annotated[IpInterface, fields.IP_INTERFACE]
Addresses = Annotated[
    list[Address],
    Field(min_length=1, max_length=ADDRESSES_MAX),
    BeforeValidator(_one_alone, json_schema_input_type=Address | list[Address]),
]
Kind = Annotated[SwitchKind, choice(list(SwitchKind))]
LinkForm = Annotated[
    tuple[str, str, int | None],
    fields.Value(_link, _LINK_SCHEMA),
]
NodeName = Annotated[str, fields.NODE_NAME]
ClassName = Annotated[str, fields.CLASS_NAME]
ChannelName = Annotated[str, fields.CHANNEL_NAME]
HandlerName = Annotated[str, fields.HANDLER_NAME]


class Form(BaseModel):
    """Base of all entries: no key but the declared ones. `example` completes error messages."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, model_title_generator=lambda form: form.__name__.removesuffix("Form")
    )
    example: ClassVar[str]


class UplinkForm(Form):
    """The link from a hypervisor to the network. Short form: its rate alone."""

    example = "{rate: 100Mbps}"
    rate: UplinkRate = Field(description="What the link carries, such as 100Mbps. 1Mbps to 100Gbps.")
    be_slack: Annotated[int, fields.Value(_slack, {"anyOf": [_SLACK.schema, {"const": "auto"}]})] = Field(
        "2ms",
        validate_default=True,
        description="Best effort goes first while every waiting real-time packet has at least this much time left. "
        "auto: the least with which all deadlines are kept.",
    )
    limit: Limit = Field(None, description="What all channels together may ask for, counted on the wire.")
    switch: OptionalReference = Field(None, description="The switch at the other end. Default: the only switch.")
    scheduler: Annotated[Scheduler, choice(list(Scheduler))] = Field(
        "edf",
        validate_default=True,
        description="edf: earliest deadline first, by a shim. queues: by the class queues alone. fifo: one queue, for "
        "comparison.",
    )
    interface: OptionalInterface = Field(
        None, description="The interface of the link. Default: the hypervisor's name followed by -up."
    )


ShortUplink = Annotated[UplinkForm, BeforeValidator(_rate_alone, json_schema_input_type=UplinkRate | UplinkForm)]


class ControllerForm(Form):
    """Where the controller of a hypervisor listens."""

    example = "{address: 127.0.0.1}"
    address: Annotated[str, fields.LISTEN_ADDRESS] = Field("127.0.0.1", description="The IP address to listen on.")
    openflow_port: Port = Field(None, description="Default: 6653 for the first hypervisor, 6654 for the second, ...")
    rest_port: Port = Field(None, description="Default: 8181 for the first hypervisor, 8182 for the second, ...")
    peering_port: Port = Field(
        None, description="For other controllers. Default: 6753 for the first hypervisor, 6754 for the second, ..."
    )


class HypervisorForm(Form):
    """A physical machine: an Open vSwitch bridge, an uplink and a controller."""

    example = "{uplink: 100Mbps}"
    uplink: ShortUplink = Field(description="The link to the network; or its rate alone.")
    controller: ControllerForm = Field({}, validate_default=True, description="Where its controller listens.")
    allowance: Annotated[int, quantity(DURATION, 0, MAX_DEADLINE_NS)] = Field(
        "200us",
        validate_default=True,
        description="What the machine itself takes of a deadline. `rtvnic doctor --calibrate` measures it.",
    )


class SwitchForm(Form):
    """A switch between hypervisors. Short form: its kind alone."""

    example = "{kind: plain}"
    kind: Kind = Field(description="plain: an ordinary L2 switch. ovs: Open vSwitch, programmed by a controller.")
    controlled_by: OptionalReference = Field(
        None, description="The hypervisor whose controller programs an ovs switch. Default: the first one."
    )


ShortSwitch = Annotated[SwitchForm, BeforeValidator(_kind_alone, json_schema_input_type=Kind | SwitchForm)]


class QuotaForm(Form):
    """What a VM may ask for by itself, from inside."""

    example = "{channels: 4, rate: 10Mbps}"
    channels: Annotated[int, whole_number(1, 256)] = Field(description="So many channels at a time.")
    rate: Annotated[int, quantity(RATE, 1000, 10**11)] = Field(
        description="What they together may ask for, counted on the wire."
    )
    burst: Annotated[int, quantity(SIZE, FULL_LABELLED_FRAME_BYTES, 1 << 24)] = Field(
        "64kB", validate_default=True, description="What they together may send at once, counted on the wire."
    )
    deadline: Deadline = Field("1ms", validate_default=True, description="None of them has a shorter one.")


class VmForm(Form):
    """A virtual machine with one network interface."""

    example = "{hypervisor: left, ip: 10.0.0.1}"
    hypervisor: Reference = Field(description="The hypervisor that it runs on.")
    ip: Addresses = Field(description="Its IP address or addresses. Default prefix: /24 for IPv4, /64 for IPv6.")
    mac: Annotated[str | None, fields.MAC] = Field(
        None, description="Its MAC address. Default: 02:00:00:00:00:01 for the first VM, then counting up."
    )
    interface: OptionalInterface = Field(
        None, description="Its port on the hypervisor's bridge. Default: its name followed by -port."
    )
    quota: QuotaForm | None = Field(None, description="What it may ask for by itself, from inside. Default: nothing.")


class HostForm(Form):
    """A machine at a switch, without Open vSwitch: it listens to channels, their labels taken off before it."""

    example = "{switch: core, ip: 10.0.0.9}"
    switch: OptionalReference = Field(None, description="The switch that it is at. Default: the only switch.")
    ip: Addresses = Field(description="Its IP address or addresses. Default prefix: /24 for IPv4, /64 for IPv6.")
    mac: Annotated[str | None, fields.MAC] = Field(
        None, description="Its MAC address. Default: 02:00:00:01:00:01 for the first host, then counting up."
    )
    rate: Annotated[int | None, quantity(RATE, 10**6, 10**11)] = Field(
        None, description="What its link carries. Default: as much as the fastest uplink."
    )


class ClassForm(Form):
    """A deadline class: all its channels share one queue, one MPLS traffic class and one DSCP."""

    example = "{queue: 6, dscp: 46, up_to: 4ms}"
    queue: Annotated[int, whole_number(1, 7)] = Field(description="OVS queue and MPLS traffic class; 7 is most urgent.")
    dscp: Annotated[int, whole_number(1, 63)] = Field(description="DSCP of its packets, for the network's own QoS.")
    up_to: Deadline = Field(description="The longest deadline that it takes; it begins where the class below ends.")
    limit: Limit = Field(None, description="What its channels together may ask of a link, counted on the wire.")


class ChannelForm(Form):
    """A real-time channel, one direction, from one VM to another."""

    example = "{from: camera, to: screen, deadline: 5ms, min_rate: 2Mbps}"
    talker: Reference = Field(alias="from", description="The VM that sends.")
    listener: Reference = Field(alias="to", description="The VM or host that receives.")
    deadline: Deadline = Field(description="By when a packet arrives, from when it was sent. 200us to 5s.")
    min_rate: Annotated[int, quantity(RATE, 1000, 10**11)] = Field(description="The rate that it is assured of.")
    burst: Annotated[int | None, quantity(SIZE, 64, 1 << 24)] = Field(
        None,
        description="What it may send at once, counted on the wire. Default: 1 ms at min_rate; at least 2 full frames.",
    )
    packet: Annotated[int | None, quantity(SIZE, 1, VM_MTU - UDP_BYTES[4])] = Field(
        None,
        description="The payload of its packets. Smaller ones take more of the link. Default: what fills a packet.",
    )
    excess: Annotated[Excess, choice(list(Excess))] = Field(
        "postpone",
        validate_default=True,
        description="Packets beyond min_rate and burst. postpone: due later. drop: dropped, as behind class queues.",
    )
    late: Annotated[Late, choice(list(Late))] = Field(
        "demote",
        validate_default=True,
        description="Packets that can no longer be on time. demote: give way to those that can. drop. keep: as before.",
    )
    on_bypass: Annotated[Bypass, choice(list(Bypass))] = Field(
        "pass",
        validate_default=True,
        description="While the shim does not work. pass: by the class queues, without a guarantee. block: dropped.",
    )
    protocol: Annotated[Protocol | None, choice(list(Protocol))] = Field(
        None, description="Only packets of this protocol. Default: all."
    )
    src_port: Port = Field(None, description="Only packets from this port; needs protocol.")
    dst_port: Port = Field(None, description="Only packets to this port; needs protocol.")
    ip_version: Annotated[int | None, choice([4, 6])] = Field(
        None, description="Which addresses of the VMs to use. Default: the first ones in a common network."
    )
    on_miss: Annotated[
        list[Reference],
        Field(max_length=HANDLERS_MAX),
        BeforeValidator(_one_alone, json_schema_input_type=Reference | list[Reference]),
    ] = Field(
        "log",
        validate_default=True,
        description="What a miss starts: log, guest, adapt, or names of handlers that the file declares.",
    )


class HandlerForm(Form):
    """What misses may start, at the talker's controller: a program or a webhook."""

    example = "{exec: [/usr/local/bin/page, --queue, rt]}"
    exec: Annotated[tuple[str, ...] | None, handler_fields.WORDS] = Field(
        None, description="A program, by its whole path, and its arguments. The environment tells it of the misses."
    )
    user: Annotated[str | None, handler_fields.USER] = Field(
        None, description="Who runs the program. Default: nobody, who may do little."
    )
    webhook: Annotated[str | None, handler_fields.URL] = Field(
        None, description="A URL that is told of the misses by POST: https, or http to this machine's loopback."
    )
    secret: Annotated[str | None, handler_fields.FILE] = Field(
        None, description="The file with the webhook's secret, by its whole path; private, read anew each time."
    )
    every: Annotated[int, quantity(DURATION, LEAST_PERIOD_NS, LONGEST_PERIOD_NS)] = Field(
        "1s",
        validate_default=True,
        description="Of one channel's misses it starts once in so long; those meanwhile are summed up. 100ms to 1h.",
    )
    timeout: Annotated[int, quantity(DURATION, SHORTEST_TIMEOUT_NS, LONGEST_TIMEOUT_NS)] = Field(
        "2s",
        validate_default=True,
        description="After so long a program is killed, and a try of a webhook is given up. 100ms to 60s.",
    )

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> HandlerForm:
        if (self.exec is None) == (self.webhook is None):
            raise ValueError("a handler has either 'exec' or 'webhook'; write one of them")
        if self.exec is None and self.user is not None:
            raise ValueError("'user' is of a program; remove it, for a webhook runs none")
        if (self.webhook is None) != (self.secret is None):
            raise ValueError("'webhook' and 'secret' go together; add the other one: a delivery is always signed")
        return self


def _section(default: Any, at_most: int, description: str, **more: Any) -> Any:
    """A field of names and their entries; in an editor, no key but a valid name is accepted."""
    extra = {"additionalProperties": False, **more}
    return Field(default, validate_default=True, max_length=at_most, description=description, json_schema_extra=extra)


class File(Form):
    """A network with real-time channels: hypervisors, the switches between them, virtual machines and channels."""

    example = "{version: 1, hypervisors: {left: {uplink: 100Mbps}}}"
    version: Annotated[int, choice([1])] = Field(description="The version of this form: 1.")
    hypervisors: dict[NodeName, HypervisorForm] = _section(..., 64, "The physical machines, by name.", minProperties=1)
    switches: dict[NodeName, ShortSwitch] = _section(
        {"core": "plain"}, 64, "The switches between hypervisors, by name."
    )
    links: list[LinkForm] = Field([], max_length=1024, description="Cables between two switches each.")
    vms: dict[NodeName, VmForm] = _section({}, 1024, "The virtual machines, by name.")
    hosts: dict[NodeName, HostForm] = _section({}, 1024, "The machines at switches, by name.")
    classes: dict[ClassName, ClassForm] = _section({}, 7, "The deadline classes. Default: 7 of them, from 2ms to 5s.")
    channels: dict[ChannelName, ChannelForm] = _section({}, CHANNELS_MAX, "The real-time channels, by name.")
    handlers: dict[HandlerName, HandlerForm] = _section(
        {}, HANDLERS_MAX, "What misses may start, by the name that channels give in on_miss."
    )
    tls: Annotated[str | None, fields.DIRECTORY] = Field(
        None,
        description="The directory of the certificates, seen from this file; `rtvnic pki` makes them. OpenFlow then "
        "uses TLS, and each switch must prove which one it is. Without it controllers listen on this machine only.",
    )


_FORMS: Mapping[Place, type[Form]] = {
    (): File,
    ("hypervisors", "*"): HypervisorForm,
    ("hypervisors", "*", "uplink"): UplinkForm,
    ("hypervisors", "*", "controller"): ControllerForm,
    ("switches", "*"): SwitchForm,
    ("vms", "*"): VmForm,
    ("vms", "*", "quota"): QuotaForm,
    ("hosts", "*"): HostForm,
    ("classes", "*"): ClassForm,
    ("handlers", "*"): HandlerForm,
    ("channels", "*"): ChannelForm,
}


def validate(data: Mapping[str, Any]) -> tuple[File, list[Finding]]:
    """The valid entries of `data`, and what is wrong with the others."""
    try:
        return File.model_validate(data), []
    except ValidationError as error:
        findings = [_finding(details) for details in error.errors()]
    invalid = {finding.place[:2] for finding in findings}
    return File.model_validate(_without(data, invalid)), findings


def _without(data: Mapping[str, Any], invalid: set[Place]) -> dict[str, Any]:
    """`data` without the entries at `invalid`. The links go all together, so that the others keep their places."""
    kept: dict[str, Any] = {"version": 1, "hypervisors": {}}
    for section in File.model_fields.keys() & data.keys() - {"version"}:
        entries = data[section]
        if (section,) in invalid:
            continue
        if isinstance(entries, dict):
            kept[section] = {name: entry for name, entry in entries.items() if (section, name) not in invalid}
        elif not any(place[0] == section for place in invalid if place):
            kept[section] = entries
    return kept


def _finding(details: ErrorDetails) -> Finding:
    """One pydantic error in the user's words."""
    place, kind = details["loc"], details["type"]
    if kind == "missing":
        return Finding(place, f"'{place[-1]}' is missing; example: {_form(place[:-1]).example}")
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in _form(place[:-1]).model_fields.items()]
        return Finding(place, f"'{place[-1]}' is not a key here; {suggestion(str(place[-1]), known)}", at_key=True)
    if place[-1] == "[key]":
        return Finding(place[:-1], _message(details), at_key=True)
    return Finding(place, _message(details))


def _message(details: ErrorDetails) -> str:
    found, place, context = shown(details["input"]), details["loc"], details.get("ctx", {})
    match details["type"]:
        case "value_error":
            return str(context["error"])
        case "too_long":
            return f"{len(details['input'])} entries; at most {context['max_length']}"
        case "too_short":
            return "the list is empty; write at least one entry"
        case "dict_type":
            return f"found {found} where names are expected; write one 'name: ...' a line{_or_remove(place)}"
        case "list_type":
            return f"found {found} where a list is expected; write one '- [core, edge]' a line{_or_remove(place)}"
        case _:
            return f"found {found} where keys are expected; example: {_form(place).example}"


def _or_remove(section: Place) -> str:
    required = File.model_fields[str(section[0])].is_required()
    return "" if required else f", or remove '{section[0]}'"


def _form(place: Place) -> type[Form]:
    return _FORMS[tuple("*" if index == 1 else part for index, part in enumerate(place))]


class _SchemaWriter(GenerateJsonSchema):
    """Leaves out what tells an editor nothing: titles made from keys, and defaults that are none."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        has_default = schema.get("default") is not None
        return super().default_schema(schema) if has_default else self.generate_inner(schema["schema"])


def json_schema() -> dict[str, Any]:
    """The JSON Schema of topology files, for editors and other tools."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:rtvnic:topology:1",
        "$comment": "Save this as topology.schema.json beside a topology file, whose first line then reads: "
        "# yaml-language-server: $schema=topology.schema.json",
        **File.model_json_schema(by_alias=True, schema_generator=_SchemaWriter),
        "title": "RTvNIC topology file",
    }


def channel_schema() -> dict[str, Any]:
    """The JSON Schema of one channel's entry."""
    return ChannelForm.model_json_schema(by_alias=True, schema_generator=_SchemaWriter)
