"""The optimisers of a training and of fitted heads."""

import subprocess
import sys

import torch

from segapp.home import PROJECT
from segapp.pipeline.training.optim import adamw, optimizer_step, update_ema

STEPS = """
import sys
import torch
from registry import vision_shim
from segapp.pipeline.inference.logistic import fit_logistic
from segapp.pipeline.training.optim import adamw, optimizer_step, update_ema

network = torch.nn.Linear(2, 1)
optimizer_step(adamw([(network, 0.1)]), network(torch.ones(1, 2)).sum(), 1.0)
fit_logistic(torch.eye(2), torch.tensor([0, 1]), torch.ones(2))
print("torch._dynamo" in sys.modules)
"""


def test_no_step_imports_the_compiler():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == "False"


def test_a_step_is_the_one_that_torch_takes():
    own, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(own.state_dict())
    groups = [
        {"params": [theirs.weight], "weight_decay": 1e-2},
        {"params": [theirs.bias], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.1)
    optimizer = adamw([(own, 0.1)])
    for value in (1.0, -2.0):
        optimizer_step(optimizer, own(torch.full((1, 3), value)).square().sum(), 0.5)
        reference.zero_grad()
        theirs(torch.full((1, 3), value)).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 5.0)
        for group in reference.param_groups:
            group["lr"] = 0.05
        reference.step()
    assert torch.allclose(own.weight, theirs.weight, atol=1e-6) and torch.allclose(own.bias, theirs.bias, atol=1e-6)


def test_the_average_moves_towards_the_weights_and_faster_in_the_beginning():
    average, weights = [torch.zeros(3), torch.ones(2, 2)], [torch.ones(3), torch.full((2, 2), 3.0)]
    update_ema(average, weights, step=1, max_decay=0.98)  # decays by 2 / 11
    assert torch.allclose(average[0], torch.full((3,), 9 / 11)) and torch.allclose(
        average[1], torch.full((2, 2), 29 / 11)
    )
    update_ema(average, weights, step=10_000, max_decay=0.5)
    assert torch.allclose(average[0], torch.full((3,), 10 / 11))
    assert torch.equal(weights[0], torch.ones(3))
