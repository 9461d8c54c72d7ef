"""History: ranges, searches, magics, and what outlives a context."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import harness as h
import pytest
from harness import Context, Init


def ask(context: Context, **content: Any) -> list[Any]:
    return context.ask(h.HISTORY, {"raw": True, "output": False, **content})["history"]


def end(context: Context) -> None:
    context.send(h.SHUTDOWN, [b"{}"])
    context.collect(0, until=h.EXITED)
    context.close()


@pytest.fixture
def later(warm: Init, tmp_path: Path) -> Context:
    """The second of two sessions in one home."""
    first = warm.context(tmp_path)
    for code in ("a = 1", "a + 1", "%time 1", "text = 'é\\n'\ntext", "a = 1"):
        first.run(code)
    end(first)
    return warm.context(tmp_path)


def test_a_new_context_remembers(later: Context) -> None:
    assert ask(later, hist_access_type="tail", n=2) == [[1, 4, "text = 'é\\n'\ntext"], [1, 5, "a = 1"]]
    later.run("b = 2")
    assert ask(later, hist_access_type="tail", n=2) == [[1, 5, "a = 1"], [2, 1, "b = 2"]]
    assert ask(later, hist_access_type="tail", n=100)[0] == [1, 1, "a = 1"]
    assert ask(later, hist_access_type="range", session=1, start=2, stop=4) == [[1, 2, "a + 1"], [1, 3, "%time 1"]]
    assert ask(later, hist_access_type="range", session=-1, start=1, stop=2) == [[1, 1, "a = 1"]]
    assert ask(later, hist_access_type="range", session=0, start=1, stop=None) == [[2, 1, "b = 2"]]
    assert ask(later, hist_access_type="range", session=-7, start=1) == []
    assert ask(later, hist_access_type="range", session=1, start=2, stop=3, output=True) == [[1, 2, ["a + 1", "2"]]]
    (parsed,) = ask(later, hist_access_type="range", session=1, start=3, stop=4, raw=False)
    assert "run_line_magic('time', '1')" in parsed[2]


def test_search_over_sessions(later: Context) -> None:
    later.run("a = 1")
    found = ask(later, hist_access_type="search", pattern="a*")
    assert found == [[1, 1, "a = 1"], [1, 2, "a + 1"], [1, 5, "a = 1"], [2, 1, "a = 1"]]
    assert ask(later, hist_access_type="search", pattern="a*", n=2) == found[-2:]
    assert ask(later, hist_access_type="search", pattern="a*", unique=True) == [[1, 2, "a + 1"], [2, 1, "a = 1"]]
    assert ask(later, hist_access_type="search", pattern="A*") == []
    assert ask(later, hist_access_type="search", pattern="*1*", output=True, n=1) == [[2, 1, ["a = 1", None]]]


def test_magics(later: Context) -> None:
    later.run("c = 3")
    assert later.run("%history").text() == "c = 3\n%history\n"
    assert "1/2: a + 1" in later.run("%history -g a +").text()
    assert "a + 1" in later.run("%history ~1/1-5").text()
    assert ">>> a + 1\n2" in later.run("%history -op ~1/2").text().replace(" \n", "\n")
    reply = later.run("%recall ~1/2", msg_id="m").reply
    assert reply["payload"] == [{"source": "set_next_input", "text": "a + 1", "replace": False}]
    assert later.run("%rerun 1").reply["status"] == "ok"
    later.run("%save -r kept.py ~1/1-2")
    assert "a + 1" in Path(later.run("import os; os.path.abspath('kept.py')").plain.strip("'")).read_text()
    assert later.run("%notebook kept.ipynb").reply["status"] == "ok"


def test_contexts_of_a_box_have_own_sessions(warm: Init, tmp_path: Path) -> None:
    one, two = warm.context(tmp_path), warm.context(tmp_path)
    one.run("'one'")
    two.run("'two'")
    assert ask(one, hist_access_type="range", session=0) == [[1, 1, "'one'"]]
    assert ask(two, hist_access_type="range", session=0) == [[2, 1, "'two'"]]
    assert ask(two, hist_access_type="tail", n=9) == [[1, 1, "'one'"], [2, 1, "'two'"]]


def test_a_killed_context_leaves_its_lines(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    context.run("kept = 1")
    h.eventually(lambda: "kept = 1" in "".join(p.read_text() for p in tmp_path.rglob("*.jsonl")))
    context.start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert context.collect(0, until=h.EXITED).messages[-1].arg == signal.SIGKILL
    assert [1, 1, "kept = 1"] in ask(warm.context(tmp_path), hist_access_type="tail", n=5)


def test_nothing_is_made_before_the_first_cell(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    context.ask(h.WARMUP)
    assert ask(context, hist_access_type="tail", n=5) == []
    context.run("silent = 1", silent=True, store_history=False)
    context.run("unstored = 1", store_history=False)
    end(context)
    assert not list(tmp_path.rglob("*.jsonl"))


def test_bursts_are_written_when_idle(warm: Init, tmp_path: Path) -> None:
    context = warm.context(tmp_path)
    for n in range(300):
        context.run(f"{n}")
    h.eventually(lambda: '"o",300,' in "".join(p.read_text() for p in tmp_path.rglob("*.jsonl")))


def test_disk_that_takes_nothing(warm: Init, tmp_path: Path) -> None:
    (tmp_path / ".cellbox").write_text("a file, where a directory is wanted")
    context = warm.context(tmp_path)
    assert context.run("1+1").plain == "2"
    assert ask(context, hist_access_type="tail", n=5) == [[1, 1, "1+1"]]


def test_damaged_files(warm: Init, tmp_path: Path) -> None:
    where = tmp_path / ".cellbox/history"
    where.mkdir(parents=True)
    (where / "00000001.jsonl").write_bytes(b'["s",1,2]\n["i",1,"good",null]\n["i",2,"cut sh')
    (where / "00000002.jsonl").write_bytes(b'\xff\xfe\n{}\n[1]\n["i","x","y"]\n["o",5,"orphan"]\n["i",3,7,null]\n')
    (where / "notes.jsonl").write_text("hello")
    (where / "00000003.jsonl").mkdir()
    context = warm.context(tmp_path)
    assert ask(context, hist_access_type="tail", n=9) == [[1, 1, "good"]]
    context.run("mine")
    assert ask(context, hist_access_type="range", session=0)[0][0] == 4


def test_bounds(warm: Init, tmp_path: Path) -> None:
    where = tmp_path / ".cellbox/history"
    where.mkdir(parents=True)
    for n in range(1, 261):
        (where / f"{n:08}.jsonl").write_text(f'["s",1,2]\n["i",1,"n{n}",null]\n')
    context = warm.context(tmp_path)
    context.run("x = 1")
    h.eventually(lambda: len(list(where.iterdir())) == 200)
    assert ask(context, hist_access_type="search", pattern="n5?") == []
    assert [e[2] for e in ask(context, hist_access_type="search", pattern="n9?", n=2)] == ["n98", "n99"]
    context.run("big = '" + "x" * 300_000 + "'")
    for n in range(40):
        context.run(f"# {n}\n'" + "y" * 200_000 + "'")
    end(context)
    (own,) = [p for p in where.iterdir() if p.name == "00000261.jsonl"]
    assert own.stat().st_size < 5 << 20 and "# 39" in own.read_text() and "xxx" not in own.read_text()


def test_odd_requests(context: Context) -> None:
    context.run("1")
    for content in (
        {"hist_access_type": "nope"},
        {"hist_access_type": "range", "session": "x", "start": None, "stop": 9},
    ):
        ask(context, **content)
    assert ask(context, hist_access_type="tail", n=0) == [] and ask(context, hist_access_type="tail", n=-3) == []
    assert ask(context, hist_access_type="search", pattern="[", n=2) == []
