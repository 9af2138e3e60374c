"What is calibrated on, trained on and scored: samples of all pictures, maps without fixations, the authors' two sizes."

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from salnas import training
from salnas.checkpoints import load_checkpoint, read_state, save_checkpoint, write_atomically, write_state
from salnas.data import JoinedDataset, SaliencyDataset, import_folder, load_dataset, popout
from salnas.pictures import Transform
from salnas.provenance import read_result, save_result
from salnas.settings import Settings
from salnas.space import tiny_space
from salnas.supernet import Supernet
from salnas.training import calibrated, evaluate, fit, saliency_loss

SHORT = Settings(epochs=1, batch_size=4, n_random=0, calibration=8, lr_encoder=1e-4, lr_decoder=1e-4)
SPACE = tiny_space((64,))
ABOUT = dict(experiment='test', model='none', seed=0, profile='smoke', parameters={}, cost={}, time_s=0)


class Watched(SaliencyDataset):
    "Remembers which samples were asked for."

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def __getitem__(self, k):
        self.asked.append(k)
        return super().__getitem__(k)


def fitted(train, val=None, settings=SHORT, **options):
    net = Supernet(SPACE, seed=0)
    return net, fit(net, train, val or train, settings=settings, **{'progress': False} | options)


@pytest.fixture
def part():
    return SaliencyDataset(popout(n=16), 'train', (48, 64))


def test_calibration_takes_a_sample_of_all_pictures():
    sets = [Watched(popout(n=40, seed=s), 'train', (48, 64)) for s in (0, 1)]
    calibrated(Supernet(SPACE), JoinedDataset(*sets), images=16, batch_size=8)
    asked = [s.asked for s in sets]
    print('asked of two joined sets', asked)
    assert sum(map(len, asked)) == 16 and min(map(len, asked)) >= 4
    assert all(len(set(a)) == len(a) and max(a) > 16 for a in asked)


def test_a_set_of_maps_only_trains(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'maps').mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(tmp_path / f'images/{i}.png')
        spot = np.zeros((48, 64), np.uint8)
        spot[6 * (i % 4) : 6 * (i % 4) + 9, 20:40] = 200
        Image.fromarray(spot).save(tmp_path / f'maps/{i}.png')
    import_folder(tmp_path / 'root/own', tmp_path / 'images', maps=tmp_path / 'maps')
    train, val = (load_dataset('own', s, tmp_path / 'root', (48, 64)) for s in ('train', 'test'))
    net, history = fitted(train, val, SHORT)
    print(history[['loss_max', 'CC', 'KLD', 'NSS', 'score']])
    assert history.loss_max.item() > 0.5 and np.isfinite(history.score).all() and np.isnan(history.NSS).all()


def test_pictures_without_fixations_count_but_in_nss():
    g = torch.rand(4, 12, 16, generator=torch.Generator().manual_seed(0))
    f = (g > 0.9).float()
    p, g = g.roll(3, 2), g / g.sum((1, 2), keepdim=True)
    f[1] = 0
    seen = [0, 2, 3]
    loss = lambda weights, where=slice(None): saliency_loss(p[where], g[where], f[where], weights)
    for name in ('kld', 'cc', 'sim'):
        each = torch.stack([saliency_loss(p[[i]], g[[i]], torch.ones_like(f[[i]]), {name: 1.0}) for i in range(4)])
        assert torch.allclose(loss({name: 1.0}), each.mean()), name
    assert torch.allclose(loss({'nss': 1.0}), loss({'nss': 1.0}, seen))
    assert loss({'nss': 1.0}, [1]) == 0 and loss(None, [1]) > 0


def test_images_and_maps_of_two_sizes():
    "As SALICON under the authors' protocol, which feeds 288x384 and scores at 480x640."
    parts = [SaliencyDataset(popout(n=16), s, (96, 128), 'authors', image_size=(48, 64)) for s in ('train', 'val')]
    net, history = fitted(*parts)
    assert net.output_size == (96, 128) and np.isfinite(history.score).all()
    plain = Supernet(SPACE, seed=0)  # it gives maps as large as the picture
    rows = evaluate(calibrated(plain, parts[1], images=len(parts[1])), parts[1])
    plain.output_size = (96, 128)
    again = evaluate(calibrated(plain, parts[1], images=len(parts[1])), parts[1])
    assert np.isfinite(rows.CC).all() and np.allclose(rows, again, atol=1e-5)


def test_calibrated_refuses_another_architecture(part):
    sub = Supernet(SPACE).extract(SPACE.min())
    assert calibrated(sub, part, SPACE.min(), images=4).arch == SPACE.min()
    with pytest.raises(ValueError, match='one fixed network'):
        calibrated(sub, part, SPACE.max(), images=4)


def test_a_batch_that_is_larger_than_the_data_is_said(part):
    with pytest.warns(UserWarning, match='batch_size 64.* 11'):
        _, history = fitted(part, settings=Settings(**asdict(SHORT) | {'batch_size': 64}))
    assert history.attrs['settings']['batch_size'] == 11


def test_a_result_says_how_many_counted_and_when(part, tmp_path):
    net, history = fitted(part, output_dir=tmp_path / 'run')
    rows = evaluate(lambda b: b['density'], part)
    rows.loc[rows.index[:3], 'NSS'] = float('nan')
    save_result(tmp_path, rows, part, **ABOUT, trained_at=net.trained_at)
    result, again = read_result(tmp_path)
    assert result['counted'] == dict.fromkeys(rows, 11) | {'NSS': 8} and len(again) == 11
    when = result['provenance']
    assert when['trained_at'] == net.trained_at == history.attrs['trained_at'] and set(net.trained_at) == {
        'commit',
        'date',
    }
    assert set(when) == {'trained_at', 'scored_at', 'versions', 'device'}
    assert when['trained_at']['date'] <= when['scored_at']['date']
    best = load_checkpoint(tmp_path / 'run/best.safetensors')
    assert best.transform == part.transform == net.transform
    assert best.trained_at == net.trained_at == calibrated(best, part, images=4).trained_at


def test_older_results_are_read(part, tmp_path):
    "Before, a result had one date, that of its scores, and did not count."
    rows = evaluate(lambda b: b['density'], part)
    save_result(tmp_path, rows, part, **ABOUT)
    old = json.loads((tmp_path / 'result.json').read_text())
    del old['counted']
    when = old['provenance'].pop('scored_at')
    del old['provenance']['trained_at']
    old['provenance'] |= when
    write_atomically(tmp_path / 'result.json', json.dumps(old).encode())
    result, _ = read_result(tmp_path)
    assert result['counted'] == rows.count().to_dict()
    assert result['provenance']['scored_at'] == when and result['provenance']['trained_at'] == {}


def test_a_checkpoint_carries_the_transform(part, tmp_path):
    net = Supernet(SPACE)
    seen = Transform((48, 64), keep_aspect=True)
    assert load_checkpoint(save_checkpoint(net, tmp_path / 'with.safetensors', seen, epoch=3)).transform == seen
    older = load_checkpoint(save_checkpoint(net, tmp_path / 'without.safetensors'))
    assert older.transform is None and older.trained_at == {}


def test_an_interested_caller_hears_of_each_epoch(part):
    heard = []
    _, history = fitted(part, progress=lambda epoch, epochs, row: heard.append((epoch, epochs, row['score'])))
    assert heard == [(1, 1, history.score.item())]


@pytest.mark.parametrize('old', [True, False])
def test_a_run_goes_on_by_the_rule_it_began_with(part, tmp_path, monkeypatch, old):
    "Before there was a sample, the first images calibrated, and the identity in a state did not speak of it."
    made, step = [], training.train_step

    def stop(*args, **kwargs):
        made.append(1)
        if len(made) == 2:
            raise InterruptedError
        return step(*args, **kwargs)

    settings = Settings(**asdict(SHORT) | {'calibration': 4})
    monkeypatch.setattr(training, 'train_step', stop)
    with pytest.raises(InterruptedError):
        fitted(part, settings=settings, output_dir=tmp_path, save_every=1)
    state = read_state(tmp_path)
    identity = state['identity']
    assert identity.pop('calibration images') == 'a sample' and identity.pop('transform')['size'] == [48, 64]
    if old:
        write_state(tmp_path, {k: v for k, v in state.items() if k != 'trained_at'})
    net, history = fitted(part, settings=settings, output_dir=tmp_path, resume=True)
    score = lambda images: evaluate(calibrated(net, part, images=images, batch_size=4), part).CC.mean()
    assert len(made) == 3 and history.CC.item() == pytest.approx(score(range(4) if old else 4), abs=1e-5)
    assert abs(score(range(4)) - score(4)) > 1e-4 and bool(net.trained_at) != old


@pytest.mark.parametrize('at', ['grid', 'native'])
def test_evaluate_computes_where_it_was_asked_to(part, at):
    "On `meta`, which computes shapes alone, all but the way back to the processor must go well; the network stays."
    net, seen = calibrated(Supernet(SPACE, seed=0), part, images=4), []
    net.transform = Transform((48, 64))
    net.first.register_forward_pre_hook(lambda _, x: seen.append(x[0].device.type))
    with pytest.raises((NotImplementedError, RuntimeError), match='meta tensor'):
        evaluate(net, part, at=at, device='meta')
    assert seen == ['meta'] and net.mean.device.type == 'cpu' and net.transform
    assert evaluate(net, part, at=at, device='cpu').equals(evaluate(net, part, at=at))
