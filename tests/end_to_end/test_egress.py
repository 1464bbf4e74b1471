"""What the commands say to the network when both models are local: nothing.

Needs strace: apt-get install strace, then python -m pytest tests/end_to_end/test_egress.py
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.artefact.conftest import make
from tests.command import FIAT
from tests.faults.machine import strace

from fiatkit.artefact.export import export

CALLS = "connect,sendto,sendmsg,sendmmsg"
ADDRESS = re.compile(r"sa_family=(AF_\w+).*?}")
HERE = re.compile(r"AF_(UNIX|NETLINK|UNSPEC)|inet_addr\(\"127\.|inet_pton\(AF_INET6, \"::1\"")
FOR_TESTS = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "DO_NOT_TRACK", "PYTEST_CURRENT_TEST")
pytestmark = pytest.mark.faults("strace")


def traced(folder: Path, script: str) -> list[str]:
    """Run a shell script with all its children; the addresses that anything was sent to."""
    log = folder / "strace.log"
    words = strace(log, "-e", f"trace={CALLS}", "sh", "-euc", script)
    plain = {name: value for name, value in os.environ.items() if name not in FOR_TESTS}
    done = subprocess.run(words, cwd=folder, env=plain, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = log.read_text(errors="replace").splitlines()
    return [found.group() for line in lines if (found := ADDRESS.search(line))]


def test_A15_nothing_leaves_this_machine(run_folder: Path, tiny_chat_model: Path) -> None:
    """compare with both models in process, then verify, predict and every export."""
    make(run_folder / "first", tiny_chat_model, "lora")
    export(run_folder / "first", "gguf", run_folder / "large", precision="f32")
    run = (run_folder / "run.yaml").read_text()
    start, end = run.index("  provider:"), run.index("small:")
    large = "  provider: llama_cpp\n  model: large/model-f32.gguf\n  context: 512\n"
    run = run[:start] + large + run[end:]
    run = re.sub(r"recipes: .*", "recipes: [icl, instruct]", run)
    run = re.sub(r"sizes: .*", "sizes: [8]\nmax_failed: 1.0", run)
    (run_folder / "run.yaml").write_text(re.sub(r"seeds: .*", "seeds: [0]", run))
    steps = [
        "compare run.yaml --out out || test $? = 3",
        "verify first",
        "predict first rows.csv --out answers.jsonl",
        *(f"export first --to {kind} --out as-{kind}" for kind in ("peft", "merged", "gguf")),
        *(f"export first --to {kind} --out as-{kind}" for kind in ("vllm", "hub")),
    ]
    found = traced(run_folder, "\n".join(f"{FIAT} {step}" for step in steps))
    assert any('inet_addr("127.' in address for address in found), "llama.cpp was not asked"
    assert [address for address in found if not HERE.search(address)] == []
    assert (run_folder / "out" / "report.html").is_file()


def test_A15_what_leaves_would_be_seen(tmp_path: Path) -> None:
    """Giving a datagram socket an address sends nothing, but is the call that is looked for."""
    code = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    found = traced(tmp_path, f'{sys.executable} -c "{code}"')
    assert len(found) == 1 and not HERE.search(found[0])
