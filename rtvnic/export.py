"""`rtvnic export`: a topology file with the channels that a running network has, save those that guests have opened.

What REST has made becomes the file's, where it is applied to an empty store.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtvnic.apply import store_arguments, store_tls

LINE_MOST = 4096
"""Wider than any channel."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print FILE with the channels of the channel store in place of its own, save those of guests: a backup, which "
        "can be applied."
    )
    parser.epilog = "Exit code: 0 if it is printed, 1 if FILE is invalid or would become too large, 2 without a store."
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="the topology file (YAML) that the network was started with"
    )
    store_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from controller.errors import AnswerIsNo
    from controller.store.client import Store
    from controller.store.records import Owner
    from controller.topology_file.entry import short_entry_of
    from controller.topology_file.load import load
    from controller.topology_file.source import MAX_BYTES, read

    network = load(args.file, is_admission_asked=False)
    with Store(args.store, network.classes, store_tls(network, args.store)) as store:
        records = store.read().records
    declared = read(args.file.read_bytes(), str(args.file)).data
    lasting = {name: record.channel for name, record in records.items() if record.owner is not Owner.GUEST}
    channels = {name: short_entry_of(channel, network) for name, channel in lasting.items()}
    text = _document({**declared, "channels": channels})
    if (size := len(text.encode())) > MAX_BYTES:
        raise AnswerIsNo(f"a file with these {len(channels)} channels would be too large: {size} bytes, at most 1 MiB")
    print(text, end="")
    return 0


def _document(data: Mapping[str, Any]) -> str:
    """`data` in YAML, each channel on a line of its own."""
    import yaml

    class Line(dict[str, Any]):
        """Written in one line."""

    class Dumper(yaml.SafeDumper):
        """Knows lines."""

    tag = yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG
    Dumper.add_representer(Line, lambda dumper, line: dumper.represent_mapping(tag, line, flow_style=True))
    lines = {name: Line(entry) for name, entry in data["channels"].items()}
    whole = {**data, "channels": lines}
    return str(yaml.dump(whole, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=LINE_MOST))
