"""A signal in the middle of an update: it is noted, the update ends, and the trainer is told."""

import os
import signal

import pytest
from transformers import TrainerControl, TrainerState

from spikebert.training.trainer import HEEDED, Interruptible


@pytest.mark.parametrize("number", HEEDED)
def test_a_signal_saves_and_stops_at_the_end_of_the_update(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in HEEDED]
    control = TrainerControl()
    with Interruptible() as signals:
        signals.on_step_end(None, TrainerState(), control)
        assert not control.should_save
        assert not control.should_training_stop
        os.kill(os.getpid(), number)
        assert signals.received == number
        assert not control.should_training_stop  # the update goes on
        signals.on_step_end(None, TrainerState(), control)
        assert control.should_save
        assert control.should_training_stop
    assert [signal.getsignal(one) for one in HEEDED] == before


def test_the_log_says_where_a_resumed_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    Interruptible().on_train_begin(None, TrainerState(global_step=0, max_steps=9), None)
    assert capsys.readouterr().out == ""
    Interruptible().on_train_begin(None, TrainerState(global_step=4, max_steps=9), None)
    assert capsys.readouterr().out == "resuming after update 4 of 9\n"
