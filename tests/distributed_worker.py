"""Run a step on the toy corpus, alone or under torchrun, and write down what each update saw."""

import os
import signal
import sys
from pathlib import Path

import torch
from toy import MODEL, QUICK, outputs, run

from spikebert.config.settings import FineTuneSettings, Stage1Settings, Stage2Settings
from spikebert.errors import Interrupted
from spikebert.training import loop as training
from spikebert.training.steps.direct import finetune
from spikebert.training.steps.distil import stage1, stage2
from spikebert.training.trainer import ExactTrainer
from spikebert.utils import distributed

SETTINGS = QUICK | {"batch_size": 7, "evaluations": 2, "epochs": 1.5}


class Watched(ExactTrainer):
    """Keeps the rows of every update, and the gradients of the first."""

    def training_step(self, model, inputs, *args):
        loss = super().training_step(model, inputs, *args)
        counted = inputs.get(distributed.COUNTED, torch.ones(len(inputs["input_ids"])))
        rows = zip(inputs["input_ids"], inputs["attention_mask"], counted, strict=True)
        updates.append([row[mask.bool()].tolist() for row, mask, counts in rows if counts])
        if len(updates) == 1:
            parameters = self.model.named_parameters()
            gradients.update({n: p.grad.clone() for n, p in parameters if p.grad is not None})
        if len(updates) == int(os.environ.get("STOP_AFTER", "-1")) and not distributed.rank():
            os.kill(os.getpid(), signal.SIGTERM)  # one process is told, and all stop
        return loss


updates, gradients = [], {}


def main(step, root, out):
    work = Path(root)
    training.ExactTrainer = Watched
    if distributed.launched():
        distributed.start()
    made = outputs(Path(out), "model")
    if step == "finetune":
        settings = FineTuneSettings(learning_rate=1e-3, **SETTINGS)
        finetune(settings, work / "corpus", work / "base", run("teacher"), made)
    elif step in ("stage1", "stage1 streamed"):
        window = 21 if step == "stage1 streamed" else None
        settings = Stage1Settings(learning_rate=1e-3, window_sentences=window, **SETTINGS)
        text, base = work / "text.jsonl", work / "base"
        stage1(MODEL, settings, text, base, made.checkpoints, made.out)
    else:
        settings = Stage2Settings(learning_rate=1e-3, **SETTINGS)
        corpus, augmented, teacher = (work / n for n in ("corpus", "augmented.jsonl", "teacher"))
        stage2(MODEL, settings, corpus, augmented, teacher, None, run("stage2_only"), made)
    seen = {"updates": updates, "gradients": gradients}
    torch.save(seen, Path(out) / f"seen_{distributed.rank()}.pt")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Interrupted:
        torch.save({"updates": updates}, Path(sys.argv[3]) / f"seen_{distributed.rank()}.pt")
