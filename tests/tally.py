"""Adds up the JUnit reports and check lists of one test run and prints the closing line."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def passed_again(report: Path) -> set[tuple[str, str]]:
    """Tests that the second try of this report passed."""
    retry = report.parent / "retry" / report.name
    if not retry.exists():
        return set()
    return {
        (case.get("classname", ""), case.get("name", ""))
        for case in ET.parse(retry).iter("testcase")
        if case.find("failure") is None and case.find("error") is None and case.find("skipped") is None
    }


def tally(results: Path) -> tuple[int, int, int]:
    """Returns passed, failed and skipped over every report in the folder."""
    passed = failed = skipped = 0
    for report in sorted(results.glob("*.xml")):
        again = passed_again(report)
        for case in ET.parse(report).iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                name = (case.get("classname", ""), case.get("name", ""))
                if name in again:
                    print(f"FLAKY: {name[0]}.{name[1]} failed, then passed")
                    passed += 1
                else:
                    failed += 1
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    for checks in sorted(results.glob("checks*")):
        for line in checks.read_text().splitlines():
            if line.startswith("passed "):
                passed += 1
            else:
                failed += 1
    return passed, failed, skipped


def main() -> int:
    results, stage_failures = Path(sys.argv[1]), int(sys.argv[2])
    passed, failed, skipped = tally(results)
    # a stage that died without a report is a failure too
    failed = max(failed, stage_failures)
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
