#!/bin/sh
# Set up, then run the tests. Arguments go to pytest.
extra=test
. "$(dirname "$0")/environment.sh"
python -m pytest "$@"
