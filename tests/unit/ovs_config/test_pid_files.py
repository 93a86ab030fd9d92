"""A pid file may be old: what process it names is looked at, whatever that calls itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ovs_config.openvswitch import VSWITCHD, OpenVSwitch
from ovs_config.plan import DatapathType

NAMED = "import sys; open('/proc/self/comm', 'wb').write(bytes.fromhex(sys.argv[1])); print(flush=True); input()"


@pytest.mark.parametrize(("name", "is_it"), [(VSWITCHD.encode(), True), (b"sleep", False), (b"\xff\xfe", False)])
def test_it_is_the_daemon_if_its_process_has_that_name(tmp_path: Path, name: bytes, is_it: bool) -> None:
    openvswitch = OpenVSwitch(tmp_path, 1, True, "3.1", DatapathType.NETDEV)
    words = [sys.executable, "-c", NAMED, name.hex()]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        (tmp_path / f"{VSWITCHD}.pid").write_text(f"{process.pid}\n")
        assert openvswitch.pid_of(VSWITCHD) == (process.pid if is_it else None)
        process.kill()
