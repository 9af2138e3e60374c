"The command `salnas_train`: the authors' sizes and statistics, and a checkpoint's own."

import json
from dataclasses import replace

import pytest
import torch
from salnas import sources
from salnas.train import train_command
from salnas.space import SPACES, tiny_space
from salnas.supernet import Supernet
from salnas.training import load_checkpoint, save_checkpoint

import fake_archives as fake


def train(out, *arguments, kd='none'):
    "One epoch of small steps; the result of the largest network and the network."
    small = ['epochs=1', 'batch_size=2', 'n_random=0', 'calibration=2']
    at = [k for k, a in enumerate(arguments) if a == '--set']
    extra = list(arguments[at[0] + 1 :]) if at else []
    arguments = arguments[: at[0]] if at else arguments
    train_command(
        ['--profile', 'smoke', '--kd', kd, '--output-dir', str(out), *map(str, arguments), '--set', *small, *extra]
    )
    folder = out / 'largest'
    return json.loads((folder / 'result.json').read_text()), load_checkpoint(folder / 'net.safetensors')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "A SALICON and an OSIE with few pictures, prepared."
    folder = tmp_path_factory.mktemp('sets')
    salicon, archives, _ = fake.salicon(folder)
    sources.get('salicon', archives, folder / 'root', source=salicon, say=str)
    osie, archives, _ = fake.nested(folder, 'osie', n=8)
    osie = replace(osie, authors=osie.authors | dict(n_train=5))
    sources.get('osie', archives, folder / 'root', source=osie, say=str)
    return folder / 'root'


@pytest.mark.parametrize('kd', ['none', 'self-kd', 'ps-kd', 'pkd'])
def test_authors_sizes_of_salicon(root, tmp_path, kd):
    "They feed 288x384 and score at 480x640; a size that is asked for is taken for both."
    asked = '--dataset', 'salicon', '--data-root', root, '--protocol', 'authors'
    result, net = train(tmp_path / 'theirs', *asked, kd=kd)
    assert net.output_size == (480, 640)
    assert result['parameters']['image_size'] == [288, 384] and result['parameters']['size'] == [480, 640]
    if kd == 'none':
        result, net = train(tmp_path / 'asked', *asked, '--set', 'size=(48,64)')
        assert net.output_size is None
        assert result['parameters']['image_size'] == result['parameters']['size'] == [48, 64]


def test_a_checkpoint_keeps_its_input_statistics(root, tmp_path):
    net = Supernet(tiny_space(), seed=1)
    net.mean.fill_(0.4)
    net.std.fill_(0.3)
    start = save_checkpoint(net, tmp_path / 'start.safetensors')
    asked = '--dataset', 'osie', '--data-root', root, '--protocol', 'authors', '--set', 'size=(48,64)'
    _, kept = train(tmp_path / 'kept', '--start', start, *asked)
    _, theirs = train(tmp_path / 'theirs', *asked)
    assert torch.allclose(kept.mean, torch.tensor(0.4)) and torch.allclose(kept.std, torch.tensor(0.3))
    assert theirs.mean.tolist() == theirs.std.tolist() == pytest.approx([0.5] * 3)


OPTIONS = {
    'tiny': (['--strides', 2, 4], {'resolutions': [64], 'strides': [2, 4]}),
    'lite': (
        ['--strides', 4, '--base', 'lite1', '--output', 'softmax'],
        {'resolutions': [64], 'strides': [4], 'base': 'lite1', 'output': 'softmax'},
    ),
}


@pytest.mark.parametrize('name', OPTIONS)
def test_options_of_a_space(root, tmp_path, name):
    "They shape the network, and stand in the result and in the identity of the run."
    options, told = OPTIONS[name]
    asked = '--dataset', 'osie', '--data-root', root, '--space', name, '--resolutions', 64, *options
    result, net = train(tmp_path, *asked, '--set', 'size=(48,64)')
    assert net.space == SPACES[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})
    assert net.arch.stride == told['strides'][0]
    assert {k: result['parameters'].get(k) for k in ('resolutions', 'strides', 'base', 'output')} == (
        dict.fromkeys(('base', 'output')) | told
    )
    if name == 'tiny':
        with pytest.raises(ValueError, match=r'space\.strides \(there \[2, 4\], now \[4\]\)'):
            train(tmp_path, *asked, '--strides', 4, '--resume', '--set', 'size=(48,64)')


@pytest.mark.parametrize(
    'options, message',
    [
        (['--base', 'lite1'], 'the space tiny has no --base: it takes --resolutions, --strides'),
        (['--space', 'mobilenetv2', '--output', 'softmax'], 'the space mobilenetv2 has no --output'),
        (['--strides', '3'], 'strides must be some of 1, 2 and 4'),
        (['--set', 'precision=int8'], 'precision must be one of'),
    ],
)
def test_an_option_that_the_space_does_not_have(tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        train_command(['--output-dir', str(tmp_path), *options])
