"""What every test needs: one thread, no hub, no window, nothing of the user's settings."""

import os

# Set before any library reads them; processes that tests start inherit them.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MPLBACKEND="agg",
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.pop("SPIKEBERT_MIRROR", None)
