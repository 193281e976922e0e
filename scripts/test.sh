#!/bin/sh
# Set up, then run the tests in two processes of one thread each. Arguments go to pytest (-n 0: one process, as a debugger
# needs it).
extra=test
. "$(dirname "$0")/environment.sh"
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"   # files in the order of tests/conftest.py
