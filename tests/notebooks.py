"Experiments as a test runs them: through papermill, or cell by cell in the test's own process."

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT, BIN = Path(__file__).resolve().parent.parent, Path(sys.executable).parent


def papermill(notebook, out, *parameters):
    command = [
        BIN / 'papermill',
        ROOT / 'nbs/experiments' / notebook,
        out,
        '--cwd',
        ROOT / 'nbs/experiments',
        *parameters,
    ]
    done = subprocess.run(
        list(map(str, command)), env=os.environ | {'OMP_NUM_THREADS': '1'}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return nbformat.read(out, 4)


def printed(notebook):
    return ''.join(
        o.get('text', '')
        for c in notebook.cells
        for o in c.get('outputs', [])
        if o.output_type == 'stream' and o.get('name') == 'stdout'
    )


def options(**parameters):
    return [word for k, v in parameters.items() for word in ('-y', json.dumps({k: v}, default=str))]


def namespace(notebook, last, **parameters):
    "Names of a notebook's cells up to the one that holds `last`, with other parameters; results stay where they are."
    names = {}
    for cell in nbformat.read(ROOT / 'nbs/experiments' / notebook, 4).cells:
        if cell.cell_type == 'code':
            exec(cell.source, names)
            if 'parameters' in cell.metadata.get('tags', []):
                names.update(parameters)
        if last in cell.source and cell.cell_type == 'code':
            return names
    raise AssertionError(f'no cell of {notebook} has {last!r}')


def small_ablation(folder):
    "Parameters of kd_ablation with which a row takes seconds."
    return dict(
        dataset='popout',
        edition='popout-1',
        space='tiny',
        profile='smoke',
        resolution=64,
        size=[48, 64],
        seeds=[0],
        epochs=2,
        encoder='',
        encoder_sha256='',
        input_mean=None,
        input_std=None,
        runs_dir=folder / 'runs',
        results_dir=folder / 'results',
    )


def small_search(tmp_path, **changes):
    from salnas.space import tiny_space
    from salnas.supernet import Supernet
    from salnas.training import save_checkpoint

    start = save_checkpoint(Supernet(tiny_space((64,)), seed=changes.pop('seed', 0)), tmp_path / 'net.safetensors')
    small = dict(
        supernet=str(start),
        supernet_sha256='',
        dataset='popout',
        edition='popout-1',
        space='tiny',
        resolutions=[64],
        strategies='random evolution',
        budget=6,
        seeds=1,
        height=48,
        width=64,
        calibration=16,
        precision='fp32',
        epochs=1,
        limit=0.7,
        runs_dir=str(tmp_path / 'runs'),
        results_dir=str(tmp_path / 'out'),
    )
    return small | changes
