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

from hypothesis import settings

# The same examples in every run of the CI; HYPOTHESIS_PROFILE=long draws others, and many more.
settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, database=None)
settings.register_profile("long", max_examples=500, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
