"""Trains for two epochs and saves the gradients of every step and the last weights: alone, or started by torchrun.

    python tests/two_processes.py OUT KD:BATCHES_PER_PROCESS ...

Each case is a training, one after the other. KD `poisoned`: the target of the second step's second batch is not a
number."""

import sys

import torch
from salnas.data import load_dataset
from salnas.selfkd import named_kd
from salnas.space import tiny_space
from salnas.supernet import Supernet
from salnas.training import Settings, distributed, fit


def train(name, accumulate, rank, world):
    "Gradients of all steps, the weights at the end, and how many steps each epoch skipped."
    kd, gradients, calls = named_kd('none' if name == 'poisoned' else name), [], []
    listen, clean = kd.step_end, kd.targets

    def step_end(student):
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
        listen(student)

    def targets(images, density, fixations, epoch):
        calls.append(1)
        if len(calls) == 2 and accumulate == 1 and rank == 1 or len(calls) == 4 and world == 1:
            density = density * float('nan')
        return clean(images, density, fixations, epoch)

    kd.step_end = step_end
    if name == 'poisoned':
        kd.targets = targets
    settings = Settings(
        epochs=2,
        batch_size=4,
        accumulate=accumulate,
        n_random=1,
        calibration=16,
        lr_encoder=1e-4,
        lr_decoder=1e-4,
        nonfinite='skip' if name == 'poisoned' else 'stop',
    )
    net = Supernet(tiny_space(), seed=rank)  # the first process's weights count
    part = load_dataset('popout', 'val', size=(48, 64))
    history = fit(net, part, part, kd, settings, seed=5, progress=False)
    return {'gradients': gradients, 'weights': net.state_dict(), 'skipped': history.skipped.tolist()}


out, *cases = sys.argv[1:]
torch.set_num_threads(1)
with distributed():
    shared = torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)
    for case in cases:
        name, accumulate = case.split(':')
        torch.save(train(name, int(accumulate), rank, world), f'{out}.{name}.{accumulate}.{rank}.pt')
