"""The servers of tests/integration serve here, too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_path = Path(__file__).resolve().parents[1] / "integration" / "conftest.py"
_spec = importlib.util.spec_from_file_location("cellbox_servers", _path)
assert _spec and _spec.loader
_servers = importlib.util.module_from_spec(_spec)
sys.modules["cellbox_servers"] = _servers
sys.path.insert(0, str(_path.parent))  # it imports its neighbours
_spec.loader.exec_module(_servers)

server = _servers.server
own_server = _servers.own_server
box = _servers.box
