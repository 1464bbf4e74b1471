"""Python for model cards: it needs what it imports, and no fiatkit.

Each card's code asks its model or server in two ways of its own, `choose` (a label) and `write` (a
text); how an answer comes of them is the same for all.
"""

from __future__ import annotations

from fiatkit.artefact.export._source import Source
from fiatkit.tasks.answers import STRIP

PROMPT = '''\
import json
from pathlib import Path

{imports}

folder = Path(".")
form = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))
tokenizer = AutoTokenizer.from_pretrained(folder)
control = set(form["control_ids"])


def literal(text):
    """Ids of data: control tokens in it are ordinary characters."""
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    if control.isdisjoint(ids):
        return ids
    whole, pieces = tokenizer.backend_tokenizer, [text]
    if whole.normalizer is not None:
        pieces = [whole.normalizer.normalize_str(text)]
    if whole.pre_tokenizer is not None:
        pieces = [piece for piece, _ in whole.pre_tokenizer.pre_tokenize_str(pieces[0])]
    return [i for piece in pieces for i in cut(piece)]


def cut(piece):
    """Ids of a piece of text, cut behind the first character of each control token in it."""
    tokens = tokenizer.backend_tokenizer.model.tokenize(piece) if piece else []
    found = next((token.value for token in tokens if token.id in control), None)
    if found is None or len(piece) == 1:
        return [token.id for token in tokens]
    at = max(0, piece.find(found)) + 1
    at -= at == len(piece)
    return cut(piece[:at]) + cut(piece[at:])


def prompt_ids(row, rationale=None):
    """A row's prompt as in tuning: each part is tokenised by itself."""
    given = [(name, title) for name, title in form["fields"].items() if row.get(name) is not None]
    values = [(title, str(row[name]).strip()) for name, title in given]
    lines = [title + ": " + value for title, value in values if value]
    data = {{"query": "\\n".join(lines)}}
    if rationale is not None:
        data["rationale"] = rationale.strip()
    parts = [part for part in form["parts"] if part["kind"] != "rationale" or "rationale" in data]
    texts = [literal(part["text"] + data.get(part["kind"], "")) for part in parts]
    return [*form["before_ids"], *(i for ids in texts for i in ids), *form["after_ids"]]
'''

CHOOSE = '''\


@torch.inference_mode()
def choose(prompt, before=()):
    """The label that the model finds likeliest, its stop token included."""

    def score(label):
        ids = [*before, *literal(form["before_label"] + label), form["stop_id"]]
        logits = {logits}
        return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum().item()

    return max(form["labels"], key=score)
'''

WRITE = '''\


# A base may bring settings of its own, such as a repetition penalty, which it was not tuned with.
plain = GenerationConfig(
    do_sample=False,
    max_new_tokens=form["max_answer_tokens"],
    eos_token_id=form["stop_id"],
    pad_token_id=form["stop_id"],{start_token}
)
for part in model.modules():
    if hasattr(part, "generation_config"):
        part.generation_config = plain


@torch.inference_mode()
def write(prompt):
    """The text that the model writes, and whether it comes to an end."""
    written = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
    )[0, {start} :].tolist()
    return text_of(written), form["stop_id"] in written
'''

TEXT_OF = '''\


def text_of(ids):
    """The text of the tokens before the stop token."""
    ids = [*ids, form["stop_id"]]
    return tokenizer.decode(
        ids[: ids.index(form["stop_id"])],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
'''

ANSWER = '''\


def answer(row{asked}):
    """{told}"""
    prompt = prompt_ids(row{given})
{body}
'''
LABEL = "    return choose(prompt)"
TEXT = "    return write(prompt)[0].strip()"
REASONED_LABEL = """\
    before, found, after = write(prompt)[0].rpartition(form["marker"])
    reasoning = (before if found else after).strip()
    said = reasoning + "\\n" + form["marker"] if reasoning else form["marker"]
    return choose(prompt, literal(form["before_answer"] + said))"""
REASONED_TEXT = """\
    text, ended = write(prompt)
    _, found, after = text.rpartition(form["marker"])
    return after{strip} or None if ended and found else None"""


def transformers_code(source: Source, load: str) -> str:
    """A whole example: the prompt, the model (`load` says how), and an answer to a row."""
    decoder = source.small.core.config.is_encoder_decoder
    classes = [
        auto_class(source),
        "AutoTokenizer",
        *(["GenerationConfig"] if source.writes else []),
    ]
    imports = f"import torch\nfrom transformers import {', '.join(classes)}"
    code = PROMPT.format(imports=imports) + f"\n\n{load.strip()}\n"
    logits = "model(input_ids=torch.tensor([prompt]), labels=torch.tensor([ids])).logits[0]"
    if not decoder:
        # Counted from the end: virtual tokens, where an adapter has some, come first.
        logits = "model(input_ids=torch.tensor([prompt + ids[:-1]])).logits[0, -len(ids) :]"
    begins = "\n    decoder_start_token_id=model.config.decoder_start_token_id,"
    start = {"start": "1", "start_token": begins} if decoder else {"start": "len(prompt)"}
    write = WRITE.format(**{"start_token": ""} | start)
    return code + answer_code(source, CHOOSE.format(logits=logits), write)


def client_code(source: Source, client: str, choose: str, write: str) -> str:
    """A whole example with a server: the prompt, `client`, how it is asked, a row."""
    imports = "from transformers import AutoTokenizer"
    return PROMPT.format(imports=imports) + client + answer_code(source, choose, write)


def answer_code(source: Source, choose: str, write: str) -> str:
    """The ways of asking that the task needs, the function `answer`, and a row."""
    code = write if source.writes else ""
    code = TEXT_OF + code if "text_of(" in code else code
    code += choose if source.task.choices else ""
    if source.reasons:
        told = "The answer behind the reasoning that the model writes first."
        bare = f".strip({STRIP!r})"
        strip = f"{bare}.rstrip('.。।'){bare}" if source.task.answer == "text" else ".strip()"
        body = REASONED_LABEL if source.task.choices else REASONED_TEXT.format(strip=strip)
    else:
        told = "The likeliest label." if source.task.choices else "The text that the model writes."
        body = LABEL if source.task.choices else TEXT
    asked = given = ""
    if source.reads_rationale:
        asked, given = (", rationale=None" if source.falls_back else ", rationale"), ", rationale"
    row = f"\n\nprint(answer({example_row(source)!r}{example_rationale(source)}))\n"
    return code + ANSWER.format(asked=asked, told=told, given=given, body=body) + row


def auto_class(source: Source) -> str:
    """The class of transformers that loads the base."""
    decoder = source.small.core.config.is_encoder_decoder
    return "AutoModelForSeq2SeqLM" if decoder else "AutoModelForCausalLM"


def example_row(source: Source) -> dict[str, str]:
    """A row to ask about: the task's first exemplar, else an empty one."""
    exemplars = source.task.exemplar_list
    if exemplars:
        return dict(exemplars[0].query.fields)
    return dict.fromkeys(source.task.field_names, "...")


def example_rationale(source: Source) -> str:
    """The argument that gives the example's rationale, where the recipe has one."""
    if not source.reads_rationale:
        return ""
    exemplars = source.task.exemplar_list
    return f", rationale={exemplars[0].rationale if exemplars else '...'!r}"


def fenced(code: str, language: str = "python") -> str:
    """A code block of Markdown."""
    return f"```{language}\n{code.strip()}\n```"
