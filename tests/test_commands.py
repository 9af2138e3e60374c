"From pictures to maps by four commands, on two generated sets: the file of each is what the next one takes."

import json

import numpy as np
import pytest
import torch
from PIL import Image

from salnas.popout import popout, write_popout
from salnas.predict_command import predict_command
from salnas.search import history
from salnas.search_command import search_command
from salnas.space import Arch
from salnas.train import train_command
from salnas.training import load_checkpoint

SETS = ['--dataset', 'popout', 'other', '--data-root']
SMALL = ['--profile', 'smoke', '--set', 'epochs=1', 'n_random=0', 'calibration=8']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "A second set beside popout."
    folder = tmp_path_factory.mktemp('sets')
    write_popout(folder / 'other', seed=1, n=24)
    return folder


@pytest.fixture(scope='module')
def joint(root, tmp_path_factory):
    "A supernet that `salnas_train` made of both sets."
    out = tmp_path_factory.mktemp('joint')
    train_command([*SETS, str(root), '--resolutions', '64', *SMALL, '--output-dir', str(out)])
    return out


def test_joint_training_scores_each_set(joint):
    results = {p.parent.name: json.loads(p.read_text()) for p in joint.glob('largest/*/result.json')}
    assert {r['dataset'] for r in results.values()} == set(results) == {'popout', 'other'}
    assert all(r['parameters']['trained_on'] == 'popout+other' for r in results.values())
    assert (joint / 'largest/net.safetensors').is_file() and len(list(joint.glob('smallest/*/result.json'))) == 2


def test_search_then_train_what_was_found_then_predict(root, joint, tmp_path):
    supernet, found, chosen = joint / 'best.safetensors', tmp_path / 'found', tmp_path / 'chosen'
    asked = ['--max-macs', '80%', '--max-latency', '1000%', '--objectives', 'CC+NSS', '--strategy', 'random']
    some = ['--trials', '3', '--calibration', '8', '--output-dir', str(found)]
    search_command([str(supernet), *SETS, str(root), *asked, *some])
    told = json.loads((found / 'arch.json').read_text())
    assert {'CC popout', 'CC other', 'NSS popout', 'NSS other'} <= set(told['notes']['scores'])
    assert len(json.loads((found / 'latency.json').read_text())['times']) > 10
    assert set(told['notes']['costs']) == {'MACs', 'parameters', 'latency'}
    table = history(found / 'study.jsonl')
    assert len(table) == 3 and (table.state == 'done').all()
    arch, net = Arch.from_dict(told['arch']), load_checkpoint(supernet)
    macs = told['notes']['costs']['MACs']
    assert macs == table.MACs[[a == arch for a in table.arch]].item()

    still = ['lr_encoder=0.0', 'lr_decoder=0.0']  # steps that change nothing but the statistics of batch norm
    start = ['--arch', str(found / 'arch.json'), '--start', str(supernet)]
    train_command([*SETS, str(root), *start, *SMALL, *still, '--output-dir', str(chosen)])
    trained, cut = load_checkpoint(chosen / 'network/net.safetensors'), net.extract(arch)
    assert trained.arch == arch and trained.space == net.space
    pairs = zip(trained.named_parameters(), cut.named_parameters(), strict=True)
    assert all(a == b and torch.equal(v, w) for (a, v), (b, w) in pairs)

    picture = tmp_path / 'picture.png'
    Image.fromarray(popout().read(0)).save(picture)
    model = ['--model', str(chosen / 'network/net.safetensors'), '--out', str(tmp_path / 'maps'), '--npy', '--no-png']
    predict_command([str(picture), *model])
    density = np.load(next((tmp_path / 'maps').glob('*.npy')))
    assert density.shape == (240, 320) and density.sum() == pytest.approx(1, abs=1e-4)
