"The command `salnas_train`: the authors' sizes and statistics, and a checkpoint's own."

import json
from dataclasses import replace

import pytest
import torch
from filelock import FileLock
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
        with pytest.raises(SystemExit, match=r'space\.strides \(there \[2, 4\], now \[4\]\)'):
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


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    "The folder of a run of one epoch, and the command that made it."
    out = tmp_path_factory.mktemp('finished')
    small = '--profile smoke --set epochs=1 n_random=0 batch_size=16 calibration=8'.split()
    train_command([*small, '--output-dir', str(out)])
    return out, [*small, '--output-dir', str(out)]


def files(folder):
    return {f: f.read_bytes() for f in folder.rglob('*') if f.is_file() and f.name != '.lock'}


def test_a_run_is_not_destroyed_by_its_own_command(finished):
    out, command = finished
    before = files(out)
    assert any(f.match('state-*.pt') for f in before)
    with pytest.raises(SystemExit, match='^salnas_train: .* holds a run up to epoch 1: give --resume .* --overwrite'):
        train_command(command)
    with pytest.raises(SystemExit, match='^salnas_train: the state is of another run, it differs in .*seed'):
        train_command([*command, '--resume', '--seed', '1'])
    with FileLock(out / '.lock'), pytest.raises(SystemExit, match='^salnas_train: another process trains in'):
        train_command([*command, '--resume'])
    for wrong in (['--dataset', 'osie', '--data-root', str(out)], ['--start', str(out / 'typo.safetensors')]):
        with pytest.raises(SystemExit, match='^salnas_train: '):  # what is wrong is known before anything is removed
            train_command([*command, '--overwrite', *wrong])
    assert files(out) == before
    (out / 'network').mkdir()
    (out / 'network/result.json').write_text('{}')  # of a run that must not stand beside the next one
    train_command([*command, '--overwrite', '--seed', '1', '--start', str(out / 'best.safetensors')])
    after = files(out)
    assert after.keys() == before.keys() and after[out / 'best.safetensors'] != before[out / 'best.safetensors']


def test_damaged_states_are_sentences(finished, tmp_path, capsys):
    out, command = finished
    (tmp_path / 'state-00001-0000000.pt').write_bytes(b'nothing')
    with pytest.raises(SystemExit, match='^salnas_train: all 1 states in .* are damaged'):
        train_command([*command[:-1], str(tmp_path), '--resume'])
    said = capsys.readouterr().err
    assert said.startswith(f'salnas_train: {tmp_path}/state-00001-0000000.pt is damaged') and said.count('\n') == 1


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def pressed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('salnas.train.fit', pressed)
    with pytest.raises(SystemExit, match='130'):
        train_command(['--profile', 'smoke', '--output-dir', str(tmp_path)])
    said = 'the same command with --resume (and without --overwrite) goes on from the newest state'
    assert capsys.readouterr().err == f'salnas_train: interrupted: {said}\n'


def test_a_folder_that_takes_nothing_is_known_before_data_are_loaded(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('salnas.train.load_dataset', lambda *a, **k: pytest.fail('data were loaded'))
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit, match='file is a file, not a folder'):
        train_command(['--output-dir', str(tmp_path / 'file')])
    monkeypatch.setattr('tempfile.TemporaryFile', full)
    with pytest.raises(SystemExit, match='out: No space left on device'):
        train_command(['--output-dir', str(tmp_path / 'out')])


@pytest.mark.parametrize(
    'options, message',
    [
        ('--encoder {here}/nope.pth', 'nope.pth'),
        ('--encoder {here}/text.pth', 'text.pth is damaged or holds more than tensors'),
        ('--start {here}/text.safetensors', 'text.safetensors is damaged or no safetensors file'),
        ('--kd self-kd --kd-set alpha=7', 'alpha is a share, 0 to 1, got 7'),
        ('--kd self-kd --kd-set alpha=abc', "alpha must be a number, got 'abc'"),
        ('--kd self-kd --kd-set foo=1', 'self-kd has no option foo; it has: alpha'),
        ('--kd multi-step', 'multi-step needs folder=...'),
        ('--kd multi-step --kd-set folder={here}/none', 'none holds no epoch-001.safetensors'),
        ('--set workers=-1', 'workers must be at least 0, got -1'),
        ('--set calibration=0', 'calibration must be at least 1, got 0'),
        ('--set foo=1', "unknown setting 'foo': choose among epochs, batch_size"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, options, message):
    for name in ('text.pth', 'text.safetensors'):
        (tmp_path / name).write_text('no weights')
    words = options.format(here=tmp_path).split()
    with pytest.raises(SystemExit) as said:
        train_command(['--profile', 'smoke', *words, '--output-dir', str(tmp_path / 'out')])
    assert said.value.code.startswith('salnas_train: ') and message in said.value.code and '\n' not in said.value.code


@pytest.mark.parametrize('option', ['--seed=-1', '--resolutions=0', '--save-every=-1', '--resume --overwrite'])
def test_an_option_out_of_its_range_is_named(tmp_path, capsys, option):
    with pytest.raises(SystemExit, match='2'):
        train_command([*option.split(), '--output-dir', str(tmp_path / 'out')])
    assert f'argument {option.split("=")[0].split()[-1]}: ' in capsys.readouterr().err
