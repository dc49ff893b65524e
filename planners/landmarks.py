"""A graph of landmarks in the states of recorded episodes, joined where the episodes moved.

Works on sequences of states; knows nothing of models or images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError

# Below this, a direction changes as much in one step as over all the data: it tells no position.
MIN_SLOWNESS = 1.0
# An unreachable landmark is this many times as far as the farthest reachable one.
UNREACHABLE = 2.0


@dataclass(frozen=True)
class Paths:
    """The shortest paths along a graph of `n` landmarks that lead to one state."""

    lengths: Tensor  # n: in steps; infinite where no path leads there
    following: Tensor  # n, int64: the next landmark; -1 where none is left, or no path leads there

    def after(self, landmark: int) -> list[int]:
        """The landmarks that a path passes after this one, in order."""
        passed, following = [], self.following.tolist()
        while (landmark := following[landmark]) >= 0:
            passed.append(landmark)
        return passed


@dataclass(frozen=True)
class Landmarks:
    """A graph over `n` landmarks in a space where distances count typical steps."""

    metric: Tensor  # d m: states times this are points, in which one step is about 1 long
    points: Tensor  # n m: the landmarks
    edges: Tensor  # 2 e, int64: pairs of landmarks between which the data moved
    lengths: Tensor  # e, > 0: in steps
    states: Tensor  # n d: of each landmark, the recorded state that lies nearest

    @staticmethod
    def from_states(
        sequences: Sequence[Tensor],
        *,
        num_landmarks: int = 400,
        min_transitions: int = 2,
        seed: int = 0,
    ) -> "Landmarks":
        """Find the landmarks and join them.

        Args:
            sequences: States (t d) of episodes, one action block apart.
            num_landmarks: Centres of k-means; fewer if there are fewer states.
            min_transitions: How many moves between two landmarks, in either direction, make an
                edge. A single one may be a state that was encoded badly, and one false edge
                through a wall spoils every path.
            seed: Of k-means.

        Raises:
            ConfigError: nothing moves, or no edge was seen often enough.
        """
        episodes = [s.detach().cpu().double().numpy() for s in sequences]
        states = np.concatenate(episodes)
        metric = _slow_directions(states, np.concatenate([np.diff(e, axis=0) for e in episodes]))
        points = states @ metric
        kmeans = MiniBatchKMeans(
            min(num_landmarks, len(points)), batch_size=2048, n_init=3, random_state=seed
        ).fit(points)
        ends = np.cumsum([len(e) for e in episodes])[:-1]
        centres = kmeans.cluster_centers_
        edges = _edges(np.split(kmeans.labels_, ends), len(centres), min_transitions)
        lengths = np.linalg.norm(centres[edges[0]] - centres[edges[1]], axis=1)
        recorded = states[pairwise_distances_argmin(centres, points)]
        return Landmarks(
            torch.from_numpy(metric).float(),
            torch.from_numpy(centres).float(),
            torch.from_numpy(edges),
            torch.from_numpy(lengths).float().clamp_min(1e-3),
            torch.from_numpy(recorded).float(),
        )

    def __len__(self) -> int:
        return len(self.points)

    def embed(self, states: Tensor) -> Tensor:
        """Points (... m) for `states` (... d); the distance of two points counts steps."""
        return states[..., : len(self.metric)] @ self.metric.to(states)

    def path_lengths(self, state: Tensor, *, nearest: int = 3) -> Tensor:
        """Steps (n) along the graph from each landmark to `state` (d).

        A landmark without a path to it counts as twice as far as the farthest one that has a path;
        for the rest see `paths_to`.
        """
        lengths = self.paths_to(state, nearest=nearest).lengths
        reachable = lengths.isfinite()
        return torch.where(reachable, lengths, UNREACHABLE * lengths[reachable].max())

    def paths_to(self, state: Tensor, *, nearest: int = 3) -> Paths:
        """The shortest paths along the graph to `state` (d), which is joined to its nearest."""
        if state.shape != self.metric.shape[:1]:
            raise ShapeError(f"a state must be d = {len(self.metric)}, got {tuple(state.shape)}")
        joined, index = self.nearest(state, nearest)
        lengths, before = dijkstra(
            self._graph(), directed=False, indices=index.numpy(), return_predecessors=True
        )  # both nearest n; before it on the way from there is after it on the way there
        lengths = lengths + joined.numpy()[:, None]
        through = lengths.argmin(axis=0)[None]
        length, following = (np.take_along_axis(x, through, axis=0)[0] for x in (lengths, before))
        return Paths(
            torch.from_numpy(length).float(), torch.from_numpy(following).long().clamp_min(-1)
        )

    def nearest(self, state: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """How far the nearest landmarks are from `state` (d), and which they are: both `number`."""
        point = self.embed(state.detach().cpu().float())
        far = torch.linalg.vector_norm(self.points - point, dim=1)
        return far.topk(min(number, len(self)), largest=False)

    def report(self) -> dict[str, float]:
        """How many there are, and the share that hang together, as results."""
        return {"landmarks": float(len(self)), "landmarks_joined": self.largest_part}

    @property
    def largest_part(self) -> float:
        """Share of the landmarks in the largest connected part; 1.0 is a graph without gaps."""
        _, part = connected_components(self._graph(), directed=False)
        return float(np.bincount(part).max() / len(self))

    def _graph(self) -> csr_matrix:
        first, second = self.edges.numpy()
        shape = (len(self), len(self))
        return coo_matrix((self.lengths.double().numpy(), (first, second)), shape=shape).tocsr()


def _slow_directions(states: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Directions (d m), scaled to steps of length 1, in which the data spread over many steps.

    The generalised eigenproblem of slow feature analysis (Wiskott and Sejnowski 2002). A
    position changes slowly and keeps its full range; a velocity changes within a few steps and
    is short here; what changes like noise is left out.
    """
    spread = np.cov(states, rowvar=False)
    change = steps.T @ steps / max(len(steps), 1)
    size = np.trace(change) / len(change)
    if not np.isfinite(size) or size <= 0:
        raise ConfigError("landmarks need states that change and are finite; these do not")
    # Without a floor a direction that never changes would be infinitely slow.
    slowness, directions = eigh(spread, change + 1e-3 * size * np.eye(len(change)))
    kept = slowness > min(MIN_SLOWNESS, slowness.max() / 2)
    return directions[:, kept]


def _edges(labels: Sequence[np.ndarray], num: int, min_transitions: int) -> np.ndarray:
    """Pairs (2 e) of landmarks that follow each other often enough, in either direction."""
    first = np.concatenate([x[:-1] for x in labels])
    second = np.concatenate([x[1:] for x in labels])
    low, high = np.minimum(first, second), np.maximum(first, second)
    pairs, counts = np.unique(low.astype(np.int64) * num + high, return_counts=True)
    low, high = np.divmod(pairs, num)
    kept = (counts >= min_transitions) & (low != high)
    if not kept.any():
        raise ConfigError(
            f"no two landmarks were joined {min_transitions} times; collect more episodes, or use "
            "fewer landmarks"
        )
    return np.stack([low[kept], high[kept]])
