"""A classifier as the original VirNucPro saves it: a pickle of the whole torch module, __main__.MLPClassifier."""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn


class MLPClassifier(nn.Module):
    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(inputs, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.output_layer = nn.Linear(hidden, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.output_layer(self.dropout(torch.relu(self.bn1(self.hidden_layer(x)))))
        return output


MLPClassifier.__module__ = "__main__"
MLPClassifier.__qualname__ = "MLPClassifier"


def random_classifier(inputs: int, hidden: int = 16, seed: int = 0) -> MLPClassifier:
    torch.manual_seed(seed)
    model = MLPClassifier(inputs, hidden)
    for _ in range(20):  # gives the normalization real means and variances
        model(3 * torch.randn(32, inputs) + 1)
    with torch.no_grad():
        model.bn1.weight.uniform_(0.5, 2)
        model.bn1.bias.uniform_(-1, 1)
    return model.eval()


def save_as_original(model: MLPClassifier, path: Path) -> Path:
    main = sys.modules["__main__"]
    main.MLPClassifier = MLPClassifier  # type: ignore[attr-defined]
    try:
        torch.save(model, path)
    finally:
        del main.MLPClassifier  # type: ignore[attr-defined]
    return path
