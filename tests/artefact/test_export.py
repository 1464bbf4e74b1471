"""Exports: other programs, without fiatkit, give fiatkit's answers; what would not is not written."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFValueType
from tests.artefact import outside
from tests.artefact.conftest import file_size_limit, make, reseal
from tests.command import fiat
from tests.conftest import CHATML, make_model

from fiatkit import artefact
from fiatkit.artefact import manifest
from fiatkit.artefact.export import _gguf_metadata, _source, export, gguf, peft
from fiatkit.errors import ArtefactError, EnvironmentProblem, UnknownNameError, UsageError
from fiatkit.experiment.single import load_fitted
from fiatkit.models.local import SmallModel
from fiatkit.recipes.predictor import small_prompt
from fiatkit.records import Query

TEXTS = ["the sun", "mucho hielo", "ice  and\n\nsun", "<|im_end|> sun", "小包が", "12,345 warm"]
ROWS = [{"row": {"text": text}} for text in TEXTS]


def asked_outside(folder: Path, rows: list[dict[str, Any]], tmp_path: Path) -> Any:
    """Answers by the code of a card, in a process without fiatkit."""
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, outside.__file__, str(folder), str(lines)],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def asked_inside(folder: Path, texts: list[str]) -> list[str | None]:
    queries = [Query(str(number), {"text": text}) for number, text in enumerate(texts)]
    return [p.answer for p in load_fitted(folder).predictor.predict(queries, {})]


@pytest.mark.parametrize("kind", ["peft", "hub"])
def test_virtual_tokens_are_no_part_of_what_a_card_scores(
    made: Callable[[str], tuple[Path, Any]], tmp_path: Path, kind: str
) -> None:
    """Each label's log-probability by the card's code is fiatkit's."""
    folder, _ = made("prompt_tuning")
    export(folder, kind, tmp_path / "out")
    fitted = load_fitted(folder).predictor
    queries = [Query(str(number), {"text": text}) for number, text in enumerate(TEXTS)]
    shown = [small_prompt(fitted.task, fitted.recipe, query, None) for query in queries]
    encoded = [fitted.small.encode(prompt, max_length=500, reserve=20) for prompt in shown]
    ours = fitted.small.score_labels(encoded, fitted.task.choices or [], batch_tokens=500)
    code = outside.code_of(tmp_path / "out").replace("return max(", "return list(map(score, ")
    code = code.replace(", key=score)", "))")
    assert "map(score" in code
    names: dict[str, Any] = {}
    with contextlib.chdir(tmp_path / "out"):
        exec(code, names)
    np.testing.assert_allclose([names["answer"](**row) for row in ROWS], ours, atol=1e-4)


@pytest.mark.parametrize("kind", ["peft", "merged", "hub"])
def test_the_code_of_a_card_answers_as_fiatkit_does(lora: Path, tmp_path: Path, kind: str) -> None:
    export(lora, kind, tmp_path / "out")
    assert asked_outside(tmp_path / "out", ROWS, tmp_path) == asked_inside(lora, TEXTS)


def test_a_whole_model_leaves_as_one(
    made: Callable[[str], tuple[Path, Any]], tmp_path: Path
) -> None:
    folder, _ = made("full")
    export(folder, "merged", tmp_path / "out")
    assert asked_outside(tmp_path / "out", ROWS, tmp_path) == asked_inside(folder, TEXTS)
    with pytest.raises(ArtefactError, match=r'tuned by the method "full".*\n.*--to merged'):
        export(folder, "peft", tmp_path / "other")
    told = export(folder, "vllm", tmp_path / "vllm")
    assert told.startswith("Serve it there with: vllm serve model --generation-config vllm")
    assert (tmp_path / "vllm" / "model" / "model.safetensors").is_file()


def test_texts_that_are_written_are_the_same_text(
    tiny_chat_model: Path, tmp_path: Path, lora: Path
) -> None:
    """A task without labels: the card's code has the model write."""
    path = lora / "preparation.json"
    values = json.loads(path.read_text())
    values["task"] |= {"labels": None, "answer": "text", "metrics": ["exact_match"]}
    values["task"]["max_answer_tokens"] = 12
    path.write_text(json.dumps(values))
    reseal(lora)
    queries = [Query(str(number), {"text": text}) for number, text in enumerate(TEXTS)]
    ours = [p.text.strip() for p in load_fitted(lora).predictor.predict(queries, {})]
    export(lora, "peft", tmp_path / "out")
    assert asked_outside(tmp_path / "out", ROWS, tmp_path) == ours
    export(lora, "gguf", tmp_path / "gguf", precision="f32")
    with outside.at_llama(tmp_path / "gguf", "model-f32.gguf") as names:
        assert [names["answer"](**row) for row in ROWS] == ours


def test_an_encoder_decoder_answers_the_same(tiny_mt5_model: Path, tmp_path: Path) -> None:
    make(tmp_path / "model", tiny_mt5_model, "lora")
    for kind in ("peft", "merged"):
        export(tmp_path / "model", kind, tmp_path / kind)
        found = asked_outside(tmp_path / kind, ROWS[:3], tmp_path)
        assert found == asked_inside(tmp_path / "model", TEXTS[:3])
    with pytest.raises(ArtefactError, match='this base is "mt5"'):
        export(tmp_path / "model", "gguf", tmp_path / "gguf")
    assert not (tmp_path / "gguf").exists()


@pytest.mark.parametrize(("precision", "near"), [("f32", 0.02), ("f16", 0.05), ("q8_0", 0.5)])
def test_llama_cpp_scores_as_fiatkit_does(
    lora: Path, tmp_path: Path, precision: str, near: float
) -> None:
    """The log-probabilities that the card's code takes together, and its answers."""
    told = export(lora, "gguf", tmp_path / "out", precision=precision)
    assert "the same tokens" in told
    fitted = load_fitted(lora).predictor
    queries = [Query(str(number), {"text": text}) for number, text in enumerate(TEXTS)]
    ours = fitted.predict(queries, {})
    with outside.at_llama(tmp_path / "out", f"model-{precision}.gguf") as names:
        if precision == "f32":
            assert [names["answer"](**row) for row in ROWS] == [p.answer for p in ours]
        form = names["form"]
        prompts = [names["prompt_ids"](**row) for row in ROWS]
        labels = [(*names["literal"](label), form["stop_id"]) for label in form["labels"]]
        found = [
            [
                sum(
                    names["log_probabilities"]([*prompt, *ids[:end]])[token]
                    for end, token in enumerate(ids)
                )
                for ids in labels
            ]
            for prompt in prompts
        ]
    shown = [small_prompt(fitted.task, fitted.recipe, query, None) for query in queries]
    encoded = [fitted.small.encode(prompt, max_length=500, reserve=20) for prompt in shown]
    theirs = fitted.small.score_labels(encoded, fitted.task.choices or [], batch_tokens=500)
    np.testing.assert_allclose(found, theirs, atol=near)


def exported_to_llama(model: Path, folder: Path) -> None:
    """Tune an adapter on a model; llama.cpp, run on the exported file, answers as fiatkit does."""
    make(folder / "model", model, "lora")
    told = export(folder / "model", "gguf", folder / "out", precision="f32")
    assert "the same tokens" in told
    with outside.at_llama(folder / "out", "model-f32.gguf") as names:
        found = [names["answer"](**row) for row in ROWS]
    assert found == asked_inside(folder / "model", TEXTS)


def test_a_qwen2_becomes_a_gguf_file(tmp_path: Path) -> None:
    """Its biases, and a head of its own."""
    base = make_model(tmp_path / "base", CHATML, "Qwen2", tie_word_embeddings=False)
    exported_to_llama(base, tmp_path)


def test_a_gemma3_becomes_a_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its norms and layers; its metadata come from the catalogue's own file, which a random model
    has not, so that they are made here."""
    sliding = 16
    base = make_model(
        tmp_path / "base",
        CHATML,
        "Gemma3Text",
        num_hidden_layers=6,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=sliding,
    )

    def made(config: Any, tokenizer: Any, kind: str) -> _gguf_metadata.Metadata:
        found = _gguf_metadata.sizes(config, kind, 1_000_000.0)
        found["gemma3.attention.sliding_window"] = (sliding, GGUFValueType.UINT32)
        return found | _gguf_metadata.vocabulary(tokenizer, config.vocab_size)

    monkeypatch.setattr(_gguf_metadata, "made", made)
    exported_to_llama(base, tmp_path)


def test_a_gguf_file_that_computes_something_else_is_not_written(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "rotated", lambda weight, heads: weight)
    with pytest.raises(ArtefactError, match="log-probabilities differ by"):
        export(lora, "gguf", tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model"]


def test_a_merge_that_computes_something_else_is_not_written(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import peft

    monkeypatch.setattr(peft.LoraModel, "merge_and_unload", lambda model: model.unload())
    with pytest.raises(ArtefactError, match="does not compute what the adapter does"):
        export(lora, "merged", tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model"]


def test_rows_of_a_head_are_ordered_as_llama_cpp_turns_them() -> None:
    rows = np.arange(16).reshape(16, 1)
    assert gguf.rotated(rows, 2)[:, 0].tolist() == [
        *(0, 4, 1, 5, 2, 6, 3, 7),
        *(8, 12, 9, 13, 10, 14, 11, 15),
    ]


def test_a_vllm_folder_has_its_flags(lora: Path, tmp_path: Path) -> None:
    told = export(lora, "vllm", tmp_path / "out")
    served = "vllm serve base --generation-config vllm --enable-lora --lora-modules toy=adapter"
    assert told.endswith(served)
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "base"
    assert (tmp_path / "out" / "base" / "model.safetensors").is_file()
    told = export(lora, "vllm", tmp_path / "bare", copy_base=False)
    assert not (tmp_path / "bare" / "base").exists()


@pytest.mark.parametrize(
    ("rank", "flag"), [(16, None), (17, "--max-lora-rank 32"), (64, "--max-lora-rank 64")]
)
def test_a_higher_rank_needs_a_flag(
    tiny_chat_model: Path, tmp_path: Path, rank: int, flag: str | None
) -> None:
    make(tmp_path / "model", tiny_chat_model, "lora", rank=rank)
    told = export(tmp_path / "model", "vllm", tmp_path / "out")
    assert told.endswith(flag) if flag else "--max-lora-rank" not in told


@pytest.mark.parametrize("method", ["dora", "ia3", "prompt_tuning"])
def test_what_a_form_cannot_hold_is_told(
    tiny_chat_model: Path, tmp_path: Path, method: str
) -> None:
    make(tmp_path / "model", tiny_chat_model, method)
    hint = "--to peft" if method == "prompt_tuning" else "--to merged"
    with pytest.raises(ArtefactError, match=f'tuned by the method "{method}".\n.*{hint}'):
        export(tmp_path / "model", "vllm", tmp_path / "vllm")
    if method == "prompt_tuning":
        with pytest.raises(ArtefactError, match="holds a prompt, not weights"):
            export(tmp_path / "model", "merged", tmp_path / "merged")
    else:
        export(tmp_path / "model", "merged", tmp_path / "merged")


def test_a_card_tells_what_the_model_is(lora: Path, tmp_path: Path) -> None:
    path = lora / "preparation.json"
    values = json.loads(path.read_text())
    values["task"]["description"] = "A | task\n# with <script>"
    path.write_text(json.dumps(values))
    reseal(lora)
    export(lora, "merged", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| dev | accuracy | 62.0 | 54.1 to 69.1 | 200 |" in card
    assert "A \\| task # with &lt;script>" in card
    for part in (
        "## Scores",
        "## How to use",
        "## Limits",
        "licence of the base",
        "é; method lora",
    ):
        assert part in card


def test_mistakes_are_told(lora: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match='"mergd".*\n.*"merged"'):
        export(lora, "mergd", tmp_path / "out")
    with pytest.raises(UnknownNameError, match="precision"):
        export(lora, "gguf", tmp_path / "out", precision="f64")
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("out", "link"):
        with pytest.raises(UsageError, match=f'{name}" exists already'):
            export(lora, "merged", tmp_path / name)


def test_export_as_a_command(lora: Path, tiny_chat_model: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_chat_model, tmp_path / "moved")
    shown = fiat(tmp_path, "export", "model", "--to", "vllm", "--out", "out", "--base", str(moved))
    assert "out: see README.md in it." in shown
    assert "vllm serve base --generation-config vllm --enable-lora" in " ".join(shown.split())


@pytest.mark.parametrize("kind", ["peft", "hub"])
def test_a_base_that_was_moved_is_a_folder_all_the_same(
    lora: Path, tiny_chat_model: Path, tmp_path: Path, kind: str
) -> None:
    """A path of two words looks like a name of the hub; only what the manifest says counts."""
    path = lora / "preparation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"small": "models/chat"}))
    reseal(lora)
    export(lora, kind, tmp_path / "out", base=str(tiny_chat_model))
    assert (tmp_path / "out" / "base" / "model.safetensors").is_file()
    names = outside.functions(tmp_path / "out")
    found = [names["answer"](**row) for row in ROWS]
    asked = [Query(str(number), {"text": text}) for number, text in enumerate(TEXTS)]
    fitted = load_fitted(lora, str(tiny_chat_model)).predictor
    assert found == [p.answer for p in fitted.predict(asked, {})]


def test_a_base_of_the_hub_is_named(lora: Path, tiny_chat_model: Path) -> None:
    small = dict(manifest.read(lora).small)
    reseal(lora, small=small | {"name": "owner/name"})
    found = artefact.read(lora)
    source = _source.Source(found, SmallModel.load(str(tiny_chat_model)), tiny_chat_model)
    assert source.hub_base == "owner/name"


def test_two_exports_into_one_folder_are_one(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second, which begins while the first writes, ends; the first is whole."""
    told = []
    real = peft.copy_tokenizer

    def meanwhile(source: _source.Source, folder: Path) -> None:
        with pytest.raises(EnvironmentProblem) as caught:
            export(lora, "merged", tmp_path / "out")
        told.append(str(caught.value))
        real(source, folder)

    monkeypatch.setattr(peft, "copy_tokenizer", meanwhile)
    (tmp_path / ".out.part" / "old").mkdir(parents=True)  # of one that was killed
    export(lora, "peft", tmp_path / "out")
    assert f'.out.part" is locked by pid {os.getpid()}' in told[0]
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert not names & {"model.safetensors", "old", ".lock"}
    assert "A peft adapter" in (tmp_path / "out" / "README.md").read_text()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model", "out"]


@pytest.mark.parametrize("kind", ["merged", "gguf", "peft"])
def test_an_export_that_cannot_be_written_leaves_nothing(
    lora: Path, tmp_path: Path, kind: str
) -> None:
    with file_size_limit(8192), pytest.raises(EnvironmentProblem, match="File too large"):
        export(lora, kind, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model"]


def test_an_export_into_the_artefact_is_refused(lora: Path) -> None:
    """It would be no artefact any more."""
    with pytest.raises(UsageError, match='merged" lies in the artefact'):
        export(lora, "merged", lora / "exports" / "merged")
    assert artefact.read(lora)


def test_an_export_is_on_the_disk_before_it_is_there(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And others may read it, such as a server of another user."""
    seen: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(handle: int) -> None:
        seen.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        seen.append(f"{target.name} is there")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    export(lora, "vllm", tmp_path / "out")
    end = seen.index("out is there")
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"model.safetensors", "adapter_model.safetensors"} <= {path.name for path in made}
    assert {path.name for path in made} <= set(seen[:end])
    assert seen[end + 1 :] == [tmp_path.name]
    assert {path.stat().st_mode & 0o777 for path in (*made, *lora.iterdir())} == {0o644}


def test_samples_are_longer_than_a_token(lora: Path) -> None:
    found = artefact.read(lora)
    small = artefact.load_weights(found, device="cpu")
    source = _source.Source(found, small, Path(found.base))
    assert all(len(ids) > 5 for ids in source.samples)
