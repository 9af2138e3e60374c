"Training as a user starts it: several processes, the command line, the published recipe."

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from salnas.data import SaliencyDataset, popout
from salnas.selfkd import SelfKD, named_kd
from salnas.space import alphanet_space, tiny_space
from salnas.pretrained import authors_names
from salnas.supernet import Supernet
from salnas.train import train_command
from salnas.training import fit, load_checkpoint, named_profile, read_state

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent


def run(*command, **env):
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {'OMP_NUM_THREADS': '1'} | env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_two_processes_compute_the_gradients_of_one(tmp_path):
    """One process accumulates the batches per step that two processes share, one or two of them each.

    So it is also with a batch that is not finite. All cases share a start: importing torch takes longer than they."""
    cases = [('self-kd', 1), ('none', 2), ('poisoned', 1)]
    program, two = HERE / 'two_processes.py', [f'{kd}:{each}' for kd, each in cases]
    run(sys.executable, program, tmp_path / 'one', *(f'{kd}:{2 * each}' for kd, each in cases))
    run(BIN / 'torchrun', '--nproc-per-node', 2, program, tmp_path / 'two', *two)
    for kd, each in cases:
        files = f'one.{kd}.{2 * each}.0.pt', f'two.{kd}.{each}.0.pt', f'two.{kd}.{each}.1.pt'
        one, *two = (torch.load(tmp_path / f, weights_only=True) for f in files)
        skipped, steps = [1, 0] if kd == 'poisoned' else [0, 0], 2 * (3 // each)
        for t in (one, *two):
            assert len(t['gradients']) == steps - sum(skipped) and t['skipped'] == skipped, (kd, each)
        pairs = [(a, b) for t in two for a, b in zip(one['gradients'], t['gradients'])]
        worst = max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)
        print(f'{kd}, {each} each: gradients differ by {worst:.1e} of the largest, over {len(pairs) // 2} steps')
        assert worst < 1e-5, (kd, each)
        first, second = (t['weights'] for t in two)
        # the processes agree to the last bit
        assert all(torch.equal(first[k], second[k]) for k in one['weights']), (kd, each)


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    'kd, options, changes',
    [
        ('ps-kd', {}, {}),
        ('pkd', {}, dict(optimizer='sgd', lr_encoder=0.01, lr_decoder=0.01)),
        ('multi-step', {}, {}),
        ('self-kd', {'teacher': 'ema', 'protocol': 'authors'}, {}),
    ],
    ids=str,
)
def test_resume_is_exact(tmp_path, kd, options, changes):
    "Three epochs at once, and three that are stopped in the middle of the second."
    part = SaliencyDataset(popout(n=16), 'train', (48, 64), options.get('protocol', 'native'))
    settings = named_profile('smoke', epochs=3, batch_size=4, n_random=0, calibration=8, **changes)
    space = tiny_space((64,))
    if kd == 'multi-step':
        fit(
            Supernet(space, seed=9),
            part,
            part,
            settings=settings,
            output_dir=tmp_path / 'teacher',
            progress=False,
            every_epoch=True,
        )
        options = {'folder': tmp_path / 'teacher'}

    def train(out, stop=0, resume=False):
        net, teacher, steps = Supernet(space, seed=0), named_kd(kd, **options), []
        listen = teacher.step_end

        def step_end(student):
            listen(student)
            steps.append(1)
            if len(steps) == stop:
                raise Stop

        teacher.step_end = step_end
        history = fit(net, part, part, teacher, settings, 0, out, progress=False, resume=resume, save_every=1)
        return history.drop(columns='seconds'), net.state_dict(), len(steps)

    history, weights, steps = train(tmp_path / 'whole')
    with pytest.raises(Stop):
        train(tmp_path / 'broken', stop=steps // 2 + 1)
    again, resumed, left = train(tmp_path / 'broken', resume=True)
    assert left == steps - steps // 2  # the step that was broken off is made again, those before are not
    pd.testing.assert_frame_equal(history, again, check_exact=True)
    assert all(torch.equal(weights[k], resumed[k]) for k in weights)


def test_resume_refuses_another_start(tmp_path):
    "Other weights at the start are another run, also when all settings are the same."
    part = SaliencyDataset(popout(n=16), 'train', (48, 64))
    settings = named_profile('smoke', epochs=1, n_random=0, batch_size=8)

    def start(seed, resume):
        files = dict(output_dir=tmp_path, resume=resume)
        return fit(Supernet(tiny_space(), seed=seed), part, part, settings=settings, progress=False, **files)

    start(0, False)
    with pytest.raises(ValueError, match='initial weights'):
        start(1, True)
    with pytest.raises(ValueError, match='need an output_dir'):
        fit(Supernet(tiny_space()), part, part, resume=True)


def test_auto_is_a_precision_by_name_before_anything_is_written(tmp_path, monkeypatch, capsys):
    "Identity, log and checkpoint name it; a resumed run keeps it, whatever the machine says by then."
    part = SaliencyDataset(popout(n=16), 'train', (48, 64))
    smoke = named_profile('smoke', epochs=1, n_random=0, batch_size=8, calibration=8)
    measured = tmp_path / 'precision.json'
    monkeypatch.setenv('SALNAS_DATA', str(tmp_path))

    def start(precision, seconds, **options):
        measured.unlink(missing_ok=True)
        monkeypatch.setattr('salnas.precision.timed', lambda device: (seconds, {'fp16': 'RuntimeError: no'}))
        net, files = Supernet(tiny_space((64,)), seed=0), dict(output_dir=tmp_path / 'run') | options
        history = fit(net, part, part, None, replace(smoke, precision=precision), **files)
        return history.attrs['settings']['precision']

    quick = {'fp32': 2e-3, 'bf16': 1e-3}
    assert start('auto', quick) == 'bf16' and json.loads(measured.read_text())
    said = capsys.readouterr().out
    assert 'takes bf16' in said and 'fp32 2 ms, bf16 1 ms, fp16 fails (RuntimeError: no)' in said
    assert read_state(tmp_path / 'run')['identity']['precision'] == 'bf16'
    assert start('auto', {'fp32': 1e-3, 'bf16': 1.0}, resume=True, progress=False) == 'bf16'
    assert start('bf16', {}, resume=True) == 'bf16' and not capsys.readouterr().out
    with pytest.raises(ValueError, match='precision .there bf16, now fp32'):
        start('fp32', {}, resume=True)
    with pytest.raises(RuntimeError, match='no training step.*fp16: RuntimeError: no'):
        start('auto', {})


def test_the_command_trains_and_resumes(tmp_path, capsys):
    common = '--profile smoke --kd self-kd --kd-set teacher=ema --resume --set epochs=2 batch_size=8 calibration=16'
    arguments = [*common.split(), '--output-dir', str(tmp_path)]
    train_command(arguments)
    first, log = capsys.readouterr().out, (tmp_path / 'log.jsonl').read_bytes()
    assert first.count('CC') == 2 and [json.loads(line)['epoch'] for line in log.splitlines()] == [0, 1]
    train_command(arguments)
    assert capsys.readouterr().out == first
    assert (tmp_path / 'log.jsonl').read_bytes() == log  # nothing was trained again, or the seconds would differ
    assert load_checkpoint(tmp_path / 'largest/net.safetensors').arch


@pytest.mark.parametrize(
    'arguments, word',
    [
        (['--set', 'epoch=3'], 'epoch'),
        (['--set', 'epochs'], 'NAME=VALUE'),
        (['--kd-set', 'alpha=.5'], 'none has no option alpha'),
        (['--kd', 'multi-step'], 'folder='),
        (['--set', 'epochs=abc'], 'of type int'),
        (['--kd', 'multi-step', '--protocol', 'authors'], 'native'),
    ],
)
def test_the_command_refuses_what_it_does_not_know(tmp_path, arguments, word):
    with pytest.raises((SystemExit, ValueError), match=re.escape(word)):
        train_command(['--output-dir', str(tmp_path), *arguments])


def test_the_published_recipe_runs(tmp_path):
    """Two steps of the `paper` profile on the paper's networks, with small pictures, batches of 2 and bfloat16.

    They start from a file with the names and shapes of AlphaNet's checkpoint."""
    space = alphanet_space((64,))  # its pictures, not its layers
    reference = Supernet(space, seed=3)
    own, generator = reference.state_dict(), torch.Generator().manual_seed(0)
    state = {
        f'module.{theirs}': own[ours] * (1 + 0.1 * torch.rand(own[ours].shape, generator=generator))
        for ours, theirs in authors_names(reference.plan, decoder=False).items()
    }
    torch.save({'state_dict': state}, tmp_path / 'alphanet_pretrained.pth.tar')
    net = Supernet(space, seed=0).load_encoder(tmp_path / 'alphanet_pretrained.pth.tar')
    assert torch.equal(net.first.conv.weight, state['module.first_conv.conv.conv.weight']) and not torch.equal(
        net.decoder[0].conv.weight, reference.decoder[0].conv.weight
    )
    settings = replace(named_profile('paper', 'alphanet'), epochs=2, batch_size=2, calibration=2)
    assert (
        settings.optimizer,
        settings.lr_encoder,
        settings.lr_decoder,
        settings.weight_decay,
        settings.clip,
        settings.precision,
    ) == ('sgd', 0.1, 0.1, 1e-5, 1.0, 'fp16')
    assert (settings.size, settings.n_random, settings.jitter, settings.dropout, settings.drop_connect) == (
        (288, 384),
        2,
        True,
        0.2,
        0.2,
    )
    train, val = (SaliencyDataset(popout(n=4, seed=1), split, (48, 64)) for split in ('train', 'val'))
    before = net.first.conv.weight.clone()
    history = fit(
        net, train, val, SelfKD(), replace(settings, precision='bf16'), progress=False
    )  # float16 is slow on a CPU; its scaler is tested in the notebook
    assert torch.isfinite(torch.tensor(history[['loss_max', 'loss_random', 'loss_min', 'score']].to_numpy())).all()
    assert not torch.equal(before, net.first.conv.weight) and history.lr.iloc[0] == 0.1
