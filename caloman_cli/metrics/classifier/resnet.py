"""The 3-D residual network that classifies showers as images of (layers, alpha, r).

References:
    He et al. (2015), Deep Residual Learning for Image Recognition, arXiv:1512.03385. Hara,
    Kataoka, Satoh (2017), Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?,
    arXiv:1711.09577. Krause et al. (2024), CaloChallenge 2022, arXiv:2410.21611 (its widths).
"""

import torch
from torch import Tensor, nn

from caloman_cli.data.geometry import Geometry
from caloman_cli.errors import UserError

WIDTHS = (32, 64, 64, 128)
BLOCKS = 2  # in each of the four stages: with the first convolution and the last layer, 18 layers


class ResidualBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions around which the input passes.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the first convolution, in all three directions.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm3d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)
            )

    def forward(self, image: Tensor) -> Tensor:
        """(B, inputs, layers, alpha, r) -> (B, outputs, ...) smaller by the stride."""
        return torch.relu(self.inner(image) + self.shortcut(image))


class ResNet18(nn.Module):
    """The challenge's ResNet: 2,516,644 parameters for one output, on images of any size.

    Images are padded with zeros in alpha as well, as the official network does, although alpha is
    periodic. The incident energy joins the pooled channels before the last layer.

    Args:
        image_shape: (layers, alpha, r) of the voxels, r fastest in the flat order.
        n_outputs: Logits: one for two classes, else one for each class.
    """

    def __init__(self, image_shape: tuple[int, int, int], n_outputs: int = 1) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.stem = nn.Sequential(
            # Padded beforehand: with padding=3 the gradient on a CPU (oneDNN in torch 2.13) writes
            # outside its memory for images of five layers.
            nn.ConstantPad3d(3, 0.0),
            nn.Conv3d(1, WIDTHS[0], 7, stride=2, bias=False),
            nn.BatchNorm3d(WIDTHS[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(3, stride=2, padding=1),
        )
        blocks: list[nn.Module] = []
        inputs = WIDTHS[0]
        for stage, outputs in enumerate(WIDTHS):
            for number in range(BLOCKS):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(ResidualBlock(inputs, outputs, stride))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.energy_norm = nn.BatchNorm1d(1)
        self.output = nn.Linear(inputs + 1, n_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """log10 E_inc [MeV] and voxels over E_inc, (B, 1 + V) -> logits (B, n_outputs)."""
        image = inputs[:, 1:].reshape(-1, 1, *self.image_shape)
        pooled = self.blocks(self.stem(image)).mean((2, 3, 4))
        return self.output(torch.cat([pooled, self.energy_norm(inputs[:, :1])], 1))


def image_shape(geometry: Geometry) -> tuple[int, int, int]:
    """(layers, alpha, r) of a geometry that has one.

    Raises:
        UserError: The layers differ in shape.
    """
    if geometry.image_shape is None:
        shapes = ", ".join(f"{layer.n_alpha} x {layer.n_r}" for layer in geometry.layers)
        raise UserError(
            f"the classifier mode 'resnet' needs layers of one shape, as in ds2 and ds3; those of "
            f"{geometry.name} have {shapes} (alpha x r) voxels: use modes low, low_normed or high"
        )
    return geometry.image_shape
