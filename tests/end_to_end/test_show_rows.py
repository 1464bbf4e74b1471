"""fiat doctor --show: rows as both models will see them, token by token, without spending."""

import re
from pathlib import Path

from tests.command import run

from fiatkit.config import read_config
from fiatkit.experiment import make_plan
from fiatkit.experiment.rows import show_rows, token_texts
from fiatkit.models.local import SmallModel


def fiat(folder: Path, *words: str) -> str:
    done = run(folder, *words, COLUMNS="300")
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(folder: Path, **changes: str) -> None:
    path = folder / "run.yaml"
    text = path.read_text()
    for old, new in changes.items():
        found = re.sub(rf"(?m)^{old}: .*$", f"{old}: {new}", text)
        assert found != text
        text = found
    path.write_text(text)


def test_the_row_before_and_after_its_rationale(run_folder: Path) -> None:
    shown = fiat(run_folder, "doctor", "run.yaml", "--show", "2")
    assert not (run_folder / "runs").exists(), "nothing is spent"
    assert shown.count("The large model reads:") == 2
    assert "Say warm or cold." in shown
    assert shown.count("not in the store yet") == 2
    assert "rationale  " not in shown
    learnt = [line.split() for line in shown.splitlines() if line.startswith("    * ")]
    assert [line[1] for line in learnt] == ["target", "stop"] * 2
    assert {line[3].replace("│", "") for line in learnt} == {"warm", "cold", "<|im_end|>"}

    edit(run_folder, recipes="[fiat]", sizes="[8]", seeds="[0]")
    fiat(run_folder, "expand", "run.yaml")
    shown = fiat(run_folder, "doctor", "run.yaml", "--show", "1")
    assert "not in the store yet" not in shown
    (line,) = [line for line in shown.splitlines() if re.match(r"      rationale +\d", line)]
    assert "Reasoning:" in line.replace("│", "")


def test_tokens_are_those_that_tuning_takes(run_folder: Path) -> None:
    plan = make_plan(read_config(run_folder / "run.yaml"))
    small = SmallModel.load(plan.config.small.model)
    for row, example in zip(show_rows(plan, 3), plan.data.train, strict=False):
        kinds = [part.kind for part in row.segments]
        assert kinds == ["scaffold", "instruction", "query", "cue", "scaffold", "target", "stop"]
        text = "".join("".join(part.texts) for part in row.segments)
        assert "Say·warm·or·cold.\\n\\n" in text
        assert text.endswith(("warm<|im_end|>", "cold<|im_end|>"))
        assert sum(part.tokens for part in row.segments if part.in_loss) == len(
            small.encode_target(example.target)
        )


def test_what_is_cut_is_told_with_its_reason(run_folder: Path) -> None:
    edit(run_folder, recipes="[fiat]", sizes="[8]", seeds="[0]", tuning="{max_length: 56}")
    fiat(run_folder, "expand", "run.yaml")
    plan = make_plan(read_config(run_folder / "run.yaml").model_copy(
        update={"store": run_folder / "runs" / "rationales.sqlite"}
    ))  # fmt: skip
    rows = list(show_rows(plan, 8))
    cut = [row for row in rows if any(note.startswith("cut: the last") for note in row.notes)]
    assert cut
    for row in cut:
        assert sum(part.tokens for part in row.segments) == 56
        assert row.rationale is not None
        shown = "".join(t for part in row.segments if part.kind == "rationale" for t in part.texts)
        note = next(note for note in row.notes if note.startswith("cut"))
        lost = note.split('"')[1]
        whole = "\\n\\nReasoning: " + row.rationale.text.replace("\n", "\\n")
        assert shown.replace("·", " ") + lost == whole


def test_text_that_could_move_the_cursor_is_escaped(run_folder: Path) -> None:
    rows = (run_folder / "rows.csv").read_text()
    (run_folder / "rows.csv").write_text(rows.replace("sun number", "sun \x1b[31m\u202e number"))
    shown = fiat(run_folder, "doctor", "run.yaml", "--show", "8")
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b" in shown
    assert "\\u202e" in shown


def test_tokens_inside_a_character_come_together(tiny_chat_model: Path) -> None:
    tokenizer = SmallModel.load(str(tiny_chat_model)).tokenizer
    ids = tokenizer("Ünï 쿄🙂 ok", add_special_tokens=False)["input_ids"]
    texts = list(token_texts(tokenizer, ids))
    assert len(texts) < len(ids)
    assert "".join(texts) == "Ünï·쿄🙂·ok"
    assert not any("\ufffd" in text for text in texts)
