#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt b5e9e03aa911dc54bb5a9c04b0eef944f4e10628f97eebb4933cfaf6a6348df9
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
