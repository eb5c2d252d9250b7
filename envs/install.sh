#!/usr/bin/env bash
# Install the pinned packages and this project, editable, into an environment that has pip.
#
#   envs/install.sh PYTHON        PYTHON: the environment's interpreter
#
# pip alone cannot do it: only uv can be told to leave a requirement out (envs/overrides.txt). uv
# does not read pip's settings, so they are handed on: the index, the certificate, and the folders
# of ready-made wheels (PIP_FIND_LINKS, separated by blanks). TORCH_INDEX, where set, is the index
# that torch alone comes from (a CPU or another CUDA build).
set -euo pipefail

python=$1
envs=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

pip_setting() { # VALUE NAME: the value of pip's variable, or else what pip's files say, or nothing
    echo "${1:-$("$python" -m pip config get "global.$2" 2>/dev/null || true)}"
}

"$python" -m pip install --quiet --disable-pip-version-check --requirement "$envs/uv.txt"

index=$(pip_setting "${PIP_INDEX_URL:-}" index-url)
[[ -z $index ]] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
certificate=$(pip_setting "${PIP_CERT:-}" cert)
[[ -z $certificate ]] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificate}"

install=("$python" -m uv pip install --python "$python")
if [[ -n ${TORCH_INDEX:-} ]]; then
    torch=$(grep -Eo '^torch==[^ ]+' "$envs/requirements.txt")
    "${install[@]}" --no-deps --default-index "$TORCH_INDEX" "$torch"
fi
for folder in $(pip_setting "${PIP_FIND_LINKS:-}" find-links); do
    install+=(--find-links "$folder")
done
"${install[@]}" --override "$envs/overrides.txt" --requirement "$envs/requirements.txt"
"${install[@]}" --no-deps --editable "$envs/.."
