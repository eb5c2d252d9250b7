#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt 8d1248ea317c8c5258a41f8a4fed88195d59cf3981fddb5070eb9c68602fbc84
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
