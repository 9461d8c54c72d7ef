"""Boxes are clones of one warm process; none may share a random byte, a name or a key with another."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

DRAW = """
def draw():
    import json, multiprocessing, os, random, secrets, sqlite3, ssl, string, tempfile, uuid
    import numpy as np
    import pandas as pd
    r = {
        "random.random": repr(random.random()),
        "random.getrandbits": random.getrandbits(128),
        "random.shuffle": "".join(random.sample(string.ascii_letters, 52)),
        "random.Random": random.Random().getrandbits(128),
        "numpy.random.rand": np.random.rand(4).tolist(),
        "numpy.random.randint": np.random.randint(0, 2**62, 4).tolist(),
        "numpy.default_rng": np.random.default_rng().integers(0, 2**62, 4).tolist(),
        "pandas.sample": pd.Series(range(200)).sample(40).tolist(),
        "os.urandom": os.urandom(16).hex(),
        "secrets": secrets.token_hex(16),
        "uuid1": uuid.uuid1().hex,
        "uuid4": uuid.uuid4().hex,
        "ssl.RAND_bytes": ssl.RAND_bytes(16).hex(),
        "tempfile": os.path.basename(tempfile.mktemp()),
        "mkdtemp": os.path.basename(tempfile.mkdtemp()),
        "authkey": bytes(multiprocessing.current_process().authkey).hex(),
        "sqlite": sqlite3.connect(":memory:").execute("select hex(randomblob(16))").fetchone()[0],
    }
    try:
        import scipy.stats
        r["scipy"] = scipy.stats.norm.rvs(size=4).tolist()
    except ImportError:
        pass
    return json.dumps(r)
print(draw())
"""


def draw(server: Any, path: str) -> dict[str, Any]:
    r = server.call("POST", path + "/run", json={"code": DRAW})
    e = r.json()
    assert r.status_code == 200 and e["status"] == "ok", e
    return json.loads("".join(e["logs"]["stdout"]))


def test_no_two_interpreters_draw_the_same(server: Any) -> None:
    names = ["r-" + uuid.uuid4().hex[:8] for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:  # more than the pool holds: warm ones, cold ones, and some at the same time
        drawn = list(pool.map(lambda n: draw(server, f"/v1/sandboxes/{n}"), names))
    for name in names[:3]:
        for _ in range(2):  # further interpreters of a box are plain forks of one cold image
            ctx = server.call("POST", f"/v1/sandboxes/{name}/contexts", json={"language": "python"}).json()
            drawn.append(draw(server, f"/v1/sandboxes/{name}/contexts/{ctx['id']}"))
        first = server.call("GET", f"/v1/sandboxes/{name}/contexts").json()["contexts"][0]
        assert server.call("POST", f"/v1/sandboxes/{name}/contexts/{first['id']}/restart").status_code == 200
        drawn.append(draw(server, f"/v1/sandboxes/{name}"))
    shared = []
    for source in drawn[0]:
        values = [json.dumps(d[source]) for d in drawn]
        if len(set(values)) != len(values):
            shared.append((source, len(values) - len(set(values))))
    for name in names:
        server.call("DELETE", f"/v1/sandboxes/{name}")
    assert not shared, shared
