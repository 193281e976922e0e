"""How fast encoders are beside one another: the time of the first, divided by each one's, on the same sentences.

    python scripts/bench/bench_encoders.py --data DATA [--output FILE] sts fast all-minilm-folder/

An encoder is anything that `semsearch eval gate --against` takes. All are loaded in one process and encode 512 STS-B
sentences in turn, in changing order; reported are medians over the repeats.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench_encode import sources

from indexer import embedding
from semsearch import encoders
from semsearch.evaluation import result_files

TEXTS = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+")
    parser.add_argument("--data", type=Path, help="folder of evaluation data, for STS-B's sentences; else made-up ones")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    texts = sources(options.data)[0][:TEXTS]
    opened = {name: embedding.open_encoder(encoders.named(name)) for name in options.encoders}
    names = list(opened)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(-1, options.repeats):  # the first warms up
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            opened[name].encode(texts)
            if repeat >= 0:
                seconds[name].append(time.perf_counter() - start)
    first = seconds[names[0]]
    result = {
        "texts": f"{len(texts)} sentences, {'STS-B' if options.data else 'made up'}",
        "encoders": {
            name: {
                "fingerprint": opened[name].spec.fingerprint,
                "precision": opened[name].spec.precision,
                "sentences/s": round(len(texts) / median(times), 1),
                "ratio": round(median(one / each for one, each in zip(first, times, strict=True)), 3),
            }
            for name, times in seconds.items()
        },
        "hardware": result_files.hardware(getattr(opened[names[0]], "device", None)),
        "load average": list(os.getloadavg()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": result_files.versions(),
    }
    for name, values in result["encoders"].items():
        print(f"{name}: {values['sentences/s']} sentences/s, {values['ratio']} of {names[0]}")
    if options.output:
        result_files.write(options.output, result)


if __name__ == "__main__":
    main()
