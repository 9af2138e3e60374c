"""The table of benchmarks as README shows it, from the files of `benchmarks/run.py`.

    python benchmarks/table.py [--write README.md] [FILE.json ...]

Of several files the first gives the figures, and each of the others a column with its ratios. With `--write` the table
replaces what stands between the two marks in that file, else it is printed."""

import argparse
import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / 'results/benchmarks'
FILES = [RESULTS / 'benchmarks.json', RESULTS / 'benchmarks-second.json']
BEGIN, END = '<!-- benchmarks/table.py writes this -->', '<!-- until here -->'


def spelled(seconds):
    "Three digits and a unit."
    unit, factor = next((u, f) for u, f in (('s', 1), ('ms', 1e3), ('µs', 1e6)) if seconds * f >= 1 or u == 'µs')
    return f'{float(f"{seconds * factor:.3g}"):g} {unit}'


def ratio(entry):
    return '' if entry is None else f'{entry["ratio"]:,.0f}' if entry['ratio'] >= 100 else f'{entry["ratio"]:.2f}'


def said_of(entry, entries):
    "What was measured, by what, and what is wrong with it."
    backend, failed = entry.get('backend', ''), entry.get('failed', '')
    told = [entry['what'], backend] if backend else [entry['what']]
    wide = [e for e in entries if backend == 'OpenVINO bf16' and e.get('backend') == 'OpenVINO fp32']
    if any((e['max_abs'], e['cc']) == (entry['max_abs'], entry['cc']) for e in wide):
        told.append('the very maps of fp32: it was computed in fp32')  # where a processor has no bf16
    if failed.startswith('not accurate enough: 0.9'):
        told.append(
            f'not accurate enough: CC of its maps with the plain ones {entry["cc"]:.3f}, asked for {failed[21:]}'
        )
    elif failed:
        told.append(failed)
    if 'commit' in entry:
        told.append(f'measured later, at {entry["commit"][:7]}')
    return told


def line(entry, others, entries):
    "A row: the entry in the first file, and its ratio in the others."
    told = said_of(entry, entries)
    if 'over_network' in entry:
        told.append(f"{entry['over_network']:.1f} times the network's own time, aimed at {entry['aim_over_network']:g}")
    cells = [f'`{entry["name"]}`: {"; ".join(told)}', spelled(entry['plain_s']), spelled(entry['fast_s']), ratio(entry)]
    cells += [ratio(next((e for e in other['entries'] if e['name'] == entry['name']), None)) for other in others]
    return cells + [f'{entry["aim"]:g}' if entry['aim'] else '']


def missed(entry):
    "Whether an entry with an aim stays below it, is fast and wrong, or takes too much longer than the network alone."
    slow = entry.get('over_network', 0) > entry.get('aim_over_network', 0)
    return bool(entry['aim']) and (entry['ratio'] < entry['aim'] or slow or 'failed' in entry)


def table(files):
    "Markdown, with a line that says where the figures were made, and one that says which aims they miss."
    first, *others = (json.loads(Path(f).read_text()) for f in files)
    date = lambda found: found['provenance']['date'][:10]
    versions, machine = first['provenance']['versions'], first['machine']
    peak = [e['peak_GFLOPs'] for e in first['entries'] if 'peak_GFLOPs' in e]
    made = f'{date(first)}, {machine["threads"]} threads on {machine["cores"]} cores, torch {versions["torch"]}'
    made += f', {max(peak):.0f} GFLOP/s at convolutions' if peak else ''
    also = ''.join(f'; beside them the ratios of a run at {o["provenance"]["commit"][:7]}' for o in others)
    head = ['what', 'plain', 'salnas', 'ratio', *(o['provenance']['commit'][:7] for o in others), 'aim']
    rows = [head, ['---'] * len(head)]
    entries = [e for e in first['entries'] if 'median_error' not in e]  # that one is no speed
    rows += [line(e, others, entries) for e in entries]
    made = f'Commit {first["provenance"]["commit"][:7]}, {made}{also}.'
    below = ', '.join(f'`{e["name"]}`' for e in entries if missed(e))
    return '\n'.join(
        [made, '', *(f'| {" | ".join(cells)} |' for cells in rows), '', f'Aims missed: {below or "none"}.']
    )


def written(text, files):
    "The text with the table between its marks; a ValueError when it has none."
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f'the marks {BEGIN} and {END} must stand in the file, each once')
    return f'{before}{BEGIN}\n{table(files)}\n{END}{after}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('files', nargs='*', default=FILES, type=Path)
    parser.add_argument('--write', type=Path, help='file with the two marks, as README.md')
    args = parser.parse_args()
    if args.write:
        args.write.write_text(written(args.write.read_text(), args.files))
    else:
        print(table(args.files))


if __name__ == '__main__':
    main()
