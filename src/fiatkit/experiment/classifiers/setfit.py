"""SetFit (Tunstall et al. 2022, arXiv 2209.11055): a sentence-transformer tuned on pairs of rows of
the same and of different labels, then logistic regression on its embeddings. Extra `setfit`.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from fiatkit.config import RunConfig
from fiatkit.errors import UsageError
from fiatkit.experiment.classifiers import Answered, chosen, predict_majority, text_of
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.records import Rationale


def why_not(config: RunConfig) -> str:
    """A model must be named, and the package be there."""
    if config.setfit.model is None:
        return "setfit.model names no sentence-transformer"
    if importlib.util.find_spec("setfit") is None:
        return 'the package "setfit" is not installed (pip install "fiatkit[setfit]")'
    return ""


def answer(plan: Plan, cell: Cell, rationales: Mapping[str, Rationale]) -> Answered:
    """Tune a fresh sentence-transformer on the cell's rows and answer the test rows.

    Raises:
        UsageError: the sentence-transformer cannot be loaded.
    """
    train = plan.train_rows(cell)
    queries = [e.query for e in plan.data.test]
    labels = plan.task.choices or []
    if len({example.target for example in train}) < 2:
        return Answered(
            predict_majority(train, queries, labels), {"tuning": 0.0, "prediction": 0.0}
        )
    began = time.monotonic()
    body = _body(str(plan.config.setfit.model), plan.config.small.device)
    from setfit import SetFitModel
    from sklearn.linear_model import LogisticRegression

    # Not from_pretrained: it would load a pickled head that lies beside the body.
    model = SetFitModel(model_body=body, model_head=LogisticRegression())
    _train(model, plan, cell)
    tuned = time.monotonic()
    shares = model.predict_proba([text_of(q) for q in queries], as_numpy=True)
    known = [str(label) for label in model.model_head.classes_]
    seconds = {"tuning": tuned - began, "prediction": time.monotonic() - tuned}
    return Answered(chosen(queries, known, shares, labels), seconds)


def _body(name: str, device: str) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(
            name,
            device=None if device == "auto" else device,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f'setfit.model: "{name}" is no sentence-transformer that can be loaded ({reason}).',
            "Give the folder or the hub id of one with safetensors weights.",
        ) from None


def _train(model: Any, plan: Plan, cell: Cell) -> None:
    """SetFit's own trainer, silent, with nothing kept on disk."""
    from datasets import Dataset, disable_progress_bars
    from setfit import Trainer, TrainingArguments
    from transformers import PrinterCallback, ProgressCallback

    disable_progress_bars()
    train, settings = plan.train_rows(cell), plan.config.setfit
    rows = {"text": [text_of(e.query) for e in train], "label": [e.target for e in train]}
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=place,
                batch_size=settings.batch_rows,
                num_epochs=settings.epochs,
                num_iterations=settings.pairs,
                seed=cell.seed or 0,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                show_progress_bar=False,
            ),
            train_dataset=Dataset.from_dict(rows),
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()
