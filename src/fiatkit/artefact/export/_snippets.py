"""Python for model cards: it needs what it imports, and no fiatkit."""

from __future__ import annotations

from fiatkit.artefact.export._source import Source

PROMPT = '''\
import json
from pathlib import Path

{imports}

folder = Path(".")
form = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))
tokenizer = AutoTokenizer.from_pretrained(folder)


def literal(text):
    """Ids of data: control tokens in it are ordinary characters."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def prompt_ids(row, rationale=""):
    """A row's prompt as in tuning: each part is tokenised by itself."""
    titles = [(name, title) for name, title in form["fields"].items() if name in row]
    lines = [title + ": " + row[name].strip() for name, title in titles]
    data = {{"query": "\\n".join(lines), "rationale": rationale.strip()}}
    parts = [literal(part["text"] + data.get(part["kind"], "")) for part in form["parts"]]
    return [*form["before_ids"], *(i for part in parts for i in part), *form["after_ids"]]
'''

CHOOSE = '''\


@torch.inference_mode()
def answer(row, rationale=""):
    """The label that the model finds likeliest, its stop token included."""
    prompt = prompt_ids(row, rationale)

    def score(label):
        ids = [*literal(form["before_answer"] + label), form["stop_id"]]
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
def answer(row, rationale=""):
    """The text that the model writes."""
    prompt = prompt_ids(row, rationale)
    written = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
    )[0]
    text = tokenizer.decode(
        written{start}, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text.strip()
'''


def transformers_code(source: Source, load: str) -> str:
    """A whole example: the prompt, the model (`load` says how), and an answer to a row."""
    decoder = source.small.core.config.is_encoder_decoder
    classes = [
        auto_class(source),
        "AutoTokenizer",
        *([] if source.labels else ["GenerationConfig"]),
    ]
    imports = f"import torch\nfrom transformers import {', '.join(classes)}"
    code = PROMPT.format(imports=imports) + f"\n\n{load.strip()}\n"
    if source.labels:
        logits = "model(input_ids=torch.tensor([prompt]), labels=torch.tensor([ids])).logits[0]"
        if not decoder:
            # Counted from the end: virtual tokens, where an adapter has some, come first.
            logits = "model(input_ids=torch.tensor([prompt + ids[:-1]])).logits[0, -len(ids) :]"
        code += CHOOSE.format(logits=logits)
    else:
        begins = "\n    decoder_start_token_id=model.config.decoder_start_token_id,"
        start = "" if decoder else "[len(prompt) :]"
        code += WRITE.format(start=start, start_token=begins if decoder else "")
    return code + _ask(source)


def client_code(source: Source, client: str) -> str:
    """A whole example with a server: the prompt, `client` with its function `answer`, a row."""
    imports = "from transformers import AutoTokenizer"
    return PROMPT.format(imports=imports) + client + _ask(source)


def auto_class(source: Source) -> str:
    """The class of transformers that loads the base."""
    decoder = source.small.core.config.is_encoder_decoder
    return "AutoModelForSeq2SeqLM" if decoder else "AutoModelForCausalLM"


def _ask(source: Source) -> str:
    return f"\n\nprint(answer({example_row(source)!r}{example_rationale(source)}))\n"


def example_row(source: Source) -> dict[str, str]:
    """A row to ask about: the task's first exemplar, else an empty one."""
    exemplars = source.task.exemplar_list
    if exemplars:
        return dict(exemplars[0].query.fields)
    return dict.fromkeys(source.task.field_names, "...")


def example_rationale(source: Source) -> str:
    """The argument that gives the example's rationale, where the recipe has one."""
    if source.artefact.preparation["recipe"].get("rationale") != "large":
        return ""
    exemplars = source.task.exemplar_list
    return f", rationale={exemplars[0].rationale if exemplars else '...'!r}"


def fenced(code: str, language: str = "python") -> str:
    """A code block of Markdown."""
    return f"```{language}\n{code.strip()}\n```"
