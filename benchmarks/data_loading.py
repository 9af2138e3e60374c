"""Samples per second with and without the picture cache, through plain indexing and through a DataLoader.

    python benchmarks/data_loading.py                            64 generated pictures stored as 800x600 JPEGs
    python benchmarks/data_loading.py --name osie --root DIR     a prepared data set

Prints a table and, as the last line, the same as JSON. The best of three passes counts: others may use the machine.
"""

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from salnas.data import collate, load_dataset, popout, write_recording


def jpegs(root, n=64):
    "Write `<root>/jpegs`: n popout pictures as photographs come, 800x600 JPEGs, with 140 fixations each."
    recording, rng = popout(n=n), np.random.default_rng(0)
    stimuli = []
    for i in range(n):
        file = io.BytesIO()
        grain = rng.normal(0, 12, (600, 800, 3))
        large = np.asarray(Image.fromarray(recording.read(i)).resize((800, 600))) + grain
        Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(file, 'jpeg', quality=90)
        stimuli.append((f'{i:03d}.jpg', file.getvalue()))
    image_id = np.repeat(np.arange(n), 140)
    x, y = rng.uniform([0, 0], [799, 599], (len(image_id), 2)).T
    columns = dict(image_id=image_id, subject=image_id * 0, order=image_id * 0, x=x, y=y)
    write_recording(
        Path(root) / 'jpegs', dict(pixels_per_degree=24, authors=dict(n_train=n - 1, sigma_px=16)), stimuli, columns
    )


def best(run, n, passes=3):
    "Samples per second of the fastest pass."
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return n / min(times)


def measure(name, root, size, n=256):
    "Samples per second of four ways to go through a training split."
    rates = {}
    start = time.perf_counter()
    cached = load_dataset(name, 'trainval', root=root, size=size)
    rates['seconds to make or find the cache'] = time.perf_counter() - start
    decoded = load_dataset(name, 'trainval', root=root, size=size, cache=False)
    n = min(n, len(cached))
    for label, dataset in ('with cache', cached), ('without cache', decoded):
        part = torch.utils.data.Subset(dataset, range(n))
        rates[f'{label}, indexing'] = best(lambda: [part[k] for k in range(n)], n)
        rates[f'{label}, DataLoader, no workers'] = best(lambda: list(DataLoader(part, 16, collate_fn=collate)), n)
    rates['ratio of indexing'] = rates['with cache, indexing'] / rates['without cache, indexing']
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--name', help='a prepared data set; without it, JPEGs are generated')
    parser.add_argument('--root', help='folder of the prepared data sets')
    parser.add_argument('--size', type=int, nargs=2, default=(192, 256), metavar=('H', 'W'))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        if not args.name:
            jpegs(aside)
        rates = measure(args.name or 'jpegs', args.root if args.name else aside, tuple(args.size))
    for label, value in rates.items():
        print(f'{label:40}{value:10.1f}')
    print(json.dumps(dict(name=args.name or 'jpegs', size=args.size, threads=torch.get_num_threads()) | rates))


if __name__ == '__main__':
    main()
