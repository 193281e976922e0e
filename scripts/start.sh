#!/bin/sh
# From a fresh clone to an answer: set up, fetch the default model, index a folder, answer a query.
#   sh scripts/start.sh [FOLDER [QUERY]]     default: this project's own code, in a collection of its own
extra=
. "$(dirname "$0")/environment.sh"
if [ $# -gt 0 ]; then
    folder=$1 collection=default question=${2:-what is this about?}
else
    folder=indexer/corpus/pdf collection=semsearch question="what happens when a PDF is encrypted?"
fi
semsearch index --collection $collection "$folder" || [ $? -eq 4 ]  # 4: some files could not be read, the others can
semsearch query --collection $collection "$question" -k 3
echo "next: .venv/bin/semsearch index YOUR_FOLDER, then .venv/bin/semsearch query \"your question\"" >&2
