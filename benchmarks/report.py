"""What a report of many test rows takes to draw, weighs, and takes to open.

    python benchmarks/report.py [ROWS ...]        # default: 1000 100000 1000000

A made-up run of two tuned recipes in six languages; memory is the peak of the process that reads
the run and writes the file. Opening is until the page is loaded and drawn, in headless Chromium
from the file system, the median of five; "-" where there is no Chromium.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.report.browser import FOUND, chromium
from tests.report.synthetic import make_run

ROWS = (1_000, 100_000, 1_000_000)
WRITE = """
import resource, sys, time
from pathlib import Path
from fiatkit.report import load_run, write_html
began = time.monotonic()
run = load_run(Path(sys.argv[1]))
read = time.monotonic()
write_html(run, Path(sys.argv[2]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(read - began, time.monotonic() - read, peak)
"""


def opened(page: Path) -> str:
    if FOUND is None:
        return "-"
    with chromium() as browser:
        browser.looks(1200)
        return f"{median(browser.open(page) for _ in range(5)):.2f}"


def main() -> None:
    print(f"{'rows':>9} {'read s':>8} {'write s':>8} {'peak MB':>8} {'file MB':>8} {'open s':>7}")
    for rows in map(int, sys.argv[1:] or ROWS):
        with tempfile.TemporaryDirectory() as place:
            folder = make_run(
                Path(place, "run"),
                recipes=("instruct", "fiat"),
                sizes=(200,),
                seeds=(0,),
                groups=rows // 6,
                metric_names=("accuracy",),
            )
            page = Path(place, "report.html")
            done = subprocess.run(
                [sys.executable, "-c", WRITE, str(folder), str(page)],
                capture_output=True,
                text=True,
                check=True,
            )
            read, write, peak = map(float, done.stdout.split())
            size = page.stat().st_size / 1e6
            told = f"{rows // 6 * 6:9,} {read:8.1f} {write:8.1f} {peak:8.0f} {size:8.2f}"
            print(f"{told} {opened(page):>7}", flush=True)


if __name__ == "__main__":
    main()
