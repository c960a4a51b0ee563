#!/usr/bin/env bash
# Runs a command in the project's own environment, from the project's folder; the first call makes the environment.
#   bash run.sh CMD...       in .venv, made from requirements.txt and requirements-test.txt
#   bash run.sh GPU CMD...   in the Docker image, on the GPU with that number
set -euo pipefail

usage() {
    cat >&2 <<'END'
usage: bash run.sh CMD...       run CMD in a private Python environment (.venv, made on the first call)
       bash run.sh GPU CMD...   run CMD in the Docker image, on the GPU with that number

  bash run.sh python src/main.py --config=vast_qtran --env-config=warehouse with env_args.n_agents=16
  bash run.sh pytest
  bash run.sh 0 python3 src/main.py --config=vast_qtran --env-config=warehouse
END
    exit 2
}

say() { echo "run.sh: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# The first Python that is new enough and can make environments.
find_python() {
    local candidate
    for candidate in python3.11 python3 python; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "needs Python 3.11 or newer with its venv module (python3.11, python3 and python were tried): install it first"
}

# What a finished .venv was made from. Its place counts (scripts hold its path), and so does its Python, which an
# upgrade of the system may replace.
stamp() { echo "$(cat requirements.txt requirements-test.txt | cksum) $PWD $(.venv/bin/python -V 2>/dev/null || true)"; }

is_ready() { [[ -f .venv/stamp && "$(<.venv/stamp)" == "$(stamp)" ]]; }

# The stamp is written last: an install that was interrupted has none, and the next call starts again.
make_environment() {
    local python=$1
    say "making .venv with $("$python" -V) from requirements.txt; once, it downloads PyTorch and takes some minutes"
    rm -rf .venv
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --requirement requirements.txt --requirement requirements-test.txt ||
        fail "installing requirements.txt and requirements-test.txt failed (see above); the next call tries again"
    stamp >.venv/stamp
}

# One call at a time: the others wait for descriptor 9 and then find the work done. The lock ends with the process.
ensure_environment() (
    local python lock="import fcntl; fcntl.flock(9, fcntl.LOCK_EX"
    python=$(find_python)
    exec 9>>requirements.txt # opened for appending (a lock may need a writable file), nothing is written
    "$python" -c "$lock | fcntl.LOCK_NB)" 2>/dev/null || {
        say "waiting for another call that makes .venv"
        "$python" -c "$lock)"
    }
    is_ready || make_environment "$python"
)

run_in_docker() {
    local gpu=$1 image
    shift
    command -v docker >/dev/null ||
        fail "'run.sh $gpu ...' needs docker, which is not installed; without the number it runs in .venv"
    image=$(bash docker/build.sh --name)
    docker image inspect "$image" >/dev/null 2>&1 || bash docker/build.sh
    # --user: results belong to the caller. --network host: -m localhost:27017:db means this machine.
    exec docker run --rm --init --gpus "device=$gpu" --user "$(id -u):$(id -g)" --network host \
        --env HOME=/tmp --env USER="$(id -un)" --volume "$PWD:/pymarl" --workdir /pymarl "$image" "$@"
}

cd "$(dirname "${BASH_SOURCE[0]}")"
[[ $# -gt 0 ]] || usage
if [[ $1 =~ ^[0-9]+$ ]]; then
    [[ $# -gt 1 ]] || usage
    run_in_docker "$@"
fi
is_ready || ensure_environment
unset PYTHONHOME
export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
exec "$@"
