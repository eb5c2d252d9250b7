"""What our trainer stands on in the library's, which may change at any minor version."""

import inspect

import pytest
from accelerate.data_loader import DataLoaderShard
from transformers import Trainer

from spikebert.training.trainer import ExactTrainer

# Private methods of the library's trainer that ours replaces (True) or calls, and the arguments
# that it is called with or calls them with.
PRIVATE = {
    "_get_train_sampler": (False, []),
    "_get_eval_sampler": (True, ["eval_dataset"]),
    "_track_num_input_tokens": (True, ["inputs"]),
    "_save_checkpoint": (True, ["model", "trial"]),
    "_save_optimizer_and_scheduler": (False, ["output_dir"]),
    "_save_scaler": (False, ["output_dir"]),
    "_save_rng_state": (False, ["output_dir"]),
    "_load_rng_state": (True, ["checkpoint"]),
    "_init_training_state": (
        True,
        ["max_steps", "num_update_steps_per_epoch", "num_train_epochs",
         "resume_from_checkpoint", "trial"],
    ),
    "_run_epoch": (True, None),  # by name alone
}  # fmt: skip
WAY_OUT = (
    "spikebert/training/trainer.py stands on it: adapt it, then raise the upper bound of "
    "transformers in pyproject.toml"
)


@pytest.mark.parametrize("name", PRIVATE)
def test_the_library_has_what_our_trainer_stands_on(name):
    replaced, arguments = PRIVATE[name]
    method = getattr(Trainer, name, None)
    assert method, f"transformers' Trainer has no method {name} any more. {WAY_OUT}"
    found = list(inspect.signature(method).parameters)[1:]
    assert arguments is None or found[: len(arguments)] == arguments, (
        f"transformers' Trainer.{name} takes {found}, not {arguments}. {WAY_OUT}"
    )
    assert (name in vars(ExactTrainer)) == replaced


def test_no_private_method_is_missing_from_the_list():
    source = inspect.getsource(inspect.getmodule(ExactTrainer))
    used = {
        name
        for name in dir(Trainer)
        if name.startswith("_") and not name.startswith("__") and f".{name}(" in source
    } | {name for name in vars(ExactTrainer) if name in vars(Trainer) and name[0] == "_"}
    assert used - {"__init__", "__module__", "__doc__"} <= PRIVATE.keys()


def test_the_library_still_calls_what_our_trainer_replaces():
    source = inspect.getsource(inspect.getmodule(Trainer))
    for name, (replaced, _) in PRIVATE.items():
        assert not replaced or f"self.{name}" in source, (
            f"transformers' Trainer does not call {name} any more. {WAY_OUT}"
        )


def test_accelerate_takes_our_batches_to_the_device():
    names = inspect.signature(DataLoaderShard.__init__).parameters
    assert {"device", "_non_blocking"} <= names.keys(), (
        f"accelerate's DataLoaderShard takes {list(names)}. {WAY_OUT}"
    )
