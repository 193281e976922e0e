#!/bin/sh
# From a fresh clone to an answer: set up, fetch the default model, index a folder, answer a query.
#   sh scripts/start.sh [FOLDER [QUERY]]     default: this project's own code, in a collection of its own
. "$(dirname "$0")/environment.sh"
if [ $# -gt 0 ]; then
    semsearch index "$1" || [ $? -eq 4 ]   # 4: some files could not be read; the others can be searched
    semsearch query "${2:-what is this about?}" -k 3
else
    semsearch index --collection semsearch README.md indexer
    semsearch query --collection semsearch "what happens when a PDF is encrypted?" -k 3
fi
echo "next: .venv/bin/semsearch index YOUR_FOLDER, then .venv/bin/semsearch query \"your question\"" >&2
