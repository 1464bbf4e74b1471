"""A09, I16: whatever the data holds, no control token arises but those of the scaffolding."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.models.tokenizer_families import FAMILIES, Family

from fiatkit.models import catalogue
from fiatkit.models._literal import is_marked_word
from fiatkit.models.local import SmallModel
from fiatkit.models.providers._writer import Writer
from fiatkit.models.providers.llama_cpp import Settings, Worker, literal_ids
from fiatkit.records import Message, Part, PartKind, Request, Sampling, SmallPrompt

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


def smollm2() -> Family:
    """The real tokenizer, in front of a tiny model. Its vocabulary lacks 21 bytes, of ASCII
    controls and of planes without letters; these it drops."""
    from transformers import AutoTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder, _ = catalogue.resolve_transformers("smollm2-135m")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    controls = tuple(str(token) for token in tokenizer.added_tokens_decoder.values())
    assert len(controls) > 10
    words = tokenizer.get_vocab()
    missing = bytes(byte for byte, shown in bytes_to_unicode().items() if shown not in words)
    assert len(missing) == 21

    def back(text: str) -> str:
        return text.encode().translate(None, missing).decode(errors="replace")

    return Family("smollm2", tokenizer, controls, tokenizer.chat_template, back)


REAL = pytest.param("smollm2", marks=pytest.mark.weights)


@pytest.fixture(scope="module", params=[*sorted(FAMILIES), REAL])
def prepared(request: pytest.FixtureRequest) -> Prepared:
    return Prepared({**FAMILIES, "smollm2": smollm2}[request.param]())


DECODERS = [*sorted(set(FAMILIES) - {"unigram"}), REAL]


@pytest.fixture(scope="module", params=DECODERS)
def prepared_large(request: pytest.FixtureRequest) -> Prepared:
    """The families of decoders: an encoder-decoder is no large model."""
    return Prepared({**FAMILIES, "smollm2": smollm2}[request.param]())


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
    prepared_large: Prepared, texts: tuple[str, ...]
) -> None:
    prepared = prepared_large
    assert prepared.large is not None
    roles = ("system", "user", "assistant", "user")

    def ids_of(contents: Sequence[str]) -> tuple[int, ...]:
        talk = [Message(role, text) for role, text in zip(roles, contents, strict=True)]
        assert prepared.large is not None
        return prepared.large.prompt_ids(talk)

    found = ids_of(texts)
    assert prepared.controls(found) == prepared.controls(ids_of("wxyz"))


def test_brackets_and_indices_of_a_program_are_no_control_tokens() -> None:
    assert all(map(is_marked_word, ["<think>", "<|x|>", " [INST]", "<｜User｜>"]))
    assert not any(map(is_marked_word, ["[]", "<>", "||", "<=>", "|", "a>b", "[0]", "word"]))


def test_A09_added_tokens_that_llama_cpp_lets_through_are_cut() -> None:
    """A vocabulary of characters, with three words that are matched before anything else."""
    words = {"<tool>": 1000, "<tool_call>": 1001, "[A]": 1002, "  ": 1003}

    def pieces(text: str) -> list[tuple[int, str]]:
        found, at = [], 0
        while at < len(text):
            word = next((w for w in sorted(words, key=len)[::-1] if text.startswith(w, at)), None)
            found.append((words[word], word) if word else (ord(text[at]), text[at]))
            at += len(word or "x")
        return found

    plain = "a  b [0] <i> [] ||"
    assert literal_ids(plain, pieces) == tuple(number for number, _ in pieces(plain))
    for text in ("<tool>", "x<tool_call>[A]<tool_call>", "<<tool>tool>", "[A]" * 3000, "", "[[A]]"):
        assert literal_ids(text, pieces) == tuple(map(ord, text))


@pytest.fixture(scope="module")
def llama() -> Iterator[Worker]:
    name = "qwen2.5-coder-0.5b"
    path, _ = catalogue.resolve_gguf(name)
    worker = Worker(str(path), Settings(model=name, context=512))
    yield worker
    worker.stop()


QWEN = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|vision_pad|>"),
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_pad|>", "<|repo_name|>"),
)


@pytest.mark.weights
@settings(EXAMPLES, max_examples=25)
@given(texts=st.tuples(HOSTILE, st.lists(st.sampled_from((*QWEN, "x", "<")), max_size=5)))
def test_A09_no_text_controls_a_model_of_llama_cpp(
    llama: Worker, texts: tuple[str, list[str]]
) -> None:
    control = [llama._tokenize(token, True) for token in QWEN]
    assert all(len(ids) == 1 for ids in control)
    contents = (texts[0], "".join(texts[1]))
    for text in contents:
        ids = llama._tokenize(text, False)
        assert not {i for (i,) in control} & set(ids)
        assert llama.post("/detokenize", {"tokens": ids})["content"] == text
    talk = tuple(Message(r, t) for r, t in zip(("system", "user"), contents, strict=True))
    found = llama.prompt_ids(Request(talk, Sampling(max_tokens=1)))
    assert [i for i in found if (i,) in control] == [151644, 151645] * 2 + [151644]
