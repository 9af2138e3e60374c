"""The picture of the home page: a photograph of OSIE, its fixations, and the map of the packaged network.

    python -m docs.landing --root data --picture 1473.jpg

OSIE is (c) 2014 NUS VIP, MIT licence. The picture is a test picture: the network has not been trained on it."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

from salnas.data import load_dataset, load_recording
from salnas.predict import SaliencyModel

OUT = Path(__file__).resolve().parent.parent / 'nbs/images/where-people-look.jpg'


def draw(
    root,  # folder of the prepared data sets
    name: str,  # of a test picture
    out: Path = OUT,
):
    "Three panels side by side, 1200 pixels wide."
    recording = load_recording('osie', root)
    tested = {recording.image_names[i]: i for i in load_dataset('osie', 'test', root=root).indices}
    if name not in tested:
        raise ValueError(f'{name} is no test picture of osie, such as {sorted(tested)[:3]} are: choose one of these')
    index = tested[name]
    picture = recording.read(index)
    density = SaliencyModel.load().predict(picture)
    height, width = density.shape
    fig, axes = plt.subplots(1, 3, figsize=(12, 4 * height / width), dpi=100)
    fig.subplots_adjust(0, 0, 1, 1, wspace=0.01)
    for ax in axes:
        ax.imshow(picture)
        ax.axis('off')
    axes[1].plot(*recording.points(index).T, 'o', ms=5, mfc='gold', mec='black', mew=0.8)
    axes[2].imshow(density, cmap='inferno', alpha=0.75)
    out.parent.mkdir(exist_ok=True)
    fig.savefig(out, pil_kwargs=dict(quality=82, optimize=True))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--root', help='folder of the prepared data sets; default: SALNAS_DATA')
    parser.add_argument('--picture', default='1473.jpg', help='name of a test picture')
    asked = parser.parse_args()
    draw(asked.root, asked.picture)
