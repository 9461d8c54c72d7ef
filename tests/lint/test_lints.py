"""Every lint must catch a bad sample and let a good one pass."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import banned
import layers
import sizes
from csource import blank_literals, toplevels


def test_layers_accepts_downward_includes() -> None:
    assert not layers.check({
        Path("sandbox/base/buf.h"): "#include <stddef.h>\n",
        Path("sandbox/wire/wire.h"): '#include "sandbox/base/buf.h"\n',
        Path("contexts/proto/proto.h"): '#include "sandbox/base/buf.h"\n',
        Path("kernel-gw/api/run.c"): '#include "contexts/proto/proto.h"\n#include "sandbox/wire/wire.h"\n',
        Path("kernel-gw/jupyter/zmq/zmq.c"): "#include <zmq.h>\n",
        Path("clients/cli/main.c"): "#include <jansson.h>\n",
        Path("tests/unit/test_run.c"): '#include "kernel-gw/api/run.c"\n#include <seccomp.h>\n',
    })  # fmt: skip


@pytest.mark.parametrize(
    ("path", "include", "words"),
    [
        ("sandbox/base/up.c", '"sandbox/wire/wire.h"', "must not include"),
        ("sandbox/ns/side.c", '"sandbox/fs/fs.h"', "must not include"),
        ("sandbox/box/up.c", '"contexts/proto/proto.h"', "must not include"),
        ("contexts/proto/up.c", '"contexts/manager/manager.h"', "must not include"),
        ("kernel-gw/api/mechanism.c", '"sandbox/fs/fs.h"', "must not include"),
        ("clients/cli/main.c", '"sandbox/base/buf.h"', "must not include"),
        ("sandbox/wire/short.c", '"wire.h"', "from the root"),
        ("sandbox/wire/gone.c", '"sandbox/wire/gone.h"', "no header of the tree"),
        ("kernel-gw/api/z.c", "<zmq.h>", "kernel-gw/jupyter/zmq only"),
        ("sandbox/box/s.c", "<seccomp.h>", "sandbox/seccomp only"),
        ("sandbox/init/p.c", "<Python.h>", "only"),
        ("contexts/proto/loop.c", "<uv.h>", "no event loop"),
        ("newpart/x.c", "<stdio.h>", "no module"),
    ],
)
def test_layers_rejects(path: str, include: str, words: str) -> None:
    files = {
        Path("sandbox/base/buf.h"): "",
        Path("sandbox/wire/wire.h"): "",
        Path("sandbox/fs/fs.h"): "",
        Path("contexts/proto/proto.h"): "",
        Path("contexts/manager/manager.h"): "",
        Path(path): f"\n#include {include}\n",
    }
    problems = layers.check(files)
    assert len(problems) == 1
    assert words in problems[0]


def test_layers_finds_a_cycle() -> None:
    problems = layers.check({
        Path("sandbox/base/a.h"): '#include "sandbox/base/b.h"\n',
        Path("sandbox/base/b.h"): '#include "sandbox/base/a.h"\n',
    })  # fmt: skip
    assert any("include cycle" in problem for problem in problems)


def test_every_rank_above_the_bottom_has_a_row() -> None:
    for module, (part, _rank) in layers.RANKS.items():
        if part in ("contexts", "kernel-gw"):
            assert module in layers.BELOW
    for source, targets in layers.BELOW.items():
        assert source in layers.RANKS
        assert targets <= layers.RANKS.keys()


@pytest.mark.parametrize("call", sorted(banned.CALLS))
def test_banned_call(call: str) -> None:
    problems = banned.check_text(Path("sandbox/x.c"), f"int f(void)\n{{\n    return {call} (0);\n}}\n")
    assert len(problems) == 1
    assert problems[0].startswith("sandbox/x.c:3: ")


@pytest.mark.parametrize(
    "text",
    [
        "/* strcpy(a, b) */ // system(x)\n",
        'const char *f(void)\n{\n    return "system(1)";\n}\n',
        'void f(struct ops *o)\n{\n    o->signal(1);\n    uv_signal_start(0);\n    snprintf(0, 0, "");\n}\n',
        'static const char *const names[] = {"a", "b"};\nstatic const struct op ops[] = {{1, 2}};\n',
        "struct foo;\nenum { A, B };\nstruct bar {\n    int x;\n};\ntypedef int number;\nextern int other;\n",
        "int f(int a, void (*done)(void *user));\nvoid (*const hook)(void) = 0;\n",
        "int f(void)\n{\n    static const int table[] = {1};\n    return table[0];\n}\n",
        "int main(void)\n{\n    static struct server s;\n    return run(&s);\n}\n",
        "int f(void)\n{\n    static char line[10];\n    return read(0, line, 10);\n}\n",
        "#define X { int y; }\nint g(void);\n",
    ],
)
def test_banned_lets_pass(text: str) -> None:
    assert banned.check_text(Path("sandbox/x.c"), text) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("static int counter;\n", "counter"),
        ("int counter = 0;\n", "counter"),
        ("static struct foo *head;\n", "head"),
        ("static const char *current = 0;\n", "current"),
        ("static struct {\n    int x;\n} state;\n", "state"),
        ("static int table[4] = {1, 2};\n", "table"),
        ("static void (*hook)(void);\n", "hook"),
        ("_Thread_local int mine;\n", "mine"),
        ("int f(void)\n{\n    static int calls;\n    return ++calls;\n}\n", "calls"),
        ("int f(void)\n{\n    static struct x state[10];\n    return state[0].y;\n}\n", "state"),
    ],
)
def test_mutable_state(text: str, name: str) -> None:
    problems = banned.check_text(Path("sandbox/x.c"), text)
    assert len(problems) == 1
    assert f"'{name}'" in problems[0]


def test_log_level_is_excepted() -> None:
    assert banned.check_text(Path("sandbox/base/log.c"), "static int level;\n") == []


def c_function(lines: int) -> str:
    return "static int f(int a)\n{\n" + "    a++;\n" * (lines - 2) + "}\n"


def test_sizes_of_functions() -> None:
    assert sizes.check_text(Path("a.c"), c_function(100)) == []
    problems = sizes.check_text(Path("a.c"), c_function(101))
    assert problems == ["a.c:1: f has 101 lines; the limit is 100: split it"]
    python = "def f():\n" + "    pass\n" * 100
    assert "f has 101 lines" in sizes.check_text(Path("a.py"), python)[0]


def test_sizes_of_files() -> None:
    assert sizes.check_text(Path("a.c"), "\n" * 1000) == []
    assert "the limit is 1000" in sizes.check_text(Path("a.c"), "\n" * 1001)[0]


def test_sizes_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sizes.EXCEPTIONS, "a.c:f", (200, "a table of cases"))
    assert sizes.check_text(Path("a.c"), c_function(150)) == []


def test_blanking_keeps_lines_and_length() -> None:
    text = 'int a; /* "x\n" */ char *s = "/* no */ \\" {"; // it\'s {\nchar c = \'{\';\n'
    blanked = blank_literals(text)
    assert len(blanked) == len(text)
    assert blanked.count("\n") == text.count("\n")
    assert "{" not in blanked


def test_toplevels() -> None:
    text = "struct a {\n    int x;\n};\nstatic int f(int y)\n{\n    if (y) {\n    }\n    return 0;\n}\nint z = {1};\n"
    tops = list(toplevels(text))
    assert [t.text for t in tops] == ["struct a {}", "static int f(int y)", "int z = {}"]
    assert (tops[1].name, tops[1].line, tops[1].body_start, tops[1].body_end) == ("f", 4, 5, 9)
