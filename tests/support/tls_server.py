"""The app with TLS, for the test of it: `tls_server.py PKI` prints its port, then what the domain would hear."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.examples import example  # noqa: E402

from controller import tls  # noqa: E402
from controller.domain.events import SwitchConnected, SwitchGone  # noqa: E402
from controller.model import TlsFiles  # noqa: E402
from controller.openflow import app  # noqa: E402
from controller.openflow.switches import Switches  # noqa: E402


def tell(event: object) -> None:
    if isinstance(event, SwitchConnected | SwitchGone):
        print(type(event).__name__, event.bridge, flush=True)


listener = socket.create_server(("127.0.0.1", 0))
app.start(Switches(example("ovs_core"), "left", tell, lambda *_: None))
app.listen(listener, tls.server_context(TlsFiles.of(Path(sys.argv[1]), "controller")))
print(listener.getsockname()[1], flush=True)
threading.Event().wait()
