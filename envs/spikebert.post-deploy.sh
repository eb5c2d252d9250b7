#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt b6933b9f80e3eaf23d08265bc82216591078cf92c944a6ec5bf15a607ed3cbd7
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
