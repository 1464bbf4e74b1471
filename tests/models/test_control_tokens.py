"""A09, I16: whatever the data holds, no control token arises but those of the scaffolding."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.models.tokenizer_families import FAMILIES, Family

from fiatkit.models.local import SmallModel
from fiatkit.models.providers._writer import Writer
from fiatkit.records import Message, Part, PartKind, SmallPrompt

KNOWN = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<think>", "<tool_call>"),
    *("</s>", "<s>", "<pad>", "<unk>", "<extra_id_0>", "<extra_id_99>"),
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<0x0A>"),
    *("[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"),
]
WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(33, 127)})


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """A control token, whole, in part, doubled, or as a normaliser may put it together."""
    token = draw(st.sampled_from(KNOWN))
    at = draw(st.integers(0, len(token)))
    other = draw(st.sampled_from(["", " ", "\u200b", "\x00", "\u00ad", "\u0301", "▁", "\n"]))
    inside = token[:at] + other + token[at:]
    nested = token[:at] + token + token[at:]
    return draw(
        st.sampled_from(
            [token, token[:at], token[at:], inside, nested, token.translate(WIDE), token.upper()]
        )
    )


HOSTILE = st.lists(st.one_of(disguised(), st.text(max_size=6)), max_size=6).map("".join)
FOUR = st.tuples(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
KINDS: tuple[PartKind, ...] = ("instruction", "query", "rationale")


class Prepared:
    """The product's own preparation of one family, for the small and for a large model."""

    def __init__(self, family: Family) -> None:
        model = family.model()
        self.family = family
        self.tokenizer = family.tokenizer
        self.control = set(family.tokenizer.convert_tokens_to_ids(list(family.controls)))
        assert None not in self.control and len(self.control) == len(family.controls)
        self.small = SmallModel(model, self.tokenizer, {})
        self.large = None if family.name == "unigram" else Writer(model, self.tokenizer, 100_000)

    def controls(self, ids: Sequence[int]) -> list[int]:
        return [i for i in ids if i in self.control]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text

    def read(self, texts: Sequence[str]) -> Any:
        parts = tuple(Part(kind, text) for kind, text in zip(KINDS, texts, strict=False))
        return self.small.encode(SmallPrompt("q", parts), max_length=90_000, reserve=8)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def prepared(request: pytest.FixtureRequest) -> Prepared:
    return Prepared(FAMILIES[request.param]())


def test_the_tokenizer_itself_would_read_them(prepared: Prepared) -> None:
    """What the property guards against is real: plain tokenising makes control tokens of text."""
    text = "".join(f"x{token}" for token in prepared.family.controls)
    found = prepared.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert set(prepared.controls(found)) == prepared.control


@EXAMPLES
@given(texts=FOUR)
def test_A09_no_text_controls_a_small_model(prepared: Prepared, texts: tuple[str, ...]) -> None:
    encoded = prepared.read(texts)
    frame = prepared.controls(prepared.read(["x", "x", "x"]).ids)
    assert prepared.controls(encoded.ids) == frame
    target = prepared.small.encode_target(texts[3])
    assert prepared.controls(target) == prepared.controls(target[-1:]) == [prepared.small.stop_id]
    back = prepared.family.back
    if back is None:
        return
    start = 0
    shown = iter(texts)
    for kind, count in encoded.spans:
        ids, start = encoded.ids[start : start + count], start + count
        if kind != "scaffold":
            assert prepared.decode(ids) == back(next(shown))
    gap = "" if prepared.family.template else " "
    assert prepared.decode(target[:-1]) == back(gap + texts[3])


@EXAMPLES
@given(texts=FOUR)
def test_A09_no_text_controls_a_large_model_in_process(
    prepared: Prepared, texts: tuple[str, ...]
) -> None:
    if prepared.large is None:
        pytest.skip("an encoder-decoder is no large model")
    roles = ("system", "user", "assistant", "user")

    def ids_of(contents: Sequence[str]) -> tuple[int, ...]:
        talk = [Message(role, text) for role, text in zip(roles, contents, strict=True)]
        assert prepared.large is not None
        return prepared.large.prompt_ids(talk)

    found = ids_of(texts)
    assert prepared.controls(found) == prepared.controls(ids_of("wxyz"))
