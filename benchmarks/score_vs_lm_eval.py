"""Label scores against lm-evaluation-harness: the same model, prompts, labels and token ids.

    make bench-score

lm-evaluation-harness runs in an environment of its own, through its HF model class, with the batch
size of --batch that is fastest for it. Rounds take turns. Both sum log-probabilities of the
label's tokens and the stop token.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from _rows import rows_of, tuned_folder

from fiatkit.models.local import SmallModel

HERE = Path(__file__).parent
PEER = HERE / ".peers" / "lm_eval" / "bin" / "python"
AREAS = ["card", "cash", "transfer", "loan", "account", "exchange rate", "direct debit"]
MATTERS = [
    "not working",
    "lost or stolen",
    "declined",
    "pending too long",
    "charged twice",
    "wrong amount",
    "how to cancel",
    "how to change the limit",
    "fee not understood",
    "not recognised",
    "where to see it",
]
LABELS_77 = [f"{area}: {matter}" for area in AREAS for matter in MATTERS]


def peer(job: dict, folder: Path) -> dict:
    """One run of lm-evaluation-harness."""
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    done = subprocess.run(
        [str(PEER), str(HERE / "peers" / "lm_eval_score.py"), str(file)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"lm-evaluation-harness failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(
    small: SmallModel, weights: Path, prompts: list, labels: list[str], rounds: int, sizes: list
) -> None:
    """Print one table."""
    targets = [small.encode_target(label) for label in labels]
    job = {
        "model": str(weights),
        "prompts": [list(prompt.ids) for prompt in prompts],
        "targets": [list(target) for target in targets],
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        few = job | {"prompts": job["prompts"][:2]}
        tried = {size: peer(few | {"batch": size}, folder)["seconds"] for size in sizes}
        best = min(tried, key=lambda size: tried[size])
        ours, theirs, apart, peak = [], [], 0.0, 0.0
        for _ in range(rounds):
            small.score_labels(prompts[:1], labels, batch_tokens=4096)
            began = time.perf_counter()
            scores = small.score_labels(prompts, labels, batch_tokens=4096)
            ours.append(time.perf_counter() - began)
            found = peer(job | {"batch": best}, folder)
            theirs.append(found["seconds"])
            peak = found["peak_mib"]
            apart = max(apart, float(abs(scores - torch.tensor(found["scores"]).numpy()).max()))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    print(
        f"{len(labels)} labels, {sum(map(len, targets)) / len(targets):.1f} tokens each, "
        f"{len(prompts)} prompts of {sum(len(p.ids) for p in prompts) / len(prompts):.0f} tokens\n"
        f"  fiatkit {statistics.median(ours):.2f} s, lm-eval (batch {best}, of {sizes}) "
        f"{statistics.median(theirs):.2f} s: {ratio:.1f} times; "
        f"log-likelihoods apart {apart:.1e}; lm-eval's peak {peak:.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    asked = parser.parse_args()
    rows = rows_of("sib200_major", "test", asked.rows)
    small, weights = tuned_folder(asked.model)
    prompts = [small.encode(p, max_length=1024, reserve=16) for p in rows.prompts()]
    print(f"{asked.model}, sib200_major")
    table(small, weights, prompts, list(rows.task.choices or []), asked.rounds, asked.batch)
    few = prompts[: max(2, asked.rows // 6)]
    table(small, weights, few, LABELS_77, asked.rounds, asked.batch)


if __name__ == "__main__":
    main()
