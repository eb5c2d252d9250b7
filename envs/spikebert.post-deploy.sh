#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt 11c685989dfba9f5c25f1945fa017be3a381d05b170287ba27dfe30628e74ac9
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
