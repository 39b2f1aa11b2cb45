"""What curating a file costs, and whether its clusters are more than its templates.

    python benchmarks/curation.py RECORDS.jsonl [--repeat 10]

Prints the processor seconds that reading and selecting take, all on one thread: for the file as it
is, and for `--repeat` times as many records with words drawn from the file's.  Then the adjusted
mutual information of clusters and templates, for inputs as they are and without the words that
their templates add (what `curate` embeds): 0 is chance, 1 means that the clusters are the templates
over again.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import replace

from sklearn.metrics import adjusted_mutual_info_score

from study.data.curation import Record, curate, read_records, tfidf
from study.data.curation.clusters import clustering
from study.seeds import derive_seed

CLUSTERS, SEEDS = 10, (0, 1, 2)


def agreement(records: Sequence[Record], seed: int, *, whole: bool) -> float:
    """Return how far clusters repeat templates; `whole` inputs pass for ones of no template."""
    seen = [replace(r, number=n, template=str(n)) for n, r in enumerate(records)]
    chosen = seen if whole else records
    vectors = tfidf(chosen, seed, lambda done, total: None)
    labels = clustering(chosen, vectors, CLUSTERS, seed).labels
    return float(adjusted_mutual_info_score([r.template for r in records], labels))


def enlarged(records: Sequence[Record], times: int) -> list[Record]:
    """Return `times` as many records of the same lengths and templates, of words drawn anew."""
    words = [word for record in records for word in record.source.split()]
    chance = random.Random(derive_seed(0, "benchmark"))
    sources = [r for _ in range(times) for r in records]
    return [
        replace(r, number=n, source=" ".join(chance.choices(words, k=len(r.source.split()))))
        for n, r in enumerate(sources)
    ]


def main() -> None:
    """Print times and agreements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records")
    parser.add_argument("--repeat", type=int, default=10)
    asked = parser.parse_args()
    started = time.process_time()
    records = read_records(asked.records)
    print(f"read     {len(records):>9,} records  {time.process_time() - started:6.1f} s")
    for found in (records, enlarged(records, asked.repeat)):
        started = time.process_time()
        selected = curate(found).selected
        print(f"select   {selected:>9,} of {len(found):,}  {time.process_time() - started:6.1f} s")
    for whole in (True, False):
        values = [agreement(records, seed, whole=whole) for seed in SEEDS]
        named = "whole inputs" if whole else "without their templates' words"
        print(f"{named:<31} agree with templates by {' '.join(f'{v:.2f}' for v in values)}")


if __name__ == "__main__":
    main()
