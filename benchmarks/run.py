"""Speed, each claim as a ratio measured by turns in one run.

    python benchmarks/run.py [--only NAME ...] [--threads 2] [--repeats 7] [--out results.json] [--keep]

Prints a Markdown table and writes JSON: per entry `name`, `ratio` (how many times faster than the plain way), `aim`,
both medians in seconds, every repetition, and what was checked beside the time; with machine, versions and commit.
Training steps of the two ways are made in two processes that take turns, the plain one with SALNAS_KEEP_PAGES=0. Run it
on an idle machine: two busy processes on two cores change every figure. `benchmarks/table.py` makes the README table.
"""

import argparse
import importlib
import json
import os
import platform
from pathlib import Path

import torch
from harness import ENTRIES, as_row, in_table
from salnas.training import provenance

for room in ('steps', 'inference', 'folders', 'candidates', 'counting'):  # they register their entries
    importlib.import_module(room)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--out', type=Path, default=Path('runs/benchmarks.json'))
    parser.add_argument(
        '--keep', action='store_true', help='keep the other entries of that file, and mark the new ones'
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    made, rows, old = provenance(), {}, None
    if args.keep:
        old = json.loads(args.out.read_text())
        rows = {row['name']: row for row in old['entries'] if row['name'] in ENTRIES}
    print('| name | plain, s | fast, s | ratio | aim | |\n|---|---|---|---|---|---|', flush=True)
    for name in args.only:
        call, aim = ENTRIES[name]
        found = call(args)
        if found is None:
            continue
        rows[name] = as_row(name, aim, *found) | (dict(commit=made['commit']) if old else {})
        print(in_table(rows[name], found[2]), flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        machine = dict(cpu=platform.processor() or platform.machine(), cores=os.cpu_count(), threads=args.threads)
        whole = old or dict(machine=machine, provenance=made)
        args.out.write_text(json.dumps(whole | dict(entries=list(rows.values())), indent=1))


if __name__ == '__main__':
    main()
