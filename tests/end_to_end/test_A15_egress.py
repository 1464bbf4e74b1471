"""A15: nothing is sent anywhere but to the model that was named, on loopback here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FIAT = str(Path(sys.executable).with_name("fiat"))
CONNECT = re.compile(r"connect\(\d+, \{sa_family=(\w+)(.*)")
AT_HOME = re.compile(r'"127\.\d+\.\d+\.\d+"|"::1"')
COMMANDS = (
    "compare run.yaml",
    "predict runs/run/cells/fiat-n8-s0/adapter new.csv --out new.jsonl",
    "export runs/run/cells/fiat-n8-s0/adapter --to gguf --out gguf",
    "verify runs/run/cells/fiat-n8-s0/adapter",
    "report runs/run",
)


def elsewhere(log: str) -> list[str]:
    """Every attempt to connect to another machine."""
    return [
        match.group(0)
        for match in CONNECT.finditer(log)
        if match.group(1) not in ("AF_UNIX", "AF_UNSPEC", "AF_NETLINK")
        and not AT_HOME.search(match.group(2))
    ]


@pytest.mark.faults("strace")
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_A15_the_whole_pipeline_connects_nowhere(run_folder: Path) -> None:
    settings = (run_folder / "run.yaml").read_text()
    settings = settings.replace("[icl, lora, instruct, fiat, finetune]", "[icl, fiat]")
    settings = settings.replace("[8, 16]", "[8]").replace("[0, 1]", "[0]")
    (run_folder / "run.yaml").write_text(settings)
    (run_folder / "new.csv").write_text("id,language,text\n1,en,the sun again\n")
    log = run_folder / "connects"
    trace = f"strace -f --seccomp-bpf -A -o {log} -e trace=connect"
    script = "ip link set lo up; " if shutil.which("ip") else ""
    script += " && ".join(f"{trace} {FIAT} {command}" for command in COMMANDS)
    free = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        cwd=run_folder,
        env=free,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (run_folder / "gguf" / "model-f16.gguf").is_file()
    assert elsewhere(log.read_text()) == []


def test_the_log_is_read_right() -> None:
    log = (
        'connect(3, {sa_family=AF_UNIX, sun_path="/x"}, 110) = 0\n'
        'connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16)\n'
        'connect(4, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("1.2.3.4")}, 16)\n'
        'connect(5, {sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, "fe80::1")}, 28)\n'
    )
    assert len(elsewhere(log)) == 2
