#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt fbb4cbc76067b05f8bcfb93c1d923ba8bb8fa9db7f198842c7aa1e8682ea9c1b
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
