#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt f71559ef5cdc428a24c9adf8bf52bac6daa597c53cae757565d3463e37559841
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
