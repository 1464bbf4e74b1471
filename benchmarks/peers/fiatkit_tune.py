"""The tuner of fiatkit itself, timed step by step: a JSON line for each.

Takes the same JSON file as trl_tune.py, and writes the same lines; "variant" is "shared" or
"padded" (as for an architecture that cannot share).
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch

from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tuning import TuningSettings, tune


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    small = SmallModel.load(job["ref"], device="cpu")
    torch.set_num_threads(job["threads"])
    if job["variant"] == "padded":
        small.packs = False
        small.check_packing = lambda rows: False
    pairs = [
        TrainingPair(SmallPrompt(name, tuple(Part(*part) for part in parts)), target)
        for name, parts, target in job["pairs"]
    ]
    settings = TuningSettings(epochs=1, batch_rows=job["batch"], learning_rate=job["lr"])
    clock = [time.perf_counter()]
    computed: list[int] = []
    forward = small.network.__class__.forward_packed if small.packs else None

    if forward is not None:  # counts tokens; adds nothing that could be measured

        def counted(self, ids, positions, layout):
            computed.append(len(ids))
            return forward(self, ids, positions, layout)

        small.network.__class__.forward_packed = counted

    def told(done: int, total: int, loss: float) -> None:
        now = time.perf_counter()
        line = {"loss": loss, "seconds": now - clock[0], "computed": sum(computed)}
        print(json.dumps(line), flush=True)
        computed.clear()
        clock[0] = time.perf_counter()

    tune(small, pairs, settings, seed=0, on_progress=told)
    print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
