"""What a handler is told of misses: fields of a log entry, variables of a program, the body of a webhook. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from controller.handlers.turns import Start

Facts = Mapping[str, str | int]

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}
"""All that a program has beside the facts."""


def facts(handler: str, domain: str, start: Start, started_at_ns: int) -> Facts:
    """Of `start` of `handler` at the controller of `domain`, at `started_at_ns` of its wall clock."""
    channel, report = start.channel, start.report
    return {
        "handler": handler,
        "domain": domain,
        "channel": channel.name,
        "channel_label": channel.label,
        "talker": channel.talker,
        "listener": channel.listener,
        "deadline_ns": channel.deadline_ns,
        "misses": report.misses,
        "packets": report.packets,
        "worst_ns": report.worst_ns,
        "mean_ns": report.mean_ns,
        "window_ns": report.window_ns,
        "total_misses": report.total_misses,
        "clock_error_ns": report.clock_error_ns,
        "first_at_ns": report.first_at_ns,
        "started_at_ns": started_at_ns,
    }


def environment(told: Facts) -> dict[str, str]:
    """The environment of a program that is told `told`."""
    return ENVIRONMENT | {f"RTVNIC_{name.upper()}": str(value) for name, value in told.items()}
