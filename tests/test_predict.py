"""Prediction as a user meets it: the command in its own process, odd files, full folders."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from salnas import predict
from salnas.data import popout
from salnas.space import named_space
from salnas.supernet import Supernet
from salnas.training import save_checkpoint

HERE = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def model_file(tmp_path_factory):
    space = named_space('tiny')
    net = Supernet(space, seed=0).extract(space.max()).train()
    for _ in range(20):
        net(torch.randn(2, 3, 96, 128))
    file = tmp_path_factory.mktemp('model') / 'm.safetensors'
    predict.SaliencyModel(net).save(file)
    return file


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(popout(n=2).read(0)).save(tmp_path / 'photo.jpg')
    return tmp_path / 'photo.jpg'


def command(*arguments):
    run = subprocess.run(
        [sys.executable, '-c', 'from salnas.predict import main; main()', *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=str(HERE)),
    )
    return run.returncode, run.stdout, run.stderr


def test_command(tmp_path, photo, model_file):
    (tmp_path / 'empty.jpg').touch()
    code, out, err = command(
        photo, tmp_path / 'empty.jpg', tmp_path / 'none.png', '--model', model_file, '--out', tmp_path / 'out', '--npy'
    )
    assert code == 1 and '1 maps in' in out and 'ms each' in out
    assert (
        len([l for l in err.splitlines() if l.startswith('salnas_predict: ')]) == 2
        and 'empty.jpg' in err
        and 'none.png' in err
        and 'Traceback' not in err
    )
    assert sorted(f.name for f in (tmp_path / 'out').iterdir()) == ['photo.map.png', 'photo.npy', 'photo.overlay.png']
    assert Image.open(tmp_path / 'out/photo.map.png').size == (320, 240) and np.load(
        tmp_path / 'out/photo.npy'
    ).sum() == pytest.approx(1, abs=1e-3)


def test_model_that_comes_along(tmp_path, photo):
    if not predict.PRETRAINED.is_file():
        pytest.skip('this checkout has no weights')
    code, out, err = command(photo, '--out', tmp_path / 'out')
    assert code == 0 and '1 maps' in out, err
    card = predict.SaliencyModel.load().card
    assert predict.PRETRAINED.stat().st_size < 10e6 and card['licence'] and card['metrics']['osie']['CC'] > 0.7


@pytest.mark.parametrize(
    'content, words', [(b'', 'damaged or no safetensors'), (b'<html>', 'damaged or no safetensors')]
)
def test_file_that_is_no_model(tmp_path, photo, content, words):
    (tmp_path / 'm.safetensors').write_bytes(content)
    code, out, err = command(photo, '--model', tmp_path / 'm.safetensors', '--out', tmp_path / 'out')
    assert code == 1 and words in err and len(err.splitlines()) == 1 and not (tmp_path / 'out').exists()


def test_model_of_a_newer_format(tmp_path, model_file):
    raw = model_file.read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 7')
    (tmp_path / 'new.safetensors').write_bytes(raw)
    with pytest.raises(ValueError, match='format 7, this version reads 1'):
        predict.SaliencyModel.load(tmp_path / 'new.safetensors')


def test_supernet_is_no_model(tmp_path):
    save_checkpoint(Supernet(named_space('tiny')), tmp_path / 's.safetensors')
    with pytest.raises(ValueError, match='holds a supernet'):
        predict.SaliencyModel.load(tmp_path / 's.safetensors')


def test_folder_that_cannot_be_written(tmp_path, photo, model_file):
    (tmp_path / 'out').write_text('a file')
    code, out, err = command(photo, '--model', model_file, '--out', tmp_path / 'out')
    assert code == 1 and err.startswith('salnas_predict: ') and len(err.splitlines()) == 1


def test_pictures_of_every_kind(tmp_path, model_file):
    model = predict.SaliencyModel.load(model_file)
    rgb = popout(n=2).read(0)
    kinds = dict(
        grey=Image.fromarray(rgb[..., 0]),
        alpha=Image.fromarray(np.dstack([rgb, rgb[..., :1]])),
        palette=Image.fromarray(rgb).convert('P'),
        one_bit=Image.fromarray(rgb).convert('1'),
    )
    for name, im in kinds.items():
        im.save(tmp_path / f'{name}.png')
        d = model.predict(tmp_path / f'{name}.png')
        assert d.shape == (240, 320) and np.isfinite(d).all() and d.sum() == pytest.approx(1, abs=1e-3)


def test_gigantic_picture_is_reduced(tmp_path, model_file):
    Image.new('L', (12_000, 9_000), 90).save(tmp_path / 'huge.png')
    with pytest.warns(UserWarning, match='12000x9000 pixels and is reduced'):
        d = predict.SaliencyModel.load(model_file).predict(tmp_path / 'huge.png')
    assert d.size <= predict.LARGEST and abs(d.shape[1] / d.shape[0] - 4 / 3) < 0.01
    with pytest.raises(ValueError, match='too many'):
        predict.read_photo(Image.new('1', (60_000, 40_000)))


def test_same_names_from_two_folders(tmp_path, model_file):
    for k in 'ab':
        (tmp_path / k).mkdir()
        Image.fromarray(popout(n=2).read(0)).save(tmp_path / k / 'x.png')
    code, out, err = command(tmp_path / 'a', tmp_path / 'b', '--model', model_file, '--out', tmp_path / 'out')
    assert code == 0 and len(list((tmp_path / 'out').iterdir())) == 4


def test_half_precision_that_does_not_fit(tmp_path, model_file):
    model = predict.SaliencyModel.load(model_file)
    model.net.first.bn.running_var.fill_(1e6)
    with pytest.raises(ValueError, match='does not fit into half precision'):
        model.save(tmp_path / 'm.safetensors')
    assert not list(tmp_path.iterdir())


def test_bf16_agrees(photo, model_file):
    a, b = (predict.SaliencyModel.load(model_file, p).predict(photo) for p in ('fp32', 'bf16'))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
