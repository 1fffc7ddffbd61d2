"""Groups of points that lie together, and the choice of one of several."""

import torch
from torch import Tensor


def k_means(points: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Centres that points are near to.

    Where to begin is drawn by torch's generator, ten times, and the best end is kept.

    Args:
        points: Shape (N, A), finite.
        clusters: K, at most: of fewer different points there are fewer.

    Returns:
        Centres (K, A), of the points' type, and the number of each point's centre, (N,).

    References:
        Arthur, Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA 1027.
    """
    # Only here: a model that is loaded has its centres.
    from sklearn.cluster import KMeans

    values = points.detach().cpu().double().numpy()
    several = min(clusters, len(torch.unique(points.detach(), dim=0)))
    seed = int(torch.randint(2**31 - 1, ()))
    found = KMeans(several, n_init=10, random_state=seed).fit(values)
    centres = torch.from_numpy(found.cluster_centers_).to(points)
    return centres, torch.from_numpy(found.labels_).long().to(points.device)


def chosen(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """One of K for each row, drawn by inversion.

    Args:
        log_weights: Normalised, shape (B, K).
        uniform: Numbers in (0, 1), shape (B, 1).

    Returns:
        Numbers 0 ... K - 1, int64, shape (B,).
    """
    below = log_weights.exp().cumsum(1) < uniform.to(log_weights)
    return below.sum(1).clamp(max=log_weights.shape[1] - 1)
