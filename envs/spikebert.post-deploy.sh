#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt c65784b5904af52e707d9d1ff8df7da4db831c2ad92d73be74fb52111f881063
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
