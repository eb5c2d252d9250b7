#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt 5f8fdfb4e560b6e06708584f20f44a7969ce0717682082fb82a47ab87dbb77ab
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
