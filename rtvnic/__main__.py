"""The program `rtvnic`: finds the verb, runs it, turns errors into one message and an exit code.

Each verb is a module of this package with `arguments(parser)` and `run(args) -> exit code`. Only the chosen one is
imported, so that the shim starts without loading a web server.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import traceback

from controller.errors import RtvnicError

VERBS = {
    "check": "validate a topology file, or print its JSON Schema",
    "plan": "say whether the links can keep all deadlines, and what else they could keep",
    "apply": "bring a topology file's channels to a running network, all or none",
    "export": "print a topology file with a running network's channels, save those of guests",
    "channel": "add, change or remove a channel of a running network",
    "up": "run a topology file in Mininet until Ctrl-C",
    "controller": "run the controller of one domain",
    "store": "run the channel store of a machine, or a member of a cluster",
    "pki": "make the certificates of a topology file",
    "bridge": "make the bridge of a hypervisor in the Open vSwitch of this machine, or remove it",
    "shim": "run the EDF shim between two interfaces",
    "token": "manage the tokens that REST takes",
    "show": "print the state of a running controller",
    "bench": "run an experiment",
    "tune": "change settings of this machine that deadlines gain from, or undo it",
    "doctor": "say what this machine lacks, and the cure",
    "down": "remove what a killed run left behind",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line. Returns the exit code: 0 fine, 1 the answer is no, 2 could not run, 70 a defect of ours."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except RtvnicError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # Python's own exit code would be 1, which is an answer
        traceback.print_exc()
        return os.EX_SOFTWARE


def _run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="rtvnic", description="Real-time channels between virtual machines.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            module = importlib.import_module(f"rtvnic.{name}")
            module.arguments(verb)
            verb.set_defaults(run=module.run)
    args = parser.parse_args(words)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
