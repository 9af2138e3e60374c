"""Prediction as a user meets it: the command in its own process, odd files, full folders."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from salnas import evaluation, exports, predict, predict_command, runtimes
from salnas.data import SaliencyDataset, import_folder, popout, read_recording
from salnas.evaluation import calibrated
from salnas.pictures import Transform
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


def in_a_process(*arguments):
    run = subprocess.run(
        [sys.executable, '-c', 'from salnas.predict import predict_command; predict_command()', *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | dict(PYTHONPATH=str(HERE)),
    )
    return run.returncode, run.stdout, run.stderr


def command(*arguments):
    "The same without a process of its own, which takes seconds to import torch."
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            predict.predict_command([str(a) for a in arguments])
        except SystemExit as e:
            code = e.code
            if isinstance(code, str):
                print(code, file=err)
                code = 1
    return code, out.getvalue(), err.getvalue()


def test_command(tmp_path, photo, model_file):
    (tmp_path / 'empty.jpg').touch()
    pictures = photo, tmp_path / 'empty.jpg', tmp_path / 'none.png'
    code, out, err = in_a_process(*pictures, '--model', model_file, '--out', tmp_path / 'out', '--npy')
    assert code == 1 and '1 map in' in out and 'ms each' in out
    assert len([l for l in err.splitlines() if l.startswith('salnas_predict: ')]) == 2
    assert 'empty.jpg' in err and 'none.png' in err and 'Traceback' not in err
    assert sorted(f.name for f in (tmp_path / 'out').iterdir()) == ['photo.map.png', 'photo.npy', 'photo.overlay.png']
    assert Image.open(tmp_path / 'out/photo.map.png').size == (320, 240)
    assert np.load(tmp_path / 'out/photo.npy').sum() == pytest.approx(1, abs=1e-3)


def test_model_that_comes_along(tmp_path, photo):
    if not predict.PRETRAINED.is_file():
        pytest.skip('this checkout has no weights')
    code, out, err = command(photo, '--out', tmp_path / 'out')
    assert code == 0 and '1 map in' in out, err
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # its file says how its pictures are prepared
        model = predict.SaliencyModel.load()
    card = model.card
    assert predict.PRETRAINED.stat().st_size < 12e6 and card['licence'] and card['metrics']['osie']['CC'] > 0.7
    assert model.transform == Transform.from_dict(card['transform']) and model.size == (216, 288)
    assert card['people'].keys() <= card['centre_bias'].keys() == card['metrics'].keys()


def test_networks_that_come_along_are_at_most_40_MB():
    folders = (Path(predict.__file__).parent / name for name in ('weights', 'supernets', 'osie', 'tables'))
    files = [file for folder in folders for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files if file.suffix == '.safetensors') < 40e6
    assert sum(file.stat().st_size for file in files) < 41e6  # with cards, photographs and the bench's table


@pytest.mark.parametrize('name', predict.PACKAGED)
def test_models_by_name(name, photo, tmp_path):
    model = predict.SaliencyModel.load(name)
    assert model.card['licence'] and model.card['metrics']['osie'] and min(model.card['macs'].values()) > 0
    assert predict.PACKAGED[name].stat().st_size < 16e6
    code, out, err = command(photo, '--model', name, '--out', tmp_path / 'out', '--npy')
    assert code == 0, err
    assert np.allclose(np.load(tmp_path / 'out/photo.npy'), model.predict(photo), atol=1e-8)


@pytest.mark.parametrize('content', [b'', b'<html>'])
def test_file_that_is_no_model(tmp_path, photo, content):
    (tmp_path / 'm.safetensors').write_bytes(content)
    code, out, err = command(photo, '--model', tmp_path / 'm.safetensors', '--out', tmp_path / 'out')
    assert (
        code == 1
        and 'damaged or no safetensors' in err
        and len(err.splitlines()) == 1
        and not (tmp_path / 'out').exists()
    )


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


@pytest.fixture(scope='module')
def mixed_pictures(tmp_path_factory):
    "A data set of one's own whose pictures are of four aspects."
    folder, recording, rows = tmp_path_factory.mktemp('own'), popout(n=10), []
    for i, (h, w) in enumerate([(240, 320), (240, 160), (120, 320), (240, 240), (240, 160)] * 2):
        Image.fromarray(recording.read(i)[:h, :w]).save(folder / f'{i}.png')
        rng = np.random.default_rng(i)
        rows += [(f'{i}.png', x, y) for x, y in zip(rng.uniform(0, w - 1, 12), rng.uniform(0, h - 1, 12))]
    points = pd.DataFrame(rows, columns=['image', 'x', 'y'])
    prepared = import_folder(tmp_path_factory.mktemp('data') / 'mixed', folder, points, pixels_per_degree=12)
    return read_recording(prepared), folder


@pytest.mark.parametrize('keep_aspect', [False, True])
def test_what_is_scored_is_what_is_deployed(mixed_pictures, monkeypatch, keep_aspect):
    "`evaluate` at native size and `SaliencyModel.predict` on the files give the same maps, and so the same scores."
    recording, folder = mixed_pictures
    space = named_space('tiny')
    part = SaliencyDataset(recording, 'train', size=(60, 80))
    net = calibrated(Supernet(space, seed=0), part, space.max(), 4)
    net.transform = Transform((96, 128), keep_aspect)
    scorer, scored = evaluation.Scorer(part), {}

    def score(self, maps, density, fixations, first):
        if len(maps) == 1:
            scored[first] = maps[0] / maps[0].sum()
        return plain(self, maps, density, fixations, first)

    plain = evaluation.Scorer.__call__
    monkeypatch.setattr(evaluation.Scorer, '__call__', score)
    rows = evaluation.evaluate(net, part, batch_size=2, at='native')
    monkeypatch.undo()
    model = predict.SaliencyModel(net)
    files = [folder / recording.image_names[i] for i in part.indices]
    deployed = [torch.from_numpy(d) for d in model.predict_many(files)]
    assert len(scored) == len(part) >= 4
    worst = max(float((scored[k] / d.max() - d / d.max()).abs().max()) for k, d in enumerate(deployed))
    assert worst < 1e-5, f'a map differs by {worst:.3f} of its peak'
    again = pd.concat([scorer.native(d, k) for k, d in enumerate(deployed)])
    assert list(rows.index) == [recording.image_names[i] for i in part.indices]
    assert np.allclose(rows.to_numpy(), again.to_numpy(), atol=1e-4)


def test_same_names_from_two_folders(tmp_path, model_file):
    for k in 'ab':
        (tmp_path / k).mkdir()
        Image.fromarray(popout(n=2).read(0)).save(tmp_path / k / 'x.png')
    code, out, err = command(tmp_path / 'a', tmp_path / 'b', '--model', model_file, '--out', tmp_path / 'out')
    assert code == 0 and len(list((tmp_path / 'out').iterdir())) == 4


def test_names_of_maps_are_unique(tmp_path, model_file):
    "x/a.png, y/a.png and z/a-2.png: the second a must not take the name of the third picture."
    files = [tmp_path / f for f in ('x/a.png', 'y/a.png', 'z/a-2.png')]
    for k, file in enumerate(files):
        file.parent.mkdir()
        Image.fromarray(popout(n=3).read(k)).save(file)
    code, out, err = command(*files, '--model', model_file, '--out', tmp_path / 'out', '--npy', '--no-png')
    made = sorted((tmp_path / 'out').iterdir())
    assert code == 0 and f'{len(made)} maps in' in out and len(made) == 3
    assert 'a second a is written as a-2' in err and 'a second a-2 is written as a-2-2' in err
    model = predict.SaliencyModel.load(model_file)
    for file, name in zip(files, ('a', 'a-2', 'a-2-2')):
        assert np.allclose(np.load(tmp_path / f'out/{name}.npy'), model.predict(file), atol=1e-8)


@pytest.mark.parametrize('broken', ['picture', 'source'])
def test_maps_come_before_the_error(model_file, broken):
    "Of good, good, bad the first two are predicted, wherever in a batch the bad one would be."
    good, model = popout(n=2).read(0), predict.SaliencyModel.load(model_file)

    def pictures():
        yield good
        yield good
        if broken == 'source':
            raise OSError('the camera is gone')
        yield b'no picture'
        yield good

    done = []
    with pytest.raises((ValueError, OSError), match='given bytes|camera'):
        for d in model.predict_many(pictures()):
            done.append(d)
    assert len(done) == 2 and all(d.shape == good.shape[:2] for d in done)
    assert len(list(model.predict_many(iter([good] * 9)))) == 9 and list(model.predict_many([])) == []


def test_network_of_the_caller_is_left_alone():
    space = named_space('tiny')
    net = Supernet(space, seed=0).extract(space.max()).half().train()
    net.first.eval()  # a part that is frozen
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    model = predict.SaliencyModel(net)
    model.predict(popout(n=2).read(0))
    exports.agreement(lambda images: np.zeros((len(images), 96, 128)), model.net.train(), (96, 128))
    assert model.net.training and [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in net.state_dict().items())


def test_device_is_where_it_computes(model_file, tmp_path, photo):
    "`meta` computes shapes alone: everything but the last step, the way back to the processor, must happen there."
    model, seen = predict.SaliencyModel.load(model_file, device='meta'), []
    model.run.fast.register_forward_pre_hook(lambda _, x: seen.append(x[0].device.type))
    with pytest.raises((NotImplementedError, RuntimeError), match='meta tensor'):
        model.predict(photo)
    assert seen == ['meta'] and model.device.type == 'meta' and model.net.mean.device.type == 'cpu'


def test_absent_device_is_one_sentence(model_file, tmp_path, photo):
    code, out, err = command(photo, '--model', model_file, '--out', tmp_path / 'out', '--device', 'cuda:99')
    assert code == 1 and len(err.splitlines()) == 1 and not (tmp_path / 'out').exists()
    assert err.startswith("salnas_predict: this machine has no device 'cuda:99': choose one of cpu")


def test_half_precision_that_does_not_fit(tmp_path, model_file):
    model = predict.SaliencyModel.load(model_file)
    model.net.first.bn.running_var.fill_(1e6)
    with pytest.raises(ValueError, match='does not fit into half precision'):
        model.save(tmp_path / 'm.safetensors')
    assert not list(tmp_path.iterdir())


def test_bf16_agrees(photo, model_file):
    a, b = (predict.SaliencyModel.load(model_file, p).predict(photo) for p in ('fp32', 'bf16'))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99


@pytest.fixture(scope='module')
def keeps_proportions(tmp_path_factory):
    "A model whose pictures keep theirs, so that the network sees many shapes; its long side is not the network's own."
    space = named_space('tiny')
    net = Supernet(space, seed=0).extract(space.max()).train()
    with torch.no_grad():
        net(torch.randn(4, 3, 96, 128))
    net.transform = Transform((96, 128), keep_aspect=True)
    file = tmp_path_factory.mktemp('kept') / 'm.safetensors'
    predict.SaliencyModel(net).save(file)
    return file


@pytest.mark.parametrize('runtime', ['onnx', 'openvino'])
@pytest.mark.parametrize('kind', ['squashed', 'kept'])
def test_maps_are_the_same_through_every_runtime(model_file, keeps_proportions, mixed_pictures, runtime, kind):
    pytest.importorskip('onnxruntime' if runtime == 'onnx' else 'openvino')
    file = model_file if kind == 'squashed' else keeps_proportions
    plain, other = predict.SaliencyModel.load(file), predict.SaliencyModel.load(file, runtime=runtime)
    pictures = sorted(mixed_pictures[1].iterdir())[:6]
    for want, got in zip(plain.predict_many(pictures), other.predict_many(pictures)):
        assert want.shape == got.shape and np.abs(want - got).max() < 1e-3 * want.max()


def test_exported_network_beside_the_checkpoint(tmp_path, model_file, photo, monkeypatch):
    "It is used when it is of this network and format; otherwise one sentence says what to do."
    pytest.importorskip('onnxruntime')
    file = tmp_path / 'm.safetensors'
    file.write_bytes(model_file.read_bytes())
    model = predict.SaliencyModel.load(file)
    model.to_onnx(tmp_path / 'm.onnx')
    monkeypatch.setattr(runtimes, 'onnx_bytes', lambda *_: pytest.fail('exported again'))
    want, got = model.predict(photo), predict.SaliencyModel.load(file, runtime='onnx').predict(photo)
    assert np.abs(want - got).max() < 1e-3 * want.max()
    monkeypatch.setattr(runtimes, 'EXPORT_FORMAT', 2)
    wrong = [command(photo, '--model', file, '--runtime', 'onnx', '--out', tmp_path / 'out')]
    monkeypatch.undo()
    model.net.first.conv.weight.data += 0.1
    model.save(file)
    wrong.append(command(photo, '--model', file, '--runtime', 'onnx', '--out', tmp_path / 'out'))
    (tmp_path / 'm.onnx').write_bytes(b'')
    wrong.append(command(photo, '--model', file, '--runtime', 'onnx', '--out', tmp_path / 'out'))
    said = 'export format 1, this version reads 2', 'exported of another network', 'damaged or no exported network'
    for (code, _, err), what in zip(wrong, said):
        assert code == 1 and what in err and len(err.splitlines()) == 1
    assert 'remove it, or write it again with SaliencyModel.load(...).to_onnx' in wrong[0][2]


@pytest.mark.parametrize('runtime, package', [('onnx', 'onnxruntime'), ('onnx', 'onnx'), ('openvino', 'openvino')])
def test_runtime_that_is_not_installed(tmp_path, photo, model_file, monkeypatch, runtime, package):
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = command(photo, '--model', model_file, '--out', tmp_path / 'out', '--runtime', runtime)
    assert code == 1 and len(err.splitlines()) == 1 and f'needs {package}: pip install "salnas[export]"' in err


def test_interrupted_command_leaves_whole_files(tmp_path, model_file, monkeypatch):
    "Ctrl-C while the fourth map is computed: what is there can be read, and nothing else is there."
    (tmp_path / 'in').mkdir()
    for k in range(9):
        Image.fromarray(popout(n=2).read(0)).save(tmp_path / 'in' / f'{k}.png')
    plain, seen = runtimes.TorchRunner.__call__, []

    def pressed(self, images):
        seen.append(images)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return plain(self, images)

    monkeypatch.setattr(runtimes.TorchRunner, '__call__', pressed)
    code, out, err = command(tmp_path / 'in', '--model', model_file, '--out', tmp_path / 'out')
    made = list((tmp_path / 'out').iterdir())
    assert code == 130 and 'interrupted' in err and not out and len(seen) == 4
    assert made and all(f.suffix == '.png' and f.name[0] != '.' for f in made)
    for f in made:
        Image.open(f).load()


def test_pictures_in_memory_are_few(tmp_path, model_file, monkeypatch):
    "However many pictures there are, only a few are read before the first is written; and in order."
    (tmp_path / 'in').mkdir()
    for k in range(30):
        (tmp_path / 'in' / f'{k:02d}.png').write_bytes(b'')
    read, written, most = [], [], []
    monkeypatch.setattr(predict_command, 'read_photo', lambda f: read.append(f) or np.zeros((8, 8, 3), np.uint8))
    plain = predict_command._write

    def write(out, name, *rest, **more):
        result = plain(out, name, *rest, **more)
        written.append(name)
        most.append(len(read) - len(written))
        return result

    monkeypatch.setattr(predict_command, '_write', write)
    code, out, _ = command(tmp_path / 'in', '--model', model_file, '--out', tmp_path / 'out')
    assert code == 0 and len(written) == 30 and max(most) <= 4 * predict_command.THREADS + 2
    assert all(f'{stage} ' in out for stage in ('read', 'network', 'bring to size', 'write'))
