#!/bin/sh
# Set up, then check style, types and the import rules. Changes nothing: `ruff format .` and `ruff check --fix .` do.
extra=test
. "$(dirname "$0")/environment.sh"
ruff check .
ruff format --check .
mypy
lint-imports --no-cache
