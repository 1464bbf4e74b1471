"""The child process that runs llama.cpp: loads a GGUF file and serves it on loopback.

Started by llama_cpp.py as `python -m ... SETTINGS`, where SETTINGS is JSON. Prints its address as
one line and ends when its standard input closes, so that it never outlives its parent.
"""

from __future__ import annotations

import json
import signal
import sys


def main() -> None:
    """Load the model, tell the address, and wait for the parent to go."""
    # Ctrl-C reaches the whole process group; the parent decides when this child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.argv[1])
    key = sys.stdin.readline().strip()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.n_ctx = settings["context"] * settings["slots"]
    params.n_batch = params.n_ubatch = settings["batch"]
    params.n_parallel = settings["slots"]
    params.slot_save_path = settings["states"] + "/"
    params.cache_ram_mib = 0
    params.ctx_shift = False
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["threads"]
    params.n_gpu_layers = settings["gpu_layers"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.api_keys = [key]
    server = xllamacpp.Server(params)
    sys.stdout.write(server.listening_address + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
