"""Answers to questions against transformers' own `generate`, with its best batching.

    make bench-predict

The same model, prompts, stop token and longest answer; greedy. transformers gets its prompts
sorted by length, padded at the left, in the batch size of --batch that is fastest for it.
"""

import argparse
import statistics
import time

import torch
from _rows import rows_of, tuned_folder

from fiatkit.models.local import Encoded, SmallModel


def theirs(small: SmallModel, prompts: list[Encoded], size: int, limit: int) -> dict[str, list]:
    """New ids of every prompt by `generate`."""
    found = {}
    order = sorted(prompts, key=lambda prompt: len(prompt.ids))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        width = max(len(prompt.ids) for prompt in part)
        ids = torch.zeros((len(part), width), dtype=torch.long)
        mask = torch.zeros((len(part), width), dtype=torch.long)
        for line, prompt in enumerate(part):
            ids[line, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
            mask[line, width - len(prompt.ids) :] = 1
        with torch.inference_mode():
            out = small.core.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=limit,
                do_sample=False,
                eos_token_id=small.stop_id,
                pad_token_id=0,
            )[:, width:].tolist()
        for prompt, new in zip(part, out, strict=True):
            end = new.index(small.stop_id) if small.stop_id in new else len(new)
            text = small.tokenizer.decode(
                new[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            found[prompt.query_id] = text
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--tokens", type=int, default=16)
    asked = parser.parse_args()
    rows = rows_of("xquad_crosslingual", "test", asked.rows)
    small, _ = tuned_folder(asked.model)
    prompts = [
        small.encode(prompt, max_length=1024, reserve=asked.tokens) for prompt in rows.prompts()
    ]
    ours_s: list[float] = []
    theirs_s: dict[int, list[float]] = {size: [] for size in asked.batch}
    same = 0
    for _ in range(asked.rounds):
        began = time.perf_counter()
        ours = small.generate(prompts, max_new_tokens=asked.tokens, batch_tokens=4096)
        ours_s.append(time.perf_counter() - began)
        for size in asked.batch:
            began = time.perf_counter()
            other = theirs(small, prompts, size, asked.tokens)
            theirs_s[size].append(time.perf_counter() - began)
            same = sum(
                text == other[prompt.query_id]
                for prompt, (text, _) in zip(prompts, ours, strict=True)
            )
    best = min(theirs_s, key=lambda size: statistics.median(theirs_s[size]))
    ratio = statistics.median(b / a for a, b in zip(ours_s, theirs_s[best], strict=True))
    tokens = sum(len(prompt.ids) for prompt in prompts)
    print(
        f"{asked.model}, xquad_crosslingual: {len(prompts)} prompts, {tokens} tokens, at most "
        f"{asked.tokens} new ones\n"
        f"  fiatkit {len(prompts) / statistics.median(ours_s):.2f} rows/s; transformers "
        + ", ".join(
            f"{len(prompts) / statistics.median(found):.2f} (batch {size})"
            for size, found in theirs_s.items()
        )
        + f": {ratio:.2f} times the best; {same} of {len(prompts)} answers the same",
        flush=True,
    )


if __name__ == "__main__":
    main()
