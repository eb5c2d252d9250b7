"""What the files of runs say when they are not there."""

import pytest

from spikebert.errors import UserError
from spikebert.records.energy import read_energy
from spikebert.records.records import read_predictions, read_record


@pytest.mark.parametrize("read", [read_record, read_predictions, read_energy])
def test_a_file_that_is_absent_is_not_called_broken(tmp_path, read):
    with pytest.raises(UserError, match="has not been run") as error:
        read(tmp_path / "mr.spikebert.base.s1.json")
    assert "fix:      snakemake " in str(error.value)
