"""lm-evaluation-harness's log-likelihoods of token ids: one JSON line with scores and seconds.

Runs in an environment of its own, knows nothing of fiatkit. Takes a JSON file: {"model": folder,
"prompts": [ids, ...], "targets": [ids, ...], "batch": rows at once, "threads": n}.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from lm_eval.models.huggingface import HFLM


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    model = HFLM(job["model"], device="cpu", dtype="float32", batch_size=job["batch"])
    requests = [
        ((f"prompt {number}", f"target {other}"), prompt, target)
        for number, prompt in enumerate(job["prompts"])
        for other, target in enumerate(job["targets"])
    ]
    model._loglikelihood_tokens(requests[: len(job["targets"])], disable_tqdm=True)
    began = time.perf_counter()
    found = model._loglikelihood_tokens(requests, disable_tqdm=True)
    seconds = time.perf_counter() - began
    count = len(job["targets"])
    scores = [score for score, _ in found]
    table = [scores[i : i + count] for i in range(0, len(scores), count)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "scores": table, "peak_mib": peak}))


if __name__ == "__main__":
    main()
