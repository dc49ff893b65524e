"""Behaviour from a file: a policy that was learned elsewhere and looks at numbers, not at images.

Two kinds of files are read, and nothing in them is executed: policies that Stable-Baselines3 saved
(`model.save("policy.zip")`, with `MlpPolicy`; of PPO, A2C, SAC, TD3, DDPG and DQN), and safetensors
with the layers of a plain network: `0.weight` (out in), `0.bias` (out), `1.weight`, ... and in the
header `activation` (tanh, relu, ...) and, where the last layer has one too, `output` = tanh.
"""

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.errors import CheckpointError, ConfigError, EnvError
from worldmodel.storage.pickles import read_torch
from worldmodel.storage.tensors import read_tensors_and_header

from .action_space import ActionSpace
from .behaviours import Random
from .episode_loop import Policy

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh, "relu": F.relu, "elu": F.elu, "gelu": F.gelu, "silu": F.silu,
    "leakyrelu": F.leaky_relu,
}  # fmt: skip
# Where Stable-Baselines3 keeps the layers that choose the action: by how names of the first begin,
# what is between them where nothing is said, and if the result is squashed into the bounds.
_LAYOUTS = (
    ("action_net", r"(mlp_extractor\.policy_net\.\d+|action_net)", "tanh", False),
    ("actor.latent_pi.", r"(actor\.latent_pi\.\d+|actor\.mu(\.0)?)", "relu", True),
    ("actor.mu.", r"actor\.mu\.\d+", "relu", True),
    ("q_net.q_net.", r"q_net\.q_net\.\d+", "relu", False),
)


@dataclass(frozen=True)
class _Network:
    """Layers one after the other."""

    layers: list[tuple[Tensor, Tensor]]
    activation: str
    squashed: bool  # the result lies in [-1, 1], between the bounds of the space

    @property
    def inputs(self) -> int:
        return self.layers[0][0].shape[1]

    @property
    def outputs(self) -> int:
        return self.layers[-1][0].shape[0]

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(numbers)
        for weight, bias in self.layers[:-1]:
            x = ACTIVATIONS[self.activation](F.linear(x, weight, bias))
        x = F.linear(x, *self.layers[-1])
        return (torch.tanh(x) if self.squashed else x).numpy()


class SavedPolicy(Policy):
    """What a network from a file does for the numbers that the environment tells.

    It does what it thinks best, unless there is noise; data of several behaviours are worth more
    to a world model than those of an expert who never errs.

    Args:
        path: `.zip` of Stable-Baselines3 or `.safetensors`, as above. Statistics that
            `VecNormalize` kept are in a file of their own, and not read.
        info: The name of the info that it looks at; flattened, it has as many numbers as the first
            layer takes.
        noise: Standard deviation of normal noise on each action, in half-widths of the space.
        random_share: Share of the steps whose action is drawn at random instead, in [0, 1].

    Raises:
        ConfigError: the noise or the share is no such number.
        CheckpointError: the file is missing, damaged, or holds another kind of policy.
    """

    def __init__(
        self, path: str | Path, info: str = "observation", noise: float = 0.0,
        random_share: float = 0.0,
    ) -> None:  # fmt: skip
        if not (0 <= noise < float("inf") and 0 <= random_share <= 1):
            raise ConfigError(
                "a saved policy needs noise >= 0 and random_share in [0, 1], got "
                f"{noise} and {random_share}"
            )
        self._path, self._info = Path(path), info
        self._noise, self._random_share = noise, random_share
        self._network = read_policy(self._path)
        self._random = Random()

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvError: actions have another width than the network's, or it would squash them into
                bounds that there are none of.
        """
        if space.dim != self._network.outputs:
            raise EnvError(
                f"{self._path}: gives {self._network.outputs} numbers, an action of this "
                f"environment has {space.dim} ({space.space})"
            )
        if self._network.squashed and not np.isfinite([space.low, space.high]).all():
            raise EnvError(f"{self._path}: gives actions between bounds, {space.space} has none")
        self._space, self._draw = space, np.random.default_rng(seed)
        # Of a seed of its own: from the same, what is drawn would tell that it is drawn.
        self._random.reset(space, info, seed=int(self._draw.integers(2**31)))

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The action (a) for what the environment tells.

        Raises:
            EnvError: it does not tell this info, or tells another count of numbers.
        """
        if self._draw.random() < self._random_share:
            return self._random(observation, info)
        space, chosen = self._space, self._network(self._seen(info))
        if self._network.squashed:
            chosen = space.low + (space.high - space.low) * (chosen + 1) / 2
        if not space.choices:
            scale = space.units.scale.numpy()
            chosen = chosen + self._noise * scale * self._draw.normal(size=chosen.shape)
            chosen = np.clip(chosen, space.low, space.high)
        return chosen.astype(np.float32)

    def _seen(self, info: Mapping[str, Any]) -> np.ndarray:
        if self._info not in info:
            raise EnvError(
                f"{self._path}: looks at the info '{self._info}', the environment tells "
                f"{', '.join(sorted(info)) or 'none'}; say behaviour.info="
            )
        try:
            numbers = np.asarray(info[self._info], np.float32).ravel()
        except (TypeError, ValueError) as error:
            raise EnvError(f"{self._path}: the info '{self._info}' is no numbers") from error
        if len(numbers) != self._network.inputs:
            raise EnvError(
                f"{self._path}: looks at {self._network.inputs} numbers, "
                f"the info '{self._info}' has {len(numbers)}"
            )
        return numbers


def read_policy(path: Path) -> _Network:
    """The network of a policy file; see `SavedPolicy`."""
    if path.suffix == ".safetensors":
        tensors, header = read_tensors_and_header(path, remedy="save the policy again")
        count, output = len(tensors) // 2, header.get("output", "")
        names = [str(number) for number in range(count)]
        expected = {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
        if not count or set(tensors) != expected:
            raise CheckpointError(
                f"{path}: has {', '.join(sorted(tensors)) or 'nothing'}; "
                "layers are 0.weight, 0.bias, 1.weight, ..."
            )
        if output not in ("", "tanh"):
            raise CheckpointError(f"{path}: output '{output}' in its header is no tanh")
        return _network(tensors, names, header.get("activation", ""), output == "tanh", path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; check behaviour.path=")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path}: is no policy: neither a .zip of Stable-Baselines3 nor .safetensors"
        )
    return _of_stable_baselines(path)


def _of_stable_baselines(path: Path) -> _Network:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as file:
                told = json.loads(file.read("data"))
                file.extract("policy.pth", folder)
            kept = told.get("policy_kwargs") or {}
            said = kept.get("activation_fn")
        except (KeyError, ValueError, AttributeError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path}: is no policy that Stable-Baselines3 saved") from error
        try:
            held = read_torch(Path(folder, "policy.pth"), "policy", CheckpointError)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(folder, str(path))) from error
        if not isinstance(held, Mapping) or not all(map(torch.is_tensor, held.values())):
            raise CheckpointError(f"{path}: its policy.pth holds no named tensors")
        weights = {str(name): value.clone() for name, value in held.items()}
    for begin, pattern, usual, squashed in _LAYOUTS:
        found = [re.fullmatch(rf"({pattern})\.weight", name) for name in weights]
        layers = [match[1] for match in found if match]
        if any(name.startswith(begin) for name in layers):
            activation = str(said or usual).rstrip("'>").rpartition(".")[2].lower()
            return _network(weights, layers, activation, squashed, path)
    raise CheckpointError(
        f"{path}: has none of the layers of an MlpPolicy of PPO, A2C, SAC, TD3, DDPG or DQN, "
        f"but {', '.join(list(weights)[:3])}; write its layers to .safetensors"
    )


def _network(
    weights: Mapping[str, Tensor], names: list[str], activation: str, squashed: bool, path: Path
) -> _Network:
    """The layers of these names, one after the other.

    Raises:
        CheckpointError: they are no such layers.
    """
    layers = []
    for name in names:
        weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
        if bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
            shape = None if bias is None else tuple(bias.shape)
            raise CheckpointError(
                f"{path}: layer {name} has a weight {tuple(weight.shape)} and a bias {shape}, "
                "not (out in) and (out)"
            )
        layers.append((weight.float(), bias.float()))
    if activation not in ACTIVATIONS and len(layers) > 1:
        raise CheckpointError(
            f"{path}: activation '{activation}' is none of {', '.join(ACTIVATIONS)}"
        )
    widths = [weight.shape for weight, _ in layers]
    if any(a[0] != b[1] for a, b in zip(widths, widths[1:], strict=False)):
        raise CheckpointError(f"{path}: its layers {[tuple(w) for w in widths]} do not follow")
    return _Network(layers, activation, squashed)
