"The supernet against outside oracles: the authors' maps, torchvision's features, and its own extracted networks."

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from oracles.golden import image, weight
from salnas.space import SPACES, Arch, alphanet_space
from salnas.supernet import Supernet

ORACLES = Path(__file__).parent / 'oracles'
GOLDEN = np.load(ORACLES / 'golden_supernet.npz')
SMALL = {
    'alphanet': (96, 128),
    'mobilenetv2': (96, 128),
    'lite': (96, 128),
    'tiny': (64, 96),
}  # resolutions that keep 50 networks per space quick


@pytest.fixture(scope='module')
def authors_supernet(tmp_path_factory):
    "Our supernet, loaded from a checkpoint with the authors' names and shapes."
    rows = [line.split('\t') for line in (ORACLES / 'authors_checkpoint_keys.tsv').read_text().splitlines()[1:]]
    shape = lambda s: () if s == 'scalar' else tuple(map(int, s.split('x')))
    state = {key: torch.as_tensor(weight(key, shape(s), dtype)) for key, s, dtype in rows}
    path = tmp_path_factory.mktemp('authors') / 'student.pth.tar'
    torch.save({'student': state}, path)
    return Supernet(alphanet_space()).load_authors(path).eval()


@pytest.mark.parametrize('i', range(sum(k.startswith('arch_') for k in GOLDEN.files)))
def test_maps_are_the_authors(authors_supernet, i):
    arch = Arch.from_authors(json.loads(str(GOLDEN[f'arch_{i}'])))
    net = authors_supernet.extract(arch).double()
    x = torch.as_tensor(image({256: (192, 256), 384: (288, 384)}[arch.resolution])).double()
    with torch.no_grad():
        logits = net(x, logits=True)
    ours = nn.functional.interpolate(logits[None], (96, 128), mode='bilinear', align_corners=False).squeeze().numpy()
    theirs = GOLDEN[f'out_{i}'].squeeze()
    difference = np.abs(ours - theirs).max() / theirs.std()
    print(f'arch {i}: largest difference {difference:.2e} of the standard deviation')
    assert difference < 1e-6


@pytest.mark.parametrize('space', SPACES)
def test_extract_computes_what_the_supernet_computes(space):
    net, rng = Supernet(SPACES[space](SMALL[space], strides=(1, 2, 4))), np.random.default_rng(0)
    g = torch.Generator().manual_seed(0)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            for t, low, high in (
                (m.weight, 0.5, 1.5),
                (m.bias, -0.5, 0.5),
                (m.running_mean, -0.2, 0.2),
                (m.running_var, 0.5, 1.5),
            ):
                t.data.uniform_(low, high, generator=g)
    x, worst, maps = torch.randn(2, 3, 72, 96, generator=g), 0.0, {}
    total = sum(p.numel() for p in net.parameters())
    with torch.no_grad():
        for _ in range(50):
            arch = net.space.sample(rng)
            for mode in (True, False):
                sub = net.train(mode).extract(arch)
                out = sub(x, logits=True)
                worst = max(worst, (net(x, arch, logits=True) - out).abs().max().item())
            assert sum(p.numel() for p in sub.parameters()) < total
            assert not any(torch.equal(out, m) for a, m in maps.items() if a != arch)
            maps[arch] = out
    print(f'{space}: largest difference over 50 architectures, train and eval: {worst:.1e}')
    assert worst < 1e-5


@pytest.mark.parametrize('space', SPACES)
def test_a_gene_for_the_stride_leaves_all_else_as_it_is(space):
    plain, strided = Supernet(SPACES[space]()), Supernet(SPACES[space](strides=(1, 2, 4)))
    a, b = plain.state_dict(), strided.state_dict()
    assert list(a) == [k for k in b if not k.startswith('ends.')] and all(torch.equal(a[k], b[k]) for k in a)
    assert set(plain.space.to_dict()) | {'strides'} == set(strided.space.to_dict())
    x = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    archs = [replace(plain.space.min(), stride=s) for s in (1, 2, 4)]
    with torch.no_grad():
        maps = [strided.eval()(x, arch, logits=True) for arch in archs]
        assert torch.equal(plain.eval()(x, archs[0], logits=True), maps[0])
    assert not torch.equal(maps[0], maps[1]) and not torch.equal(maps[1], maps[2])


def test_gradients_reach_the_shared_weights_alike():
    net = Supernet(SPACES['tiny']())
    arch = net.space.sample(np.random.default_rng(1))
    x = torch.randn(2, 3, 96, 128)
    sub = net.extract(arch)
    sub(x).square().sum().backward(), net(x, arch).square().sum().backward()
    ours, theirs = net.decoder[3].conv.weight.grad, sub.decoder[3].conv.weight.grad
    assert torch.allclose(ours[: theirs.shape[0], : theirs.shape[1]], theirs, rtol=1e-3, atol=1e-5 * theirs.abs().max())


def test_a_file_with_more_than_tensors_is_not_executed(tmp_path):
    import pickle

    marker = tmp_path / 'executed'

    class Evil:
        def __reduce__(self):
            return (Path.touch, (marker,))

    (tmp_path / 'evil.pth').write_bytes(pickle.dumps(Evil()))
    torch.save({'student': Evil()}, tmp_path / 'evil2.pth')
    for name in ('evil.pth', 'evil2.pth'):
        with pytest.raises(ValueError, match='was not read'):
            Supernet(SPACES['tiny']()).load_encoder(tmp_path / name)
    assert not marker.exists()
