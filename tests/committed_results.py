"""Identities of the committed results, read off their own files: `python tests/committed_results.py` writes them.

The results are older than `salnas.runs`, so their run.json was not written by the process that made them. What shaped
a run is taken from its result files; what these leave out is listed here as a constant. To be called again when a field
is added to `Settings`: the older runs then get its default."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from salnas.files import write_json
from salnas.training import Settings, named_profile

RESULTS = Path(__file__).parent.parent / 'results'
ENCODER = 'mobilenet_v2_1.0_ptq_torchvision1001.pth'  # the files name it
ENCODER_SHA256 = '0eaa05e3f2899f9a387ad504eacc4733f852e1e13c585067ce99b5f6a3c88793'  # of the only file of that name
CODE = {'code': 1}


def plain(value):
    return json.loads(json.dumps(value))


def settings_of(recorded):
    "All fields of Settings: as recorded, or the default of a field that came later."
    default = asdict(Settings())
    return plain({k: recorded.get(k, default[k]) for k in default})


def encoder_of(recorded):
    assert recorded['encoder'] == ENCODER
    facts = {k: recorded[k] for k in ('encoder', 'input_mean', 'input_std')}
    return facts | {'encoder_sha256': ENCODER_SHA256}


def read(path):
    return json.loads(path.read_text())


def kd_ablation(root):
    "folder: identity, and when it was finished."
    for path in sorted((root / 'kd_ablation-osie').glob('*/seed*/largest/result.json')):
        result, p = read(path), read(path)['parameters']
        row, seed = result['model'].split(', ')[0], result['seed']
        facts = {k: result[k] for k in ('seed', 'dataset', 'edition', 'profile')}
        facts |= {'row': row, 'space': p['space'], 'resolution': p['resolution'], 'alone': row == 'alone'}
        facts |= {'settings': settings_of(p), 'teacher': f'alone/seed{seed}' if row == 'multi-step' else ''}
        facts['kd'] = {k: v for k, v in p['kd'].items() if k not in ('protocol', 'folder')}
        yield path.parent.parent, {'make': 'salnas.recipes:distil', **CODE, **facts, **encoder_of(p)}, path


def search_osie(root):
    folder = root / 'search-osie'
    whole = read(folder / 'study.json')
    about = whole['about']
    shared = {'supernet_sha256': about['supernet'], 'space': 'mobilenetv2', 'resolutions': [192, 256]}
    shared |= {'dataset': about['dataset'], 'edition': whole['edition']} | CODE
    scored = {k: about[k] for k in ('size', 'calibration', 'precision')}
    for path in sorted(folder.glob('*/seed*/study.jsonl')):
        header = json.loads(path.open().readline())['header']
        assert header['about'] == about and header['space']['resolutions'] == shared['resolutions']
        strategy, budget = path.parent.parent.name, whole['budget']
        options = {'per_level': max(2, budget // 8)} if strategy == 'progressive' else {}  # seven stages
        facts = {'strategy': strategy, 'seed': int(path.parent.name[4:]), 'budget': budget, 'options': options}
        yield path.parent, {'make': 'salnas.recipes:study', **shared, **scored, **facts}, folder / 'study.json'
    facts = {'networks': 8, 'counts': [8, 16, 32, 64, 128]}
    quick = {'make': 'salnas.recipes:quick_and_plain', **shared, **scored, **facts}
    yield folder / 'quick-and-plain', quick, folder / 'study.json'
    for path in sorted(folder.glob('*/result.json')):
        result, p = read(path), read(path)['parameters']
        network, how = result['model'].split(', ')
        lr = dict(zip(('lr_encoder', 'lr_decoder'), p['lr']))
        settings = named_profile('cpu', 'mobilenetv2', 'osie', epochs=6, size=(192, 256), precision='bf16', **lr)
        facts = {'network': network, 'arch': p['arch'], 'limit': p['limit'], 'further': how != 'shared weights'}
        facts |= {'settings': plain(asdict(settings)), 'kd': {'name': p['kd']}, 'seed': result['seed']}
        yield path.parent, {'make': 'salnas.recipes:train_further', **shared, **facts}, path


def pretrained(root):
    folder = root / 'pretrained/seed0'
    results = {name: read(folder / name / 'result.json') for name in ('osie', 'crowd', 'scene')}
    p = results['osie']['parameters']
    large = settings_of(p)
    rates = {k: 2 * large[k] for k in ('lr_encoder', 'lr_decoder')}  # the larger pictures had half of them
    small = large | rates | {'epochs': p['small_epochs'], 'size': p['small_size'], 'jitter': False}
    tune = large | {k: v / 3 for k, v in rates.items()} | {'epochs': p['tune_epochs']}
    facts = {'datasets': [[name, r['edition']] for name, r in results.items()], 'seed': results['osie']['seed']}
    facts['stages'] = {'small': small, 'large': large, 'tune': tune}
    identity = {'make': 'salnas.recipes:pretrain', **CODE, **facts, **encoder_of(p)}
    yield folder, plain(identity), folder / 'osie/result.json'


def identities(
    root=RESULTS,
):
    "(folder, identity, time it was finished) of every committed run."
    for experiment in (kd_ablation, search_osie, pretrained):
        for folder, identity, dated in experiment(root):
            of = read(dated)['provenance']
            yield folder, plain(identity), of.get('scored_at', of)['date']


if __name__ == '__main__':
    for folder, identity, finished in identities(Path(sys.argv[1]) if sys.argv[1:] else RESULTS):
        write_json(folder / 'run.json', {'identity': identity, 'finished': finished})
