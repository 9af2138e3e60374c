"""Every metric against formulas written a second time (numpy, scipy, scikit-learn) and, where it is there, pysaliency.

Each test prints the largest disagreement it saw; `pytest -s` shows them.
"""

import importlib.util
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter
from scipy.special import rel_entr

from salnas import metrics as M

EPS = 2.2204e-16
TOLERANCE = 1e-5


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    "The maps are small: on a busy machine, threads would only wait for one another."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def report(name, disagreement, tolerance=TOLERANCE):
    print(f'{name:46} largest disagreement {disagreement:.1e}')
    assert disagreement < tolerance


def worst(ours, oracle):
    "The largest difference; NaN must meet NaN."
    ours, oracle = np.asarray(ours, float), np.asarray(oracle, float)
    assert (np.isnan(ours) == np.isnan(oracle)).all()
    return np.abs(np.nan_to_num(ours) - np.nan_to_num(oracle)).max()


def world(seed, shape=None, n=None, kind='smooth', batch=6):
    "Predictions, densities and fixation counts, float64, of a random shape and kind."
    rng = np.random.default_rng(seed)
    h, w = shape or rng.integers(5, 90, 2)
    pred = rng.random((batch, h, w))
    if kind == 'smooth':
        pred = np.stack([gaussian_filter(p**6, 3) for p in pred])
    if kind == 'quantised':
        pred = np.floor(pred * 6) / 6
    if kind == 'sparse':
        pred = np.where(pred > 0.8, pred, 0)
    if kind == 'negative':
        pred = rng.normal(size=pred.shape)
    if kind == 'heavy':
        pred = np.exp(6 * rng.normal(size=pred.shape))
    if kind == 'offset':
        pred = 1 + pred / 100
    chance = gaussian_filter(rng.random((h, w)), 4) ** 8
    fixations = rng.multinomial(n or rng.integers(1, 150), (chance / chance.sum()).ravel(), batch).reshape(batch, h, w)
    density = np.stack([gaussian_filter(f.astype(float), 2, mode='nearest') for f in fixations])
    return pred, density, fixations


KINDS = 'smooth', 'noise', 'quantised', 'sparse', 'negative', 'heavy', 'offset'
WORLDS = [(seed, kind) for seed, kind in enumerate(KINDS * 3)]
DTYPES = torch.float64, torch.float32


def tensors(dtype, *maps):
    return [torch.tensor(m).to(dtype) for m in maps]


def density_of(m):
    "pysaliency's convention: shift a map with negative values to minimum 0, then normalise the sum."
    m = m - m.min() if m.min() < 0 else m
    return m / m.sum()


def points(counts):
    "Rows and columns of the fixations, a pixel as often as it was fixated."
    return np.repeat(np.argwhere(counts), counts[counts > 0], axis=0).T


def over_worlds(ours, oracle, dtype, kinds=KINDS):
    "The largest disagreement between `ours` (tensors in) and `oracle` (numpy, one image) over all random worlds."
    disagreement = 0
    for seed, kind in WORLDS:
        if kind not in kinds:
            continue
        maps = world(seed, kind=kind)
        ts = tensors(dtype, *maps)
        # the oracle sees the values that the library saw, rounded to its dtype
        exact = [t.double().numpy() for t in ts[:2]] + [maps[2]]
        disagreement = max(disagreement, worst(ours(*ts), [oracle(*a) for a in zip(*exact)]))
    return disagreement


def kld_oracle(p, g, eps=EPS):
    p, g = density_of(p), density_of(g)
    return np.sum(g * np.log(eps + g / (p + eps)))


def standardised(p, ddof=0):
    return (p - p.mean()) / p.std(ddof=ddof)


def log2_at(p, f, eps):
    return np.log2(density_of(p)[tuple(points(f))] + eps)


ORACLES = {
    'CC, scipy.stats.pearsonr': (lambda p, g, f: M.cc(p, g), lambda p, g, f: stats.pearsonr(p.ravel(), g.ravel())[0]),
    'KLD, formula': (lambda p, g, f: M.kld(p, g), lambda p, g, f: kld_oracle(p, g)),
    'KLD, eps 1e-7': (lambda p, g, f: M.kld(p, g, eps=1e-7), lambda p, g, f: kld_oracle(p, g, 1e-7)),
    'SIM, formula (1 - half the L1 distance)': (
        lambda p, g, f: M.sim(p, g),
        lambda p, g, f: 1 - np.abs(density_of(p) - density_of(g)).sum() / 2,
    ),
    'SIM, MATLAB form': (
        lambda p, g, f: M.sim(p, g, minmax=True),
        lambda p, g, f: 1 - np.abs(density_of(p - p.min()) - density_of(g - g.min())).sum() / 2,
    ),
    'NSS, formula': (lambda p, g, f: M.nss(p, f), lambda p, g, f: standardised(p)[tuple(points(f))].mean()),
    'NSS, MATLAB form': (
        lambda p, g, f: M.nss(p, f, ddof=1, binary=True),
        lambda p, g, f: standardised(p, 1)[f > 0].mean(),
    ),
    'IG, formula': (
        lambda p, g, f: M.info_gain(p, f, g + 0.01),
        lambda p, g, f: (log2_at(p, f, EPS) - log2_at(g + 0.01, f, EPS)).mean(),
    ),
}


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', ORACLES)
def test_formulas(name, dtype):
    report(f'{name}, {dtype}', over_worlds(*ORACLES[name], dtype))


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_bare_kld_is_scipys_relative_entropy(dtype):
    positive = 'smooth', 'noise', 'heavy', 'offset'
    ours = lambda p, g, f: M.kld(p, g, eps=0)
    oracle = lambda p, g, f: rel_entr(density_of(g), density_of(p)).sum()
    report(f'KLD eps=0, scipy rel_entr, {dtype}', over_worlds(ours, oracle, dtype, positive))


def scikit_auc(p, f, unfixated, weighted, negatives=None):
    "roc_auc_score of fixated pixels against the others; a pixel that is both appears twice."
    roc_auc_score = pytest.importorskip('sklearn.metrics').roc_auc_score
    p, f = p.ravel(), f.ravel()
    if negatives is None:
        negatives = (f == 0).astype(int) if unfixated else np.ones_like(f)
    positives = f if weighted else (f > 0).astype(int)
    truth = np.repeat([1, 0], len(p))
    return roc_auc_score(truth, np.tile(p, 2), sample_weight=np.concatenate([positives, negatives.ravel()]))


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('unfixated', (True, False))
@pytest.mark.parametrize('weighted', (True, False))
def test_auc_judd_is_scikit_learns(unfixated, weighted, dtype):
    disagreement = 0
    for seed, kind in WORLDS:
        p, g, f = world(seed, kind=kind)
        (p,) = tensors(dtype, p)
        oracle = [scikit_auc(a.double().numpy(), b, unfixated, weighted) for a, b in zip(p, f)]
        disagreement = max(disagreement, worst(M.auc_judd(p, f, unfixated=unfixated, weighted=weighted), oracle))
    name = f'AUC, scikit-learn, unfixated={unfixated} weighted={weighted}, {dtype}'
    report(name, disagreement, 1e-12 if dtype == torch.float64 else 1e-6)


def test_auc_without_fixated_negatives_is_scikit_learns_plain_call():
    roc_auc_score = pytest.importorskip('sklearn.metrics').roc_auc_score
    disagreement = 0
    for seed, kind in WORLDS:
        p, g, f = world(seed, kind=kind)
        oracle = [roc_auc_score(b.ravel() > 0, a.ravel()) for a, b in zip(p, f)]
        disagreement = max(disagreement, worst(M.auc_judd(p, f, unfixated=True, weighted=False), oracle))
    report('AUC, scikit-learn, no sample weights', disagreement, 1e-12)


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_auc_shuffled_is_scikit_learns(dtype):
    disagreement = 0
    for seed, kind in WORLDS:
        p, g, f = world(seed, kind=kind)
        (p,) = tensors(dtype, p)
        others = M.shuffled_negatives(f)
        oracle = [scikit_auc(a.double().numpy(), b, False, True, c) for a, b, c in zip(p, f, others.numpy())]
        disagreement = max(disagreement, worst(M.auc_shuffled(p, f, others), oracle))
    report(f'sAUC, scikit-learn, {dtype}', disagreement, 1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16, torch.uint8, torch.int32), ids=str)
def test_low_precision_is_float32_of_the_same_values(dtype):
    disagreement = 0
    for seed, kind in WORLDS:
        p, g, f = world(seed, kind=kind)
        low = torch.tensor(100 * (p - p.min()) / np.ptp(p)).to(dtype)
        ours = M.evaluate_maps(low, g, f, M.shuffled_negatives(f), g.mean(0))
        oracle = M.evaluate_maps(low.double(), g, f, M.shuffled_negatives(f), g.mean(0))
        for name in M.METRICS:
            disagreement = max(disagreement, worst(ours[name], oracle[name]))
    report(f'all seven, {dtype} against float64', disagreement, 3e-5)


def test_full_size_in_float32():
    p, g, f = world(0, (480, 640), 100, batch=3)
    ours = M.evaluate_maps(*tensors(torch.float32, p, g, f), M.shuffled_negatives(f), g.mean(0) + g.mean())
    exact = M.evaluate_maps(p, g, f, M.shuffled_negatives(f), g.mean(0) + g.mean())
    for name in M.METRICS:
        report(f'{name}, 480x640, float32 against float64', worst(ours[name], exact[name]))


@pytest.mark.parametrize('chunk', (1, 1 << 10, 1 << 30))
def test_chunks_change_nothing(chunk, monkeypatch):
    p, g, f = world(1, (40, 30), 50, batch=7)
    whole = M.evaluate_maps(p, g, f, M.shuffled_negatives(f), g.mean(0))
    monkeypatch.setattr(M, 'CHUNK', chunk)
    part = M.evaluate_maps(p, g, f, M.shuffled_negatives(f), g.mean(0))
    assert all(np.allclose(whole[k], part[k], rtol=1e-12, atol=1e-13) for k in whole)


@pytest.mark.parametrize('cells', (1, 3, 1 << 8, 1 << 20))
def test_cells_change_nothing(cells, monkeypatch):
    for seed, kind in WORLDS:
        p, g, f = world(seed, kind=kind)
        exact = M.auc_judd(p, f), M.auc_shuffled(p, f, M.shuffled_negatives(f))
        with monkeypatch.context() as patch:
            patch.setattr(M, 'CELLS', cells)
            again = M.auc_judd(p, f), M.auc_shuffled(p, f, M.shuffled_negatives(f))
        assert all(torch.equal(a, b) for a, b in zip(exact, again)), kind


@pytest.mark.parametrize('scale', (1e-40, 1e-30, 1e-20, 1e20, 1e38))
def test_any_scale_in_float32(scale):
    p, g, f = world(4, (50, 60), 80)
    p, g = (torch.tensor(m / m.max((1, 2), keepdims=True)).float() for m in (p, g))
    tolerance = 1e-2 if scale < 1e-38 else 1e-5  # of subnormal numbers three digits are left
    plain = M.evaluate_maps(p, g, f, M.shuffled_negatives(f), g.mean(0))
    for name, score in M.evaluate_maps(p * scale, g, f, M.shuffled_negatives(f), g.mean(0)).items():
        assert worst(score, plain[name]) < tolerance, name


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_adjacent_floats_are_told_apart(dtype):
    one = torch.ones((), dtype=dtype)
    steps = [one]
    for _ in range(63):
        steps.append(torch.nextafter(steps[-1], one * 2))
    p = torch.stack(steps).view(1, 8, 8)
    f = torch.zeros(1, 64).index_fill(1, torch.tensor([40]), 1).view(1, 8, 8)
    assert M.auc_judd(p, f).item() == pytest.approx(40.5 / 64, abs=1e-6)
    tiny = torch.zeros(1, 64, dtype=dtype)  # subnormal against zero
    tiny[0, 40:] = torch.finfo(dtype).tiny / 4
    assert M.auc_judd(tiny.view(1, 8, 8), f).item() == pytest.approx((40 + 12) / 64, abs=1e-6)


def test_worst_images_never_touch_their_neighbours():
    p, g, f = world(2, (30, 40), 60)
    spoiled = [m.astype(float) for m in (p, g, f)]
    spoiled[0][1, 2, 3], spoiled[1][2, 0, 0], spoiled[2][4] = np.nan, np.inf, 0
    clean = M.evaluate_maps(p, g, f, f.sum(0), g.mean(0))
    dirty = M.evaluate_maps(*spoiled, f.sum(0), g.mean(0))
    by_density, by_place = ('CC', 'KLD', 'SIM'), ('NSS', 'AUC', 'sAUC', 'IG')
    for name, bad in (dict.fromkeys(by_density, [1, 2]) | dict.fromkeys(by_place, [1, 4])).items():
        good = [i for i in range(6) if i not in bad]
        assert np.isnan(dirty[name][bad]).all() and np.allclose(dirty[name][good], clean[name][good], rtol=1e-12), name


# pysaliency itself, where it is installed


@pytest.fixture(scope='module')
def pysaliency():
    """pysaliency, or a skip.

    Some versions import pkg_resources, which newer setuptools no longer have, only to find MATLAB scripts: a stub will
    do."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec('pkg_resources') is None:
            stub = types.SimpleNamespace(resource_string=None, resource_listdir=None)
            patch.setitem(sys.modules, 'pkg_resources', stub)
        if not hasattr(np, 'trapz'):
            patch.setattr(np, 'trapz', np.trapezoid, raising=False)  # renamed in numpy 2
        yield pytest.importorskip('pysaliency', exc_type=ImportError)


PYSALIENCY = {
    'CC': (lambda p, g, f: M.cc(p, g), lambda m, p, g, f: m.CC(p, g)),
    'KLD, benchmark': (lambda p, g, f: M.kld(p, g), lambda m, p, g, f: m.MIT_KLDiv(p, g)),
    'SIM': (lambda p, g, f: M.sim(p, g), lambda m, p, g, f: m.SIM(p, g)),
    'NSS': (lambda p, g, f: M.nss(p, f), lambda m, p, g, f: m.NSS(p, *points(f)[::-1]).mean()),
}


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('name', PYSALIENCY)
def test_pysaliency_metrics(name, dtype, pysaliency):
    from pysaliency import metrics as theirs

    ours, oracle = PYSALIENCY[name]
    with np.errstate(divide='ignore'):  # it takes the logarithm of zeros
        report(f'{name}, pysaliency, {dtype}', over_worlds(ours, lambda *a: oracle(theirs, *a), dtype))


def test_pysaliency_library_default_kld(pysaliency):
    from pysaliency.metrics import image_based_kl_divergence

    ours = lambda p, g, f: M.kld(p, g, eps=0, floor=1e-20)
    oracle = lambda p, g, f: image_based_kl_divergence(p, g)
    report('KLD, pysaliency library default', over_worlds(ours, oracle, torch.float64))


def test_pysaliency_all_constant_cases(pysaliency):
    from pysaliency import metrics as theirs

    flat, bump = np.ones((8, 8)), np.eye(8)
    for p, g in ((flat, bump), (0 * flat, bump), (bump, flat)):
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            pairs = (M.cc, theirs.CC), (M.kld, theirs.MIT_KLDiv), (M.sim, theirs.SIM)
            for ours, oracle in pairs:
                assert worst(ours(p[None], g[None]), [oracle(p.copy(), g.copy())]) < TOLERANCE
    assert M.nss(flat[None], bump[None]).item() == theirs.NSS(flat, [1], [1]).mean() == 0


def by_first_pixel(pysaliency, maps):
    "A pysaliency model that knows an image by the value of its first pixel."

    class Model(pysaliency.SaliencyMapModel):
        def _saliency_map(self, stimulus):
            return maps[stimulus[0, 0, 0]]

    return Model(caching=False)


@pytest.mark.parametrize('kind', ('uniform', 'unfixated', 'shuffled'))
def test_pysaliency_auc_per_image(kind, pysaliency):
    disagreement = 0
    for seed, world_kind in WORLDS[:7]:
        p, g, f = world(seed, (24, 30), 40, world_kind)
        looks = [(*points(m), np.full(m.sum(), i)) for i, m in enumerate(f)]
        rows, columns, images = map(np.concatenate, zip(*looks))
        stimuli = pysaliency.Stimuli([np.full((24, 30, 3), i, np.uint8) for i in range(len(p))])
        fixations = pysaliency.Fixations.create_without_history(columns, rows, images)
        oracle = by_first_pixel(pysaliency, p).AUC_per_image(stimuli, fixations, nonfixations=kind)
        if kind == 'shuffled':
            ours = M.auc_shuffled(p, f, M.shuffled_negatives(f))
        else:
            ours = M.auc_judd(p, f, unfixated=kind == 'unfixated')
        disagreement = max(disagreement, worst(ours, oracle))
    report(f'AUC_per_image {kind}, pysaliency', disagreement)
