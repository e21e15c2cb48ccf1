#!/bin/sh
# The install steps of the container image: called by the Dockerfile, and run in a clean folder by
# deploy/check-dockerfile on machines without a container engine.
#
#   deploy/install.sh environment FOLDER   a virtual environment with the locked dependencies and this project, copied in
#   deploy/install.sh weights FOLDER       the weights of the default pack, fetched and checked
set -eu

step=$1 folder=$2

case $step in
environment)
    python3 -m venv "$folder"
    pip="$folder/bin/python -m pip --disable-pip-version-check --no-input --no-cache-dir --quiet"
    $pip install --require-hashes --requirement "${LOCK:-requirements.lock}"
    $pip install --no-deps --no-build-isolation .
    if [ "${DEVICE:-cpu}" = cuda ]; then
        # The release of the lock, built for CUDA 12, with NVIDIA's libraries as packages; outside of the locks.
        release=$("$folder/bin/python" -c 'import onnxruntime; print(onnxruntime.__version__)')
        $pip uninstall --yes onnxruntime
        $pip install "onnxruntime-gpu[cuda,cudnn]==$release"
        mkdir "$folder/nvidia"
        ln -s "$folder"/lib/python3.*/site-packages/nvidia/*/lib/*.so* "$folder/nvidia/"
    fi
    # What only building needed.
    $pip uninstall --yes hatchling editables trove-classifiers pathspec tomlkit
    ;;
weights)
    AIPFACE_HOME=$(mktemp -d) AIPFACE_MODEL_DIR=$folder "${AIPFACE:-aipface}" models fetch
    ;;
*)
    echo "deploy/install.sh: unknown step $step" >&2
    exit 2
    ;;
esac
