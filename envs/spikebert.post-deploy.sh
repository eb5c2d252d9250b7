#!/usr/bin/env bash
# Run by Snakemake, in its working directory, once it has made the environment of spikebert.yaml.
# Another script is another environment, so `make lock` renews the digest of the pins here:
# envs/requirements.txt 2f0418f74e237d57d6dd3657fbbbbac5a069ddbc23d7c83552bd5e62236ff26d
set -euo pipefail

envs/install.sh "$CONDA_PREFIX/bin/python"
