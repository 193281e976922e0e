#!/bin/sh
# Set up, check the style and the import rules, run the tests. Arguments go to pytest.
extra=test
. "$(dirname "$0")/environment.sh" test
ruff check .
ruff format --check .
lint-imports --no-cache
python -m pytest "$@"
