"""`rtvnic export`: a topology file with the channels that a running network has, save those that guests have opened."""

from __future__ import annotations

import argparse
from pathlib import Path

from rtvnic.apply import store_arguments
from rtvnic.connection import CERTIFICATE


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print FILE with the channels of the channel store in place of its own: a backup, which can be applied."
    )
    parser.epilog = "Exit code: 0 if it is printed, 1 if FILE is invalid, 2 without a store."
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="the topology file (YAML) that the network was started with"
    )
    store_arguments(parser)


def run(args: argparse.Namespace) -> int:
    import yaml

    from controller.store.client import Store
    from controller.store.records import Owner
    from controller.store.remotes import tls_files
    from controller.topology_file.entry import entry_of
    from controller.topology_file.load import load
    from controller.topology_file.source import read

    network = load(args.file)
    tls = tls_files(network.tls_directory, CERTIFICATE) if network.tls_directory else None
    with Store(args.store, network.classes, tls) as store:
        records = store.read().records
    declared = read(args.file.read_bytes(), str(args.file)).data
    lasting = {name: record for name, record in records.items() if record.owner is not Owner.GUEST}
    channels = {name: entry_of(record.channel) for name, record in lasting.items()}
    print(yaml.safe_dump({**declared, "channels": channels}, sort_keys=False, allow_unicode=True, width=120), end="")
    return 0
