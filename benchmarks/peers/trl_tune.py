"""TRL's SFTTrainer on rows that are token ids already: a JSON line for each step.

Runs in an environment of its own (see Makefile), knows nothing of fiatkit. Takes a JSON file:
{"model": folder, "rows": [[prompt ids, target ids], ...], "batch": 8, "variant": ..., "rank": 16,
"alpha": 32, "lr": 3e-4, "shares": the learning rate's share at each step, "init": safetensors
with the adapter's first weights}. Rows are taken in their order, `batch` a step.

Variants: "grouped" pads a batch to its longest row (the caller orders the rows); "padding_free"
joins a batch to one row.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class InOrder(SFTTrainer):
    def _get_train_sampler(self, *args, **kwargs):
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def create_scheduler(self, num_training_steps, optimizer=None):
        shares = self.shares
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, lambda step: shares[min(step, len(shares) - 1)]
        )
        return self.lr_scheduler


class Clock(TrainerCallback):
    began = 0.0

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds = time.perf_counter() - self.began

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            told = {"loss": logs["loss"], "seconds": self.seconds}
            print(json.dumps(told), flush=True)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    rows = Dataset.from_list(
        [
            {
                "input_ids": prompt + target,
                "completion_mask": [0] * len(prompt) + [1] * len(target),
            }
            for prompt, target in job["rows"]
        ]
    )
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=job["rank"],
        lora_alpha=job["alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    steps = len(job["rows"]) // job["batch"]
    config = SFTConfig(
        output_dir=job["out"],
        per_device_train_batch_size=job["batch"],
        max_steps=steps,
        learning_rate=job["lr"],
        weight_decay=0.0,
        max_grad_norm=1.0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        bf16=False,
        gradient_checkpointing=False,
        completion_only_loss=True,
        padding_free=job["variant"] == "padding_free",
        max_length=None,
        logging_steps=1,
        logging_first_step=True,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        seed=0,
        disable_tqdm=True,
        dataloader_num_workers=0,
    )
    # The fused head is put on the model before peft wraps it, so peft is left to the trainer.
    InOrder.shares = job["shares"]
    trainer = InOrder(
        model=model,
        args=config,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[Clock()],
    )
    first = load_file(job["init"])
    names = {
        name.replace(".default", ""): weight
        for name, weight in trainer.model.named_parameters()
        if weight.requires_grad
    }
    with torch.no_grad():
        for name, weight in names.items():
            weight.copy_(first[name])
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mib": peak}), flush=True)


if __name__ == "__main__":
    main()
