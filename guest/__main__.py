"""The program `rtvnic-guest`, also `python -m guest`: real-time channels from a VM's command line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address

from guest import verbs
from guest.errors import GuestError, Invalid
from guest.messages import SERVICE_PORT, IpAddress
from guest.units import DURATION, LEASE, RATE, SIZE, Quantity

PORT_MAX = 65535
CHANNEL_ID_MAX = 2**32 - 1
EPILOG = """\
  rtvnic-guest open 10.0.0.2:5000 --protocol udp --deadline 5ms --rate 2Mbps
  rtvnic-guest run 10.0.0.2:5000 --protocol udp --deadline 5ms --rate 2Mbps -- ./camera 10.0.0.2
  rtvnic-guest list
  rtvnic-guest change 17 --deadline 4ms

Exit code: 0, 1 if the controller says no, 2 if nobody answers or was asked, 70 for a defect; of run: the program's.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line. Returns the exit code: 0 fine, 1 the answer is no, 2 could not ask, 70 a defect of ours."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(args.run(args))
    except GuestError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0 if args.ends_by_interrupt else 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # Python's own exit code would be 1, which is an answer
        traceback.print_exc()
        return os.EX_SOFTWARE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtvnic-guest",
        description="Ask this VM's hypervisor for real-time channels.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    parser.set_defaults(ends_by_interrupt=False)
    words = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (summary, arguments) in _VERBS.items():
        arguments(words.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + "."))
    return parser


def _open_arguments(parser: argparse.ArgumentParser) -> None:
    _contract_arguments(parser)
    parser.add_argument("--once", action="store_true", help="do not keep it: it lasts for its lease")
    _common_arguments(parser)
    parser.set_defaults(run=verbs.open_channel, ends_by_interrupt=True)


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _contract_arguments(parser)
    parser.add_argument("--signal", choices=verbs.REAL_TIME_SIGNALS, metavar="RTMIN+N",
        help="send it to the program at misses, with channel and lateness as its value (rtvnic_guest.h)")  # fmt: skip
    _service_arguments(parser)
    parser.add_argument("program", nargs="+", metavar="PROGRAM", help="the program and its arguments, after --")
    parser.set_defaults(run=verbs.run_program)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _common_arguments(parser)
    parser.set_defaults(run=verbs.list_channels)


def _change_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=_channel_id, metavar="ID", help=_ID)
    parser.add_argument("--deadline", type=_deadline, default=0, metavar="TIME", help="what is not said stays")
    parser.add_argument("--rate", type=_rate, default=0, metavar="RATE")
    _size_arguments(parser)
    _common_arguments(parser)
    parser.set_defaults(run=verbs.change_channel)


def _close_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=_channel_id, metavar="ID", help=_ID)
    _common_arguments(parser)
    parser.set_defaults(run=verbs.close_channel)


def _watch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=_channel_id, nargs="?", default=0, metavar="ID", help=f"{_ID} (default: all)")
    _lease_argument(parser)
    _common_arguments(parser)
    parser.set_defaults(run=verbs.watch, ends_by_interrupt=True)


def _contract_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", type=_destination, metavar="DEST[:PORT]",
        help="where the packets go: 10.0.0.2, 10.0.0.2:5000, [fd00::2]:5000")  # fmt: skip
    parser.add_argument("--deadline", type=_deadline, required=True, metavar="TIME",
        help="how long a packet may take: 5ms")  # fmt: skip
    parser.add_argument("--rate", type=_rate, required=True, metavar="RATE", help="what is sent on average: 2Mbps")
    parser.add_argument("--protocol", choices=verbs.PROTOCOL_NUMBERS, default="any",
        help="only packets of this protocol; ports need it")  # fmt: skip
    parser.add_argument("--src-port", type=_port, default=0, metavar="PORT", help="only packets from this port")
    _size_arguments(parser)
    _lease_argument(parser)


def _size_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--burst", type=_size, default=0, metavar="SIZE", help="what may be sent at once: 8kB")
    parser.add_argument("--packet", type=_size, default=0, metavar="SIZE", help="the payload of the packets: 1200B")


def _lease_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lease", type=_lease, default="30s", metavar="TIME",
        help="how long the controller goes on when this VM is silent (default: %(default)s)")  # fmt: skip


def _service_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--interface", metavar="NAME", help="the interface to the hypervisor, where it is not plain")
    parser.add_argument("--service", type=_service, metavar="ADDRESS[:PORT]", help="another address of the service")


def _common_arguments(parser: argparse.ArgumentParser) -> None:
    _service_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print objects of JSON, one a line")


def _destination(text: str) -> tuple[IpAddress, int]:
    """Address, and port or 0. Its ValueErrors argparse shows as an invalid value."""
    host, port = text, "0"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "0"
    elif text.count(":") == 1:
        host, port = text.split(":")
    try:
        return ip_address(host), _port(port)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no address; write 10.0.0.2:5000 or [fd00::2]:5000") from None


def _service(text: str) -> tuple[IpAddress, int]:
    address, port = _destination(text)
    return address, port or SERVICE_PORT


def _port(text: str) -> int:
    if not _is_number(text, PORT_MAX):
        raise argparse.ArgumentTypeError(f"'{text}' is no port; write 1 to {PORT_MAX}")
    return int(text)


def _channel_id(text: str) -> int:
    if not _is_number(text, CHANNEL_ID_MAX):
        raise argparse.ArgumentTypeError(f"'{text}' is no channel; rtvnic-guest list shows their ids")
    return int(text)


def _quantity(of: Quantity, text: str) -> int:
    try:
        return of.parse(text)
    except Invalid as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _is_number(text: str, maximum: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(maximum)) and int(text) <= maximum


_deadline, _rate, _size, _lease = (partial(_quantity, of) for of in (DURATION, RATE, SIZE, LEASE))
_ID = "the channel, as list has it"
_VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "open": ("keep a channel until Ctrl-C, and tell of its misses", _open_arguments),
    "run": ("keep a channel for as long as a program runs", _run_arguments),
    "list": ("print all channels that talk from this VM", _list_arguments),
    "change": ("give a channel another contract", _change_arguments),
    "close": ("end a channel", _close_arguments),
    "watch": ("tell of misses until Ctrl-C", _watch_arguments),
}


if __name__ == "__main__":
    sys.exit(main())
