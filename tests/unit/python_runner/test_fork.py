"""What two contexts of one warm image must not share, and what they must have fresh."""

from __future__ import annotations

import json
import os
from pathlib import Path

import harness as h
import pytest
from harness import Init

PROBE = """
import json, os, random, ssl, tempfile, uuid, secrets, numpy as np, multiprocessing as mp, multiprocessing.synchronize
import email.utils, string
out = {
    'random': random.random(), 'np': np.random.rand(3).tolist(), 'np_normal': np.random.randn(),
    'default_rng': np.random.default_rng().random(), 'uuid1': uuid.uuid1().hex, 'uuid4': uuid.uuid4().hex,
    'tempfile': tempfile.mktemp(), 'ssl': ssl.RAND_bytes(16).hex(), 'secrets': secrets.token_hex(8),
    'authkey': bytes(mp.current_process().authkey).hex(), 'urandom': os.urandom(8).hex(),
    'semname': next(mp.synchronize.SemLock._rand), 'msgid': email.utils.make_msgid(),
    'randomstate': np.random.RandomState().rand(), 'systemrandom': random.SystemRandom().random(),
    'sample': random.sample(range(10**9), 3), 'np_int': int(np.random.randint(1 << 40)),
}
print(json.dumps(out))
"""


@pytest.mark.parametrize("warmup", [False, True])
def test_nothing_random_is_shared(warm: Init, tmp_path: Path, warmup: bool) -> None:
    seen: list[dict[str, object]] = []
    for _ in range(4):
        context = warm.context(tmp_path)
        if warmup:
            context.ask(h.WARMUP)
        run = context.run(PROBE)
        assert run.error is None, run.error
        seen.append(json.loads(run.text()))
    for key in seen[0]:
        assert len({json.dumps(s[key]) for s in seen}) == len(seen), key


def test_no_generator_of_the_zygote_is_left(warm: Init, tmp_path: Path) -> None:
    """Any other Random, RandomState or Generator object in the image would be shared by all boxes."""
    context = warm.context(tmp_path)
    run = context.run(
        "import gc, random, numpy as np\ngc.unfreeze()\n"
        "found = [o for o in gc.get_objects() if isinstance(o, (random.Random, np.random.RandomState, "
        "np.random.Generator))\n"
        "         and not isinstance(o, random.SystemRandom)]\n"
        "print([type(o).__name__ for o in found if o is not random._inst and o is not np.random.mtrand._rand])"
    )
    assert run.text() == "[]\n"


def test_numpy_legacy_generator_is_sound(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    run = context.run(
        "import numpy as np\nx = np.random.rand(100000)\n"
        "print(abs(x.mean() - .5) < .01, abs(x.std() - 12 ** -.5) < .01, len(set(x)) > 99000)\n"
        "np.random.seed(7); a = np.random.rand(); print(a == np.random.RandomState(7).rand())"
    )
    assert run.text() == "True True True\nTrue\n"


def test_environment_is_the_context_s(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path, env={"TZ": "America/New_York", "MINE": "1", "LANG": "C.UTF-8"})
    run = context.run(
        "import os, time, sys, subprocess, threading, multiprocessing as mp\n"
        "print(os.environ['MINE'], time.tzname[0], 'OPENBLAS_NUM_THREADS' in os.environ, os.environ.get('TERM'))\n"
        "print(subprocess.check_output('echo $MINE', shell=True, text=True), end='')\n"
        "print(threading.current_thread() is threading.main_thread(), threading.main_thread().native_id == os.getpid(),"
        " mp.current_process().pid == os.getpid())\n"
        "print(subprocess.check_output([sys.executable, '-c', 'import sys; print(sys.prefix)'], "
        "text=True).strip() == sys.prefix)"
    )
    assert run.text() == "1 EST False xterm-color\n1\nTrue True True\nTrue\n"


def test_home_dependent_places(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    run = context.run(
        "import os, matplotlib, tempfile\n"
        "print(matplotlib.get_configdir(), matplotlib.get_cachedir(), tempfile.gettempdir(), "
        "get_ipython().ipython_dir)"
    )
    config, cache, temp, ipython = run.text().split()
    assert (
        config.startswith(str(tmp_path)) and cache.startswith(str(tmp_path)) and ipython == str(tmp_path / ".ipython")
    )
    assert "cellbox-preload" not in temp


def test_blas_threads_start_when_used(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    run = context.run(
        "import os, numpy as np\nn = lambda: len(os.listdir('/proc/self/task'))\nbefore = n()\n"
        "a = np.random.rand(600, 600)\n"
        "ok = np.allclose((a @ a)[:2], [[sum(a[i, k] * a[k, j] for k in range(600)) for j in range(600)] for i "
        "in range(2)])\n"
        "print(before, n(), ok)"
    )
    before, after, ok = run.text().split()
    assert before == "2" and ok == "True"  # the cell's thread and the listener
    assert int(after) == len(os.sched_getaffinity(0)) + 1


def test_image_is_plain(warm: Init, tmp_path: Path) -> None:
    pid = warm.process.pid
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    context = warm.context(tmp_path)
    names = {str(fd.readlink()).split(":")[0] for fd in Path(f"/proc/{context.pid}/fd").iterdir()}
    assert names <= {"/dev/null", "pipe", "socket", "anon_inode"}, names
    run = context.run("import gc, sys; print(gc.isenabled(), gc.get_freeze_count() > 10000, 'pandas' in sys.modules)")
    assert run.text() == "True True True\n"


def test_module_changes_do_not_reach_siblings(warm: Init, tmp_path: Path) -> None:
    a, b = warm.context(tmp_path), warm.context(tmp_path)
    a.run("import math, builtins; math.pi = 3; builtins.leak = 1; import json; json.dumps = None")
    assert (
        b.run("import math, json; math.pi > 3.1, 'leak' in dir(__builtins__), json.dumps([1])").plain
        == "(True, False, '[1]')"
    )
