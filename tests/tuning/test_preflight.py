"""Masks you can see: the loss is on the target's tokens and the stop token, in every family of
tokenizers, and what would break that is told before tuning, with counts and row ids."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fiatkit.errors import DataError
from fiatkit.models.local import SmallModel
from fiatkit.records import Part, SmallPrompt, TrainingPair
from fiatkit.tuning import preflight
from fiatkit.tuning.preflight import Flaw
from fiatkit.tuning.tuner import Row, encode_rows, target_loss
from tests.models.tokenizer_families import FAMILIES

TARGETS = ["cold", "warm now", "the parcel is late"]
LIMIT, RESERVE = 400, 24


def pair(number: int, target: str, rationale: str = "") -> TrainingPair:
    parts = [Part("instruction", "Say warm or cold.\n\n"), Part("query", f"Text: sun {number}")]
    if rationale:
        parts.append(Part("rationale", f"\n\nReasoning: {rationale}"))
    return TrainingPair(SmallPrompt(f"r{number}", (*parts, Part("cue", "\n\nAnswer:"))), target)


PAIRS = [pair(number, TARGETS[number % 3]) for number in range(6)]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def small(request: pytest.FixtureRequest) -> SmallModel:
    """A tiny model of each family, with weights large enough that no two tokens are alike."""
    torch.manual_seed(0)
    family = FAMILIES[request.param]()
    model = family.model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.5)
    return SmallModel(model, family.tokenizer, {})


def position_losses(small: SmallModel, row: Row) -> Iterator[tuple[int, float]]:
    """What the whole model, as transformers has it, loses at each token of the row."""
    model = small.core
    if model.config.is_encoder_decoder:
        start = model.config.decoder_start_token_id
        ids: tuple[int, ...] = row.target
        begun = torch.tensor([[start, *ids[:-1]]])
        logits = model(input_ids=torch.tensor([row.prompt]), decoder_input_ids=begun).logits[0]
    else:
        ids = (*row.prompt, *row.target)[1:]
        logits = model(input_ids=torch.tensor([[row.prompt[0], *ids]])).logits[0, :-1]
    logs = torch.log_softmax(logits.double(), dim=-1)
    for place, token in enumerate(ids):
        yield token, -float(logs[place, token])


def test_exactly_the_tokens_of_the_target_and_the_stop_token_are_in_the_loss(
    small: SmallModel,
) -> None:
    rows, _, _ = encode_rows(small, PAIRS, LIMIT, RESERVE)
    for row, text in zip(rows, TARGETS * 2, strict=True):
        with torch.inference_mode():
            ours = float(target_loss(small, [row]).double())
            losses = list(position_losses(small, row))
        expected = [*small.encode_target(text)[:-1], small.stop_id]
        masked, kept = losses[: -len(expected)], losses[-len(expected) :]
        assert [token for token, _ in kept] == expected
        shown = small.tokenizer.decode(expected[:-1], clean_up_tokenization_spaces=False)
        assert shown.replace(" ", "") == text.replace(" ", "")  # wordpiece puts blanks in
        assert ours == pytest.approx(sum(loss for _, loss in kept), rel=1e-5)
        assert all(loss > 1e-3 for _, loss in losses), "a token more or less would be seen"
        assert bool(masked) != small.core.config.is_encoder_decoder


def test_each_token_of_the_loss_and_no_other_moves_it(small: SmallModel) -> None:
    """Token by token: the gradient at the logits is zero wherever nothing is learnt."""
    rows, _, _ = encode_rows(small, PAIRS[:3], LIMIT, RESERVE)
    logits: list[torch.Tensor] = []
    head = small.core.get_output_embeddings()

    def keep(_: Any, __: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        logits.append(output)

    handle = head.register_forward_hook(keep)
    try:
        small.core.requires_grad_(True)
        target_loss(small, rows).backward()
    finally:
        handle.remove()
        small.core.zero_grad()
    gradient = torch.cat([found.grad.reshape(-1, found.shape[-1]) for found in logits])  # type: ignore[union-attr]
    moved = [int(line.argmin()) for line in gradient if bool(line.any())]
    assert sorted(moved) == sorted(token for row in rows for token in row.target)


def read(small: SmallModel, limit: int = LIMIT) -> Any:
    return lambda prompt: small.encode(prompt, max_length=limit, reserve=RESERVE)


def look(small: SmallModel, rows: list[Row], pairs: list[TrainingPair] = PAIRS) -> list[Flaw]:
    return preflight.check(small, pairs, rows, read(small), reserve=RESERVE, labels=TARGETS)


def test_rows_as_the_tuner_makes_them_have_no_flaw(small: SmallModel) -> None:
    long = [replace(p, prompt=pair(i, "", "it is hot " * 200).prompt) for i, p in enumerate(PAIRS)]
    for pairs in (PAIRS, long):
        rows, skipped, cut = encode_rows(small, pairs, LIMIT, RESERVE)
        assert not skipped and sum(cut.values()) == (len(long) if pairs is long else 0)
        assert [flaw.sentence for flaw in look(small, rows, pairs) if flaw.fatal] == []


def broken(kind: str, small: SmallModel, row: Row) -> Row:
    head, tail, other = row.prompt[:-1], row.prompt[-1], small.encode_target("late")[0]
    return {
        preflight.CUT: replace(row, target=(*row.target[:-2], small.stop_id)),
        preflight.STOP_OUTSIDE: replace(row, target=row.target[:-1]),
        preflight.NOTHING: replace(row, target=()),
        preflight.NOT_A_PREFIX: replace(row, prompt=(*row.prompt[:9], other, *row.prompt[9:])),
        preflight.TEMPLATE: replace(row, prompt=(*head, other) if tail != other else head),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        preflight.CUT,
        preflight.STOP_OUTSIDE,
        preflight.NOTHING,
        preflight.NOT_A_PREFIX,
        preflight.TEMPLATE,
    ],
)
def test_each_flaw_is_told_with_its_count_and_rows(tiny_chat_model: Path, kind: str) -> None:
    small = SmallModel.load(str(tiny_chat_model))
    rows, _, _ = encode_rows(small, PAIRS, LIMIT, RESERVE)
    rows[1], rows[4] = (broken(kind, small, rows[index]) for index in (1, 4))
    flaws = look(small, rows)
    assert [flaw.sentence for flaw in flaws] == [f"2 of 6 training rows: {kind} (r1, r4)."]
    with pytest.raises(DataError, match=r"not begun. 2 of 6 training rows"):
        preflight.refuse(flaws)


def test_T12_a_target_that_holds_an_end_token_is_refused(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model))
    rows, _, _ = encode_rows(small, PAIRS, LIMIT, RESERVE)
    ended = replace(rows[2], target=(small.stop_id, *rows[2].target))
    found = [flaw.what for flaw in look(small, [ended])]
    assert preflight.STOP_INSIDE in found


def test_T12_a_target_longer_than_prediction_may_write_is_noted(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model))
    pairs = [*PAIRS, pair(9, "late " * 40)]
    rows, _, _ = encode_rows(small, pairs, LIMIT, RESERVE)
    flaws = look(small, rows, pairs)
    assert preflight.refuse(flaws) == [f"1 of 7 training rows: {preflight.UNWRITABLE} (r9)."]


def test_T12_a_target_with_characters_unknown_to_the_tokenizer_is_noted(
    tiny_t5_model: Path,
) -> None:
    small = SmallModel.load(str(tiny_t5_model))
    pairs = [*PAIRS, pair(8, "火星"), pair(9, "warm 火星 now")]
    rows, _, _ = encode_rows(small, pairs, LIMIT, RESERVE)
    flaws = look(small, rows, pairs)
    assert preflight.refuse(flaws) == [f"2 of 8 training rows: {preflight.UNKNOWN} (r8, r9)."]


def test_a_target_without_any_token_is_refused() -> None:
    """A tokenizer may drop characters: here, control characters."""
    family = FAMILIES["wordpiece"]()
    small = SmallModel(family.model(), family.tokenizer, {})
    pairs = [*PAIRS, pair(9, "\x01")]
    rows, _, _ = encode_rows(small, pairs, LIMIT, RESERVE)
    [flaw] = look(small, rows, pairs)
    assert (flaw.what, flaw.rows) == (preflight.NOTHING, ("r9",))


def test_labels_that_a_tokenizer_makes_one_are_refused() -> None:
    family = FAMILIES["wordpiece"]()
    small = SmallModel(family.model(), family.tokenizer, {})
    flaws = preflight.check(
        small, [], [], read(small), reserve=RESERVE, labels=["Cold", "cold", "warm"]
    )
    assert [flaw.sentence for flaw in flaws] == [
        'The labels "Cold" and "cold" have the same tokens in this model.'
    ]


def test_a_pad_token_in_the_stop_list_is_noted(tiny_chat_model: Path) -> None:
    small = SmallModel.load(str(tiny_chat_model))
    rows, _, _ = encode_rows(small, PAIRS, LIMIT, RESERVE)
    pad = small.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    small.tokenizer.pad_token = "<|endoftext|>"
    small.core.generation_config.eos_token_id = [small.stop_id, pad]
    [flaw] = look(small, rows)
    assert not flaw.fatal and '"<|endoftext|>" is in the model\'s list of stop' in flaw.sentence
    inside = replace(rows[0], target=(pad, *rows[0].target))
    assert preflight.STOP_INSIDE in [f.what for f in look(small, [inside]) if f.fatal]


def test_prediction_that_reads_another_template_is_refused(tiny_chat_model: Path) -> None:
    small, other = (SmallModel.load(str(tiny_chat_model)) for _ in range(2))
    template = other.tokenizer.chat_template
    other.tokenizer.chat_template = template.replace("assistant", "model")
    assert template != other.tokenizer.chat_template
    other = SmallModel(other.model, other.tokenizer, {})
    rows, _, _ = encode_rows(small, PAIRS, LIMIT, RESERVE)
    [flaw] = preflight.check(small, PAIRS, rows, read(other), reserve=RESERVE)
    assert (flaw.what, len(flaw.rows), flaw.fatal) == (preflight.TEMPLATE, 6, True)
