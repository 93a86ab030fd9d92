"""What `rtvnic-guest` can do: a function for each verb, from its arguments to an exit code. Raises GuestErrors."""

from __future__ import annotations

import argparse
import os
import queue
import signal
import subprocess
from functools import partial

from guest import signals, text
from guest.channel import Channel, open_and_wait, wait_until_installed
from guest.client import Service
from guest.errors import CannotRun
from guest.keeper import CallUp
from guest.messages import Change, Close, IpAddress, Missed, Open
from guest.route import Way, interface_index, service_way, source_to
from guest.session import Standing

PROTOCOL_NUMBERS = {name: number for number, name in text.PROTOCOLS.items()}
UNTOLD_LEASE_S = 30
"""A lease of which the controller does not say how much is left."""

REAL_TIME_SIGNALS = {f"RTMIN+{n}": signal.SIGRTMIN + n for n in range(signal.SIGRTMAX - signal.SIGRTMIN + 1)}


def open_channel(args: argparse.Namespace) -> int:
    """Keep a channel until Ctrl-C, and tell of its misses; with `--once` leave it to its lease."""
    contract = _contract(args)
    way = _way(args, contract.destination)
    if args.once:
        with Service(way) as service:
            _say(args, Standing.of(open_and_wait(service, contract)))
        return 0
    call_ups: queue.SimpleQueue[Missed] = queue.SimpleQueue()
    with Channel(contract, way, [call_ups.put]) as channel:
        _say(args, channel.standing)
        while True:
            _tell(args, call_ups.get())


def run_program(args: argparse.Namespace) -> int:
    """Keep a channel for as long as a program runs. Its exit code."""
    contract = _contract(args)
    program: list[subprocess.Popen[bytes]] = []
    call_ups: list[CallUp] = [partial(_signal, program, REAL_TIME_SIGNALS[args.signal])] if args.signal else []
    with Channel(contract, _way(args, contract.destination), call_ups):
        program.append(_started(args.program))
        os.waitid(os.P_PID, program[0].pid, os.WEXITED | os.WNOWAIT)
    code = program[0].wait()  # only now that nobody sends signals any more its process id may become another's
    return code if code >= 0 else 128 - code


def list_channels(args: argparse.Namespace) -> int:
    """Print all channels that talk from this VM, those of others too."""
    with Service(_way(args)) as service:
        channels = service.channels()
    lines = [text.line(text.listed_object(each)) for each in channels] if args.json else [text.listed_table(channels)]
    for line in lines:
        print(line)
    return 0


def change_channel(args: argparse.Namespace) -> int:
    """Give a channel another contract, and wait until it is installed."""
    change = Change(args.id, args.burst, args.packet, args.deadline, args.rate)
    with Service(_way(args)) as service:
        answer = service.ask(change)
        _say(args, Standing.of(wait_until_installed(service, answer, answer.lease_s or UNTOLD_LEASE_S)))
    return 0


def close_channel(args: argparse.Namespace) -> int:
    """End a channel."""
    with Service(_way(args)) as service:
        service.ask(Close(args.id))
    print(text.line({"event": "closed", "channel_id": args.id}) if args.json else f"channel {args.id} is closed")
    return 0


def watch(args: argparse.Namespace) -> int:
    """Tell of the misses of all channels of this VM, or of one, until Ctrl-C."""
    with Service(_way(args)) as service:
        for missed in service.misses(args.id, args.lease):
            _tell(args, missed)
    return 0


def _say(args: argparse.Namespace, standing: Standing) -> None:
    print(text.line(text.standing_object(standing)) if args.json else text.standing_text(standing), flush=True)


def _tell(args: argparse.Namespace, missed: Missed) -> None:
    print(text.line(text.missed_object(missed)) if args.json else text.missed_text(missed), flush=True)


def _started(words: list[str]) -> subprocess.Popen[bytes]:
    """The program. Ctrl-C is its own business from now on, and a SIGTERM to us is one to it. Raises CannotRun."""
    try:
        program = subprocess.Popen(words)
    except OSError as error:
        raise CannotRun(f"cannot run {words[0]}: {error.strerror}") from None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: program.terminate())
    return program


def _signal(program: list[subprocess.Popen[bytes]], number: int, missed: Missed) -> None:
    """Tell the program, once there is one."""
    for each in program:
        signals.send(each.pid, number, missed)


def _contract(args: argparse.Namespace) -> Open:
    """What the arguments ask for. Raises a GuestError."""
    destination, port = args.destination
    return Open(
        destination=destination,
        source=source_to(destination),
        src_port=args.src_port,
        dst_port=port,
        protocol=PROTOCOL_NUMBERS[args.protocol],
        burst_bytes=args.burst,
        packet_bytes=args.packet,
        deadline_ns=args.deadline,
        rate_bps=args.rate,
        lease_s=args.lease,
    )


def _way(args: argparse.Namespace, destination: IpAddress | None = None) -> Way:
    if args.service:
        address, port = args.service
        return Way(str(address), port, interface_index(args.interface) if args.interface else 0)
    return service_way(destination, args.interface)
