#!/usr/bin/env bash
# Builds the Docker image that `bash run.sh GPU CMD...` uses. With --name it only prints the image's name, which changes
# with what the image is made of, so that an outdated image is not taken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
image="pymarl-vast:$(cat requirements.txt docker/Dockerfile | cksum | cut -d ' ' -f 1)"
if [[ ${1:-} == --name ]]; then
    echo "$image"
    exit
fi
command -v docker >/dev/null || {
    echo "docker/build.sh: docker is not installed" >&2
    exit 1
}
echo "docker/build.sh: building $image from requirements.txt; once, it takes some minutes" >&2
tar -c requirements.txt docker/Dockerfile | docker build --tag "$image" --file docker/Dockerfile -
