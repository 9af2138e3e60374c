"From pictures to maps by four commands, on two generated sets: the file of each is what the next one takes."

import importlib
import json
import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salnas.data import load_dataset
from salnas.photographs import photographs
from salnas.popout import popout, write_popout
from salnas.predict_command import predict_command
from salnas.search import history
from salnas.search_command import search_command
from salnas.space import Arch
from salnas.train import train_command
from salnas.training import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
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


HELP = re.findall(r'^```\n(.*?)^```$', (ROOT / 'nbs/help.md').read_text(), re.M | re.S)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    "A folder as help.md supposes it: a photograph, a data set that is called osie, and maps of its test pictures."
    folder = tmp_path_factory.mktemp('help')
    write_popout(folder / 'data/osie', seed=1, n=24)
    part = load_dataset('osie', 'test', folder / 'data', cache=False)
    (folder / 'maps').mkdir()
    for k, i in enumerate(part.indices):
        np.save(folder / 'maps' / f'{Path(part.recording.image_names[i]).stem}.npy', part[k]['density'].numpy())
    Image.fromarray(photographs().read(6)).save(folder / 'photo.jpg')
    return folder


@pytest.mark.parametrize('command', [c for block in HELP for c in block.splitlines()])
def test_what_help_says_can_be_run(command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    program, *words = shlex.split(command)
    about = ConfigParser()
    about.read(ROOT / 'settings.ini')
    scripts = dict(s.split('=') for s in about['DEFAULT']['console_scripts'].split())
    if program in scripts:
        module, function = scripts[program].split(':')
        call = lambda: getattr(importlib.import_module(module), function)(words)
        if words[0] == 'verify':  # it has fewer pictures than the true one
            with pytest.raises(SystemExit):
                call()
            assert 'files as prepared' in capsys.readouterr().out
        else:
            call()
    elif program == 'python':
        exec(words[1])
    elif program == 'pip':
        assert words[:2] == ['install', '-e'] and all(
            f'{extra}_requirements' in about['DEFAULT']
            for extra in words[2].removeprefix('.[').removesuffix(']').split(',')
        )
    else:
        assert [program, words[0]] == ['jupyter', 'lab'] and (ROOT / words[1]).is_file()
