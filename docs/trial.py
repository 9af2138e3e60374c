"""What the page `try` computes with: ONNX Runtime Web, the smallest networks, photographs, and the facts about them.

The runtime comes from npm, in one pinned edition, and is kept in build/npm from one build to the next. Without it the
rest of the site is built all the same, and the page says what it lacks."""

import json
import shutil
import tarfile
from pathlib import Path

from salnas.downloads import File, fetch
from salnas.photographs import FOLDER
from salnas.predict import COLOURS, PACKAGED, SaliencyModel

EDITION = '1.22.0'  # later ones are larger by up to a third, and no faster here
PACKAGE = File(
    f'onnxruntime-web-{EDITION}.tgz',
    (f'https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{EDITION}.tgz',),
    size=20_387_966,
    digest='sha256:e293551f9d36d003e293d0f2937fee7b3dfdcef76d71d1449b55e2d4157c7aea',
)
# of its hundred files: the interface, the loader, and the WebAssembly, which runs with one thread where pages may have
# no shared memory, as on GitHub Pages
PARTS = 'ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'

NAMES = 's', 'm', 'xs'  # small enough for a page, in its order: those that come along are offered, the first is chosen

SAMPLES = {  # file: what it shows; the photographs that come along
    '1097.jpg': 'A puppy beside a ball among daisies',
    '1139.jpg': 'A dog leaps over a man to catch a disc',
    '1436.jpg': 'A road worker holds up a stop sign',
    '1509.jpg': 'A cook shows two pumpkins',
    '1557.jpg': 'A cook book, a bottle of milk and a bowl of berries',
    '1499.jpg': 'A motorcycle beside a yellow road sign',
    '1098.jpg': 'A laptop, a telephone and a lamp on a dark desk',
    '1144.jpg': 'A pineapple and a cocktail at the sea',
}


def runtime(
    out: Path,  # folder for `PARTS` and their licences
    cache: Path,  # folder in which the package is kept
) -> dict:  # edition and bytes; empty where the package cannot be had
    "ONNX Runtime Web. A package that is not the pinned one counts as none."
    try:
        package = fetch(PACKAGE, cache, quiet=True)
    except ConnectionError as e:
        print(f'the page `try` will compute nothing, its runtime is missing: {e}', flush=True)
        return {}
    import onnxruntime  # the same project's for Python has the licences, which the package lacks

    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for name in PARTS:
            (out / name).write_bytes(archive.extractfile(f'package/dist/{name}').read())
    for name in ('LICENSE', 'ThirdPartyNotices'):
        [notice] = Path(onnxruntime.__file__).parent.glob(name + '*')
        shutil.copy(notice, out / f'{name}.txt')
    return dict(edition=EDITION, bytes=sum((out / name).stat().st_size for name in PARTS))


def network(
    name: str,  # of one that comes along
    out: Path,  # folder for NAME.onnx
) -> dict:
    "Export it, and say what the page tells of it. ValueError where the page could not prepare its pictures."
    model = SaliencyModel.load(name)
    size, way = model.transform.size, (model.transform.keep_aspect, model.transform.interpolation)
    if way != (False, 'bilinear'):
        raise ValueError(
            f'{name} keeps proportions or is not bilinear: docs/static/saliency.js only squashes bilinearly'
        )
    model.to_onnx(out / f'{name}.onnx')
    scores = {data: values['CC'] for data, values in model.card['metrics'].items()}
    facts = dict(macs=model.card['macs'][f'{size[0]}x{size[1]}'], parameters=model.card['parameters'], cc=scores)
    return dict(name=name, file=f'{name}.onnx', bytes=(out / f'{name}.onnx').stat().st_size, size=size, **facts)


def write(
    out: Path,  # folder for all that the page loads
    cache: Path,  # folder in which the runtime is kept
):
    "Write about.json and the files that it names."
    out.mkdir(parents=True, exist_ok=True)
    photographs = out / 'photographs'
    shutil.copytree(FOLDER, photographs, ignore=shutil.ignore_patterns('*.npz', '*.md'), dirs_exist_ok=True)
    (photographs / 'LICENSE').rename(photographs / 'LICENSE.txt')  # which a browser shows
    about = dict(runtime=runtime(out, cache), networks=[], colours=COLOURS.tolist())
    if about['runtime']:
        about['networks'] = [network(name, out) for name in NAMES if name in PACKAGED]
    about['photographs'] = [dict(file=f'photographs/{file}', shows=text) for file, text in SAMPLES.items()]
    (out / 'about.json').write_text(json.dumps(about))
