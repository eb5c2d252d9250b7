#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt e242a0f192434eef0020a63d6ffb061c83e0390c32a4c1961e5bec6bd0e88e4f
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
