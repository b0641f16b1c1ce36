"""Trains records over seeds and writes benchmarks/records.md and records.json from their files.

    python scripts/records.py                                # all, each over the seeds it asks for
    python scripts/records.py record_softmax record_1k --seeds 5
    python scripts/records.py record_8k data=fashion_mnist   # the same recipe on another set
    python scripts/records.py --search record_softmax        # the sweep its settings come from
    python scripts/records.py record_cnn --jobs 8            # eight trainings at a time
    python scripts/records.py --table                        # gathers what is there
    python scripts/records.py --page                         # and puts it into docs/ and README

A seed's result is a file as soon as it exists, and is not measured again while the recipe stands;
what is killed is resumed when the script is started again. Runs are kept in outputs/records.
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from record_rows.measure import ROOT, is_measured, known, measure, search, seed_file
from record_rows.table import default_folder, gather, markdown, write


def main(arguments: list[str]) -> int:
    """Measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="NAME", help="records, and data=SET")
    parser.add_argument("--seeds", type=int, help="seeds 0 to N-1; else as many as a record asks")
    parser.add_argument("--search", action="store_true", help="choose settings on validation")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, on one device")
    parser.add_argument("--table", action="store_true", help="only gather what is there")
    parser.add_argument(
        "--page", action="store_true", help="gather, and write docs/records.md and README's table"
    )
    parser.add_argument("--to", type=Path, default=default_folder(), help="folder of the results")
    runs = ROOT / "outputs" / "records"
    parser.add_argument("--runs", type=Path, default=runs, help="folder of the runs")
    options = parser.parse_intermixed_args(arguments)
    if min(options.jobs, options.seeds or 1) < 1:
        parser.error("--jobs, --seeds: must be 1 or more")
    if options.jobs > 1:  # each has its share of the cores
        share = max(1, len(os.sched_getaffinity(0)) // options.jobs)
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
    overrides = [word for word in options.words if "=" in word]
    names = [word for word in options.words if "=" not in word]
    records = known(names)
    if options.search:
        for record in records if names else filter(lambda record: record.search, records):
            print(search(record, overrides, options.to, options.runs, options.jobs))
        return 0
    missing = [
        (record, seed)
        for record in ([] if options.table or options.page else records)
        for seed in range(options.seeds or record.seeds)
        if not is_measured(
            seed_file(options.to, record.name, seed, overrides), record.name, overrides
        )
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        places = (options.to, options.runs, options.jobs)
        jobs = [pool.submit(measure, *seed, overrides, *places) for seed in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                write(options.to, gather(options.to))
        except SystemExit:  # what one seed lacks the others lack, too
            pool.shutdown(cancel_futures=True)
            raise
    options.to.mkdir(parents=True, exist_ok=True)
    rows = gather(options.to)
    write(options.to, rows)
    if options.page:
        from record_rows.page import write_page

        write_page(rows)
    print("\n".join(markdown(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
