#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt ab347db613a034f1191e6bcf8deb1b450fdc1b7ebb2445fc11c9d6093cb5f30b
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
