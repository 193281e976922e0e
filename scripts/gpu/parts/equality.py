"""Part 1: every test that is marked gpu, in one call of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET

from common import ROOT, Part

FILES = ("tests/embedding/test_device.py", "tests/training/test_device.py", "tests/contracts/test_gpu.py")


def main() -> int:
    """Run the tests and write a row for each file, with the names of those that failed."""
    part = Part(__doc__ or "")
    part.wait()
    found = part.options.out / "equality.xml"
    environment = {**os.environ, "TEST_DEVICE": part.device, "CI": ""}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:warnings",
         "--continue-on-collection-errors", f"--junitxml={found}", *FILES],
        cwd=ROOT, env=environment, timeout=part.left, check=False,
    )  # fmt: skip
    counts: dict[str, dict[str, list[str]]] = {}
    for case in ET.parse(found).iter("testcase"):
        file = (case.get("classname") or case.get("name") or "").replace(".", "/")
        kinds = {child.tag for child in case}
        state = next((kind for kind in ("error", "failure", "skipped") if kind in kinds), "passed")
        reasons = [child.get("message") or "" for child in case if child.tag == state]
        counts.setdefault(file, {}).setdefault(state, []).append(f"{case.get('name')} {' '.join(reasons)}".strip())
    for file, states in sorted(counts.items()):
        bad = states.get("error", []) + states.get("failure", [])
        skipped = states.get("skipped", [])
        more = {"error": "; ".join(bad)} if bad else {"note": f"skipped: {'; '.join(skipped)}"} if skipped else {}
        part.row(f"{file} passed", len(states.get("passed", [])), f"of {sum(map(len, states.values()))}", **more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
