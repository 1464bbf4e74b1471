"""A GGUF file run by llama.cpp, beside the model that it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fiatkit.artefact.export._source import Source, next_logits
from fiatkit.errors import ArtefactError, MissingExtraError
from fiatkit.models.providers.llama_cpp import Settings, Worker

TEXTS = (
    "An example: 12,345 times.",
    "¿Qué tal? años  después",
    "小包が遅れています。 “so” 🙂",
    "a\n\n b",
)
CONTEXT = 1024
NEAR = {"f32": 0.05, "f16": 0.1, "q8_0": 1.0}  # log-probabilities; llama.cpp rounds as it computes


def compare(source: Source, model: Any, path: Path) -> str:
    """Tokenise and predict with both.

    Returns:
        What was found, as a sentence for the model card.

    Raises:
        ArtefactError: llama.cpp reads texts as other tokens, or predicts something else.
    """
    try:
        worker = Worker(str(path), Settings(model=str(path), context=CONTEXT))
    except MissingExtraError:
        return "llama.cpp was not at hand to run the file when it was written."
    try:
        _compare_tokens(source, worker, path)
        largest = max(_difference(source, model, worker, ids) for ids in source.samples)
    finally:
        worker.stop()
    if largest > NEAR[source.precision]:
        raise ArtefactError(
            f'"{path.name}": llama.cpp\'s log-probabilities differ by {largest:.3f} from those of '
            "the model that it was made of.",
            "Export it with --to merged.",
        )
    return (
        f"llama.cpp ran the file when it was written: the same tokens, and log-probabilities "
        f"within {largest:.4f} of those of the merged model on {len(source.samples)} prompts."
    )


def _compare_tokens(source: Source, worker: Worker, path: Path) -> None:
    for text in TEXTS:
        ours = source.small.tokenizer(text, add_special_tokens=False)["input_ids"]
        body = {"content": text, "add_special": False, "parse_special": False}
        theirs = worker.post("/tokenize", body)["tokens"]
        if list(ours) != list(theirs):
            raise ArtefactError(
                f'"{path.name}": llama.cpp reads {text!r} as the tokens {theirs[:20]}, '
                f"the tokenizer as {ours[:20]}.",
                "Export it with --to merged.",
            )


def _difference(source: Source, model: Any, worker: Worker, ids: tuple[int, ...]) -> float:
    """Largest difference of log-probability over the five tokens that llama.cpp finds likeliest."""
    import torch

    with torch.inference_mode():
        ours = next_logits(source, model, ids).log_softmax(-1)
    # An end token, or half a character, would come back without probabilities. These are the
    # model's own, whatever the grammar then has it write.
    body = {"prompt": list(ids), "n_predict": 1, "n_probs": 5, "grammar": "root ::= [a-z]"}
    first = worker.post("/completion", body)["completion_probabilities"][0]
    return max(abs(float(ours[top["id"]]) - float(top["logprob"])) for top in first["top_logprobs"])
