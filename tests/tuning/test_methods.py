"""One contract for all tuning methods: each learns, trains only what it should, and what it saves
answers the same, in fiatkit and in plain peft."""

import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, Gemma3Config

from fiatkit import artefact, registry
from fiatkit.errors import ArtefactError, SettingsError, UsageError
from fiatkit.models.local import Encoded, SmallModel
from fiatkit.recipes import FIAT, FINE_TUNING, ICL, METHODS
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.settings import parse
from fiatkit.tuning import TuningSettings, tune
from fiatkit.tuning.methods._peft import wrap
from tests.artefact.conftest import prepared
from tests.conftest import CHATML, make_model

PAIRS = [
    TrainingPair(
        SmallPrompt(
            f"r{i}",
            (Part("query", f"{'sun' if i % 2 else 'ice'} " * (i + 1)), Part("cue", "\n\nAnswer:")),
        ),
        ["cold", "warm now"][i % 2],
    )
    for i in range(8)
]
RATES = {
    "lora": 0.01,
    "dora": 0.01,
    "rslora": 0.003,
    "ia3": 0.3,
    "prompt_tuning": 0.1,
    "full": 0.01,
}
ALL = registry.names("tuning.methods")
LABELS = ["cold", "warm now"]
MODELS = ["tiny_chat_model", "tiny_plain_model", "tiny_t5_model", "tiny_mt5_model"]


@pytest.fixture(scope="module")
def mistaught(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads the rows and answers each of them wrongly, with the other row's target:
    a random body gives a method that leaves it as it is nothing to work with."""
    small = SmallModel.load(str(tiny_chat_model))
    wrong = [
        TrainingPair(pair.prompt, other.target)
        for pair, other in zip(PAIRS, PAIRS[1:] + PAIRS[:1], strict=True)
    ]
    settings = TuningSettings(method="full", epochs=80, learning_rate=0.01)
    assert tune(small, wrong, settings, seed=0).history[-1]["loss"] < 0.01
    folder = tmp_path_factory.mktemp("mistaught")
    small.model.save_pretrained(folder)
    small.tokenizer.save_pretrained(folder)
    return folder


def encoded(small: SmallModel) -> list[Encoded]:
    return [small.encode(pair.prompt, max_length=400, reserve=8) for pair in PAIRS]


def logits(small: SmallModel) -> torch.Tensor:
    """What the model says of each target token of all rows, by the path that training takes."""
    rows = [
        (e.ids, small.encode_target(p.target)) for e, p in zip(encoded(small), PAIRS, strict=True)
    ]
    with torch.inference_mode():
        return small.logits(small.before_targets(rows))


def tuned(folder: Path, method: str, **values: Any) -> SmallModel:
    small = SmallModel.load(str(folder))
    settings = TuningSettings.model_validate(
        {
            "method": method,
            "epochs": 3,
            "learning_rate": RATES[method],
            "virtual_tokens": 4,
            **values,
        }
    )
    tune(small, PAIRS, settings, seed=0)
    return small


def kept(small: SmallModel, folder: Path, method: str, target: Path) -> Path:
    artefact.save(target, small, prepared(folder, method))
    return target


@dataclass(frozen=True)
class Made:
    """A model tuned for a few steps by one method, and the artefact it was saved as."""

    folder: Path
    method: str
    small: SmallModel
    saved: Path


@pytest.fixture(scope="module", params=list(product(MODELS, ALL)), ids="-".join)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    name, method = request.param
    folder: Path = request.getfixturevalue(name)
    small = tuned(folder, method)
    saved = kept(small, folder, method, tmp_path_factory.mktemp("made") / "model")
    return Made(folder, method, small, saved)


def test_every_method_has_a_name_for_labels() -> None:
    assert sorted(METHODS) == ALL == sorted(RATES)


@pytest.mark.parametrize("method", ALL)
def test_each_overfits_eight_rows(mistaught: Path, method: str) -> None:
    small = SmallModel.load(str(mistaught))
    written = small.generate(encoded(small), max_new_tokens=8, batch_tokens=500)
    assert not any(text.strip() == p.target for (text, _), p in zip(written, PAIRS, strict=True))
    small = tuned(mistaught, method, epochs=60)
    written = small.generate(encoded(small), max_new_tokens=8, batch_tokens=500)
    assert [text.strip() for text, stopped in written if stopped] == [p.target for p in PAIRS]


def test_what_is_saved_and_loaded_gives_identical_logits(made: Made) -> None:
    before = logits(SmallModel.load(str(made.folder)))
    ours = logits(made.small)
    assert not torch.allclose(ours, before, atol=1e-3)
    loaded, _ = artefact.load(made.saved)
    assert torch.equal(logits(loaded), ours)
    scores = made.small.score_labels(encoded(made.small), LABELS, batch_tokens=200)
    again = loaded.score_labels(encoded(loaded), LABELS, batch_tokens=200)
    np.testing.assert_array_equal(scores, again)


def test_scores_and_answers_agree_with_the_training_path(made: Made) -> None:
    """Cached keys, branches and padding: the label's score is the sum over its tokens' logits."""
    small = made.small
    logs = torch.log_softmax(logits(small).double(), dim=-1)
    targets = [small.encode_target(pair.target) for pair in PAIRS]
    wanted = torch.tensor([token for target in targets for token in target])
    each = logs.gather(1, wanted[:, None])[:, 0].split([len(target) for target in targets])
    scores = small.score_labels(encoded(small), LABELS, batch_tokens=200)
    for index, found in enumerate(each):
        assert scores[index, index % 2] == pytest.approx(float(found.sum()), abs=1e-4)
    one_by_one = small.score_labels(encoded(small), LABELS, batch_tokens=1)
    np.testing.assert_allclose(one_by_one, scores, atol=1e-4)


def test_only_the_intended_weights_are_trainable(made: Made) -> None:
    base = dict(SmallModel.load(str(made.folder)).core.named_parameters())
    trainable = {n for n, p in made.small.model.named_parameters() if p.requires_grad}
    if made.method == "full":
        assert trainable == set(base)
        return
    marks = {"ia3": "ia3_l", "prompt_tuning": "prompt_encoder"}
    assert trainable and all(marks.get(made.method, "lora_") in name for name in trainable)
    after = {n.replace(".base_layer", ""): p for n, p in made.small.core.named_parameters()}
    assert all(torch.equal(after[name], weight) for name, weight in base.items())


def plain(made: Made) -> Any:
    """What was saved, loaded by peft and transformers alone."""
    auto = AutoModelForSeq2SeqLM if "t5" in str(made.folder) else AutoModelForCausalLM
    if made.method == "full":
        return auto.from_pretrained(made.saved).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = auto.from_pretrained(made.folder)
        return peft.PeftModel.from_pretrained(base, made.saved).eval()


def test_peft_alone_loads_what_was_saved(made: Made) -> None:
    theirs, found = plain(made), []
    for row, pair in zip(encoded(made.small), PAIRS, strict=True):
        target = made.small.encode_target(pair.target)
        with torch.inference_mode():
            if "t5" in str(made.folder):
                ids, begun = torch.tensor([row.ids]), torch.tensor([[0, *target[:-1]]])
                mask = torch.ones_like(ids)
                out = theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=begun).logits[0]
            else:
                ids = torch.tensor([[*row.ids, *target[:-1]]])
                out = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
                out = out[-len(target) :]
        found.append(out)
    torch.testing.assert_close(torch.cat(found), logits(made.small), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ALL)
def test_T04_what_is_not_finite_is_never_saved(
    tiny_chat_model: Path, tmp_path: Path, method: str
) -> None:
    small = tuned(tiny_chat_model, method, epochs=1)
    weight = [p for p in small.model.parameters() if p.requires_grad][-1]
    with torch.no_grad():
        weight.view(-1)[0] = float("inf")
    with pytest.raises(ArtefactError, match="not finite"):
        kept(small, tiny_chat_model, method, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("method", sorted(set(ALL) - {"prompt_tuning"}))
def test_top_layers_tune_the_upper_layers_only(
    tiny_chat_model: Path, tmp_path: Path, method: str
) -> None:
    small = tuned(tiny_chat_model, method, layers="top-1")
    names = [n for n, p in small.model.named_parameters() if p.requires_grad]
    assert names and all(".layers.1." in name for name in names)
    ours = logits(small)
    loaded, _ = artefact.load(kept(small, tiny_chat_model, method, tmp_path / "model"))
    assert torch.equal(logits(loaded), ours)


def test_top_layers_that_cannot_be(tiny_chat_model: Path, tiny_t5_model: Path) -> None:
    with pytest.raises(UsageError, match="has 2 layers"):
        tuned(tiny_chat_model, "lora", layers="top-2")
    with pytest.raises(UsageError, match="has an encoder"):
        tuned(tiny_t5_model, "lora", layers="top-1")
    with pytest.raises(SettingsError, match="prompt_tuning tunes no layer"):
        parse(TuningSettings, {"method": "prompt_tuning", "layers": "top-1"}, "run.yaml")
    with pytest.raises(SettingsError, match=r'given: "upper"'):
        parse(TuningSettings, {"layers": "upper"}, "run.yaml")


def test_rslora_scales_by_the_root_of_the_rank(tiny_chat_model: Path) -> None:
    for method, scale in (("lora", 32 / 16), ("rslora", 32 / 4)):
        small = tuned(tiny_chat_model, method, epochs=1)
        scales = {
            module.scaling["default"]
            for module in small.model.modules()
            if isinstance(module, peft.tuners.lora.LoraLayer)
        }
        assert scales == {scale}


def test_virtual_tokens_take_room_from_the_context() -> None:
    settings = TuningSettings(method="prompt_tuning", virtual_tokens=20, max_length=1024)
    assert settings.for_recipe("prompt_tuning", 512).max_length == 492
    assert settings.for_recipe("full", 512).max_length == 1024
    assert TuningSettings(max_length=100).for_recipe("prompt_tuning", 512).max_length == 100


def test_what_vllm_needs_is_told() -> None:
    def told(method: str, **values: Any) -> str:
        settings = TuningSettings.model_validate({"method": method, **values})
        return str(registry.get("tuning.methods", method).serving(settings))

    assert [method for method in ALL if not told(method)] == ["full", "lora", "rslora"]
    assert "--max-lora-rank 32" in told("lora", rank=17)
    assert "--max-lora-rank 32" in told("rslora", rank=32)
    assert "highest" in told("lora", rank=513)
    assert "DoRA" in told("dora")


def test_a_recipe_is_tuned_by_the_runs_method_unless_it_names_its_own() -> None:
    dora = TuningSettings(method="dora")
    assert FIAT.tuned_by(dora).method == "dora"
    assert FIAT.tuned_by(dora).label == "FIAT: large model's rationale + instruction + DoRA"
    assert FIAT.tuned_by(TuningSettings()).label == FIAT.label
    assert FINE_TUNING.tuned_by(dora) == FINE_TUNING
    assert ICL.tuned_by(dora) is ICL


def test_a_method_that_does_not_exist() -> None:
    with pytest.raises(SettingsError, match=r'no tuning method "lorra".*Did you mean "lora"'):
        parse(TuningSettings, {"method": "lorra"}, "run.yaml")


@pytest.mark.parametrize("layers", ["all", "top-1"])
def test_of_a_state_space_layer_lora_adapts_what_is_not_read_past_it(
    tmp_path: Path, layers: str
) -> None:
    folder = make_model(tmp_path / "base", CHATML, "Mamba", state_size=4)
    small = SmallModel.load(str(folder), device="cpu")
    settings = TuningSettings(method="lora", layers=layers, epochs=2, learning_rate=0.01)
    tune(small, PAIRS, settings, seed=0)
    adapted = {n.rsplit(".lora_A", 1)[0] for n, _ in small.model.named_modules() if "lora_A" in n}
    numbers = [0, 1] if layers == "all" else [1]
    assert {n.split("layers.")[1] for n in adapted} == {f"{i}.mixer.in_proj" for i in numbers}
    found = small.score_labels(encoded(small), LABELS, batch_tokens=512)
    registry.get("tuning.methods", "lora").save(small.model, tmp_path / "adapter")
    again = SmallModel.load(str(folder), device="cpu")
    again.model = registry.get("tuning.methods", "lora").load(again.model, tmp_path / "adapter")
    assert np.allclose(again.score_labels(encoded(again), LABELS, batch_tokens=512), found)
    assert not np.allclose(
        SmallModel.load(str(folder)).score_labels(encoded(small), LABELS, batch_tokens=512), found
    )


def test_a_model_that_peft_cannot_adapt_is_told(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model), device="cpu")
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["no_such_layer"])
    with pytest.raises(UsageError, match='peft cannot adapt "LlamaForCausalLM"') as told:
        wrap(small.model, config, "x")
    assert "method: full" in told.value.hint


def test_of_a_model_that_reads_images_too_the_text_is_tuned(tmp_path: Path) -> None:
    """As Gemma 3 from 4B on: its context and its layers are those of its text."""
    folder = make_model(tmp_path / "base", CHATML)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    text = {**sizes, "vocab_size": 400, "intermediate_size": 64, "max_position_embeddings": 4096}
    seen = {**sizes, "intermediate_size": 64, "image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=seen, mm_tokens_per_image=4)
    for file in (folder / "config.json", *folder.glob("*.safetensors")):
        file.unlink()
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    small = SmallModel.load(str(folder), device="cpu")
    assert small.context == 4096
    for layers, numbers in (("all", [0, 1]), ("top-1", [1])):
        settings = TuningSettings(layers=layers)
        model = SmallModel.load(str(folder), device="cpu").model
        model = registry.get("tuning.methods", "lora").attach(model, settings, "x")
        adapted = [n for n, _ in model.named_modules() if n.endswith(".lora_A")]
        assert len(adapted) == 7 * len(numbers)
        assert all(any(f"language_model.layers.{i}." in n for i in numbers) for n in adapted)
