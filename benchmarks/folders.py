"""A folder of photographs to maps on disk: what `salnas_predict` does, against one picture after another."""

import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
import torch
from harness import entry
from PIL import Image
from salnas.predict import SaliencyModel, map_image, prepared
from salnas.predict_command import predict_files
from salnas.pictures import read_photo, resize_image
from torch.nn import functional as F


def plain_overlay(photo, density):
    "The map in colour over the picture, every pixel through matplotlib's colour map, in double precision."
    level = map_image(density)[..., None] / 255.0
    colour = matplotlib.colormaps['inferno'](level[..., 0])[..., :3] * 255
    grey = photo.astype(np.float32).mean(2, keepdims=True) * 0.6 + photo * 0.4
    weight = 0.65 * level**0.5
    return np.round(grey * (1 - weight) + colour * weight).clip(0, 255).astype(np.uint8)


def plainly(model, files, out):
    "The plain way: read, compute and write one after the other, PNG files as Pillow makes them."
    for file in files:
        photo = read_photo(file)
        map_ = model.run(prepared(photo, model.transform)[None])[:, None]
        map_ = F.interpolate(map_, photo.shape[:2], mode='bilinear')[0, 0].double().clamp(min=0)
        density = (map_ / map_.sum()).float().numpy()
        Image.fromarray(map_image(density)).save(out / f'{file.stem}.map.png')
        Image.fromarray(plain_overlay(photo, density)).save(out / f'{file.stem}.overlay.png')


def photographs(n, folder):
    "n pictures of OSIE, or where it is not prepared, of `popout` enlarged."
    from salnas.data import load_recording, popout

    try:
        recording = load_recording('osie')
    except FileNotFoundError:
        recording = popout(n=8)
    for k in range(n):
        photo = resize_image(recording.read(k % len(recording.image_names)), (600, 800))
        Image.fromarray(photo).save(folder / f'{k:03d}.jpg', quality=90)
    return sorted(folder.iterdir())


def network_alone(model, files):
    "Seconds of the network for each picture, with nothing else going on."
    inputs = [prepared(read_photo(f), model.transform)[None] for f in files]
    seconds = []
    for x in inputs[:2] + inputs:
        start = time.perf_counter()
        model.run(x)
        seconds.append(time.perf_counter() - start)
    return seconds[2:]


@entry(aim=2)
def predict_folder(args):
    "Seconds a picture, in turns of 50 photographs; and how many times the network's own time that is (aim: 1.3)."
    n = min(200, 30 * args.repeats)
    model, times, alone = SaliencyModel.load('m'), ([], []), []
    with tempfile.TemporaryDirectory() as aside:
        folders = [Path(aside) / k for k in ('in', 'plain', 'fast')]
        for folder in folders:
            folder.mkdir()
        files, stages = photographs(n, folders[0]), {}
        plainly(model, files[:3], folders[1])
        for some in np.array_split(files, max(1, n // 50)):
            alone += network_alone(model, some[:10])
            start = time.perf_counter()
            plainly(model, some, folders[1])
            times[0].append((time.perf_counter() - start) / len(some))
            found = predict_files(model, some, folders[2])
            times[1].append(found.seconds / found.done)
            stages = {k: stages.get(k, 0) + 1e3 * v / n for k, v in found.stages.items()}
    network = float(np.median(alone))
    over = dict(over_network=float(np.median(times[1])) / network, aim_over_network=1.3, network_alone_ms=1e3 * network)
    each = {f'{k.replace(" ", "_")}_ms': v for k, v in stages.items()}
    threads = torch.get_num_threads()
    return *times, over | each | dict(what=f'{n} photographs to maps and overlays on disk, {threads} threads')
