"""Pictures under affine maps, on torch."""

import torch
import torch.nn.functional as F


def sample_affine(images, matrix, mode, value):
    """images: (B, H, W, C); matrix: six (B,), see `kstyle.training.augment.geometry`."""
    a, b, c, d, e, f = matrix
    height, width = images.shape[1:3]
    # The grid's places run from -1 to 1 over the picture, edge to edge.
    across = torch.stack([a, b * (height / width), c * (2 / width)], -1)
    down = torch.stack([d * (width / height), e, f * (2 / height)], -1)
    x = images.permute(0, 3, 1, 2)
    grid = F.affine_grid(torch.stack([across, down], 1), x.shape, align_corners=False)
    padding = {"constant": "zeros", "nearest": "border", "reflect": "reflection"}[mode]
    y = F.grid_sample(x - value if value else x, grid, "bilinear", padding, align_corners=False)
    if value:
        y = y + value
    # Rounding of the places would blur by a millionth what is not to be moved at all.
    unmoved = (a == 1) & (e == 1) & (b == 0) & (c == 0) & (d == 0) & (f == 0)
    return torch.where(unmoved[:, None, None, None], images, y.permute(0, 2, 3, 1))
