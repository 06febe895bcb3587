"""In PyTorch: autocast, channels_last, eager."""

from __future__ import annotations

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from plain import CLASSES, DECAY, EPSILON, MOMENTUM, PENALTY, RATE, SMOOTHING

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int, gate_bias: float):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs, eps=EPSILON)
        self.transform = nn.Conv2d(inputs, channels, 3, stride, 1)
        self.gate = nn.Conv2d(channels, channels, 3, 1, 1)
        nn.init.constant_(self.gate.bias, gate_bias)
        same = inputs == channels and stride == 1
        self.projection = (
            nn.Identity() if same else nn.Conv2d(inputs, channels, 1, stride, bias=False)
        )

    def forward(self, x):
        carry = self.projection(x)
        h = self.transform(functional.relu(self.norm(x)))
        t = torch.sigmoid(self.gate(h))
        return carry + t * (h - carry), t.float().mean()


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.stem = nn.Conv2d(3, config.stem, 3, 1, 1)
        blocks, channels = [], config.stem
        for width, stride in zip(config.stages, config.strides, strict=True):
            for i in range(config.blocks):
                blocks.append(Block(channels, width, stride if i == 0 else 1, config.gate_bias))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(channels, eps=EPSILON)
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x):
        x, gates = self.stem(x), torch.zeros((), device=x.device)
        for block in self.blocks:
            x, gate = block(x)
            gates = gates + gate
        return self.head(functional.relu(self.norm(x)).mean((2, 3))), gates


def stepper(config, dtype):
    torch.manual_seed(0)
    net = Net(config).to(DEVICE, memory_format=torch.channels_last)
    kernels = [p for p in net.parameters() if p.ndim == 4]
    others = [p for p in net.parameters() if p.ndim != 4]
    groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others}]
    optimizer = torch.optim.SGD(groups, RATE, momentum=MOMENTUM, nesterov=True)

    def step(images, labels):
        # The last axis first is a view: the bytes lie as channels_last wants them.
        x = torch.from_numpy(images).to(DEVICE).permute(0, 3, 1, 2).float() / 255
        y = torch.from_numpy(labels).to(DEVICE).long()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16"):
            logits, gates = net(x)
        loss = functional.cross_entropy(logits.float(), y, label_smoothing=SMOOTHING)
        (loss + PENALTY * gates).backward()
        optimizer.step()
        return loss.item()

    return step


def matmul(side: int, dtype):
    kind = getattr(torch, dtype)
    a, b = (torch.randn(side, side, device=DEVICE).to(kind) for _ in range(2))
    return lambda: float((a @ b)[0, 0])
