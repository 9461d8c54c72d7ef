"""Line coverage of each parser by its committed corpus: coverage.py BUILD_DIR [--docs FILE].

A fuzzer names the files that it is for in comments, "PARSES: path.c path.c", or one function of a file that does more
than parse, "path.c:function". The figures are those of the inputs in
tests/fuzz/corpus alone, so that they are the same on every machine. With --docs the table in that file is the floor:
a parser that covers less, or stands in no row, fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
ROW = re.compile(r"^\| `(\S+)` \| `fuzz_(\w+)` \| (\d+) % \|$", re.MULTILINE)
SLACK = 2  # points: what a compiler's newer version may count otherwise


def parsers(source: Path) -> list[str]:
    return " ".join(re.findall(r"/\* PARSES: ([^*]+?) \*/", source.read_text())).split()


def measure(program: Path, files: list[str], work: Path) -> dict[str, float]:
    """Percent of lines for each file."""
    raw, profile = work / f"{program.name}.profraw", work / f"{program.name}.profdata"
    seeds = CORPUS / program.name.removeprefix("fuzz_")
    subprocess.run(
        [program, "-runs=0", seeds],
        env={**os.environ, "LLVM_PROFILE_FILE": str(raw)},
        check=True,
        capture_output=True,
        cwd=work,
    )
    subprocess.run(["llvm-profdata", "merge", "-sparse", raw, "-o", profile], check=True)
    return {f: lines_of(program, profile, *f.split(":")) for f in files}


def lines_of(program: Path, profile: Path, file: str, function: str = "") -> float:
    what = ["report", "-show-functions"] if function else ["export", "-summary-only"]
    command: list[str | Path] = ["llvm-cov", *what, f"-instr-profile={profile}", program, ROOT / file]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if not function:
        return float(json.loads(shown)["data"][0]["files"][0]["summary"]["lines"]["percent"])
    # name, regions, missed, cover, lines, missed, cover
    row = next(line.split() for line in shown.splitlines() if line.split()[:1] == [function])
    return float(row[6].rstrip("%"))


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("build", type=Path)
    options.add_argument("--docs", type=Path)
    asked = options.parse_args()
    sources = sorted((ROOT / "tests" / "fuzz").glob("fuzz_*.c"))
    floors = {(f, n): int(p) for f, n, p in ROW.findall(asked.docs.read_text())} if asked.docs else {}
    bad = [f"{s.name} names no file that it is for (PARSES: ...)" for s in sources if not parsers(s)]
    bad += [f"{s.name} has no corpus" for s in sources if not (CORPUS / s.stem.removeprefix("fuzz_")).is_dir()]
    ready = [s for s in sources if parsers(s) and (CORPUS / s.stem.removeprefix("fuzz_")).is_dir()]
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {s: pool.submit(measure, asked.build.resolve() / s.stem, parsers(s), Path(work)) for s in ready}
        for source, job in jobs.items():
            for file, percent in sorted(job.result().items()):
                print(f"| `{file}` | `{source.stem}` | {int(percent)} % |")
                floor = floors.get((file, source.stem.removeprefix("fuzz_")))
                if asked.docs and floor is None:
                    bad.append(f"{file} ({source.stem}) stands in no row of {asked.docs.name}")
                elif floor is not None and percent < floor - SLACK:
                    bad.append(f"{file} ({source.stem}): {percent:.1f} % of lines, {floor} % are promised")
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
