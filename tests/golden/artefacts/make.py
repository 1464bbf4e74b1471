"""Make the golden artefacts of the present format, in a folder that must not exist yet."""

import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2]))

RUN = """
version: 1
task: task.yaml
data: {file: rows.csv, dev_rows: 8, test_rows: 8}
large:
  provider: scripted
  answers: {"sun|sol": "It is warm there.\\nAnswer: warm", "ice|hielo": "Answer: cold"}
  default: "I cannot tell."
small: {model: base, device: cpu}
sizes: [24]
tuning: {epochs: 3, learning_rate: 0.01, rank: 4}
"""
NEW = "id,language,text\n1,en,the sun again\n2,es,mucho hielo\n3,en,ice and sun\n4,es,小包\n"


def main() -> None:
    """Tune in a folder of its own and keep what is needed to ask again."""
    from tests.conftest import CHATML, make_model
    from tests.end_to_end.conftest import TASK, rows

    from fiatkit.api import fit, load
    from fiatkit.artefact import FORMAT
    from fiatkit.experiment.folder import write_predictions

    target = HERE / f"format-{FORMAT}"
    target.mkdir()
    os.chdir(target)
    make_model(Path("base"), CHATML)
    Path("task.yaml").write_text(TASK)
    Path("run.yaml").write_text(RUN)
    Path("rows.csv").write_text(rows())
    Path("new.csv").write_text(NEW)
    for name, recipe in (("lora", "fiat"), ("full", "fiat -rationale -instruction -peft")):
        fit("run.yaml", out=name, recipe=recipe, progress=False)
        write_predictions(Path(f"{name}.jsonl"), load(name).predict("new.csv", progress=False))
    for name in ("task.yaml", "run.yaml", "rows.csv"):
        Path(name).unlink()
    shutil.rmtree("runs")
    (Path("base") / "generation_config.json").unlink()


if __name__ == "__main__":
    main()
