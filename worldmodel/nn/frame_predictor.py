"""All tokens of the next frame from frames, actions and proprioception: V-JEPA 2-AC's predictor."""

from collections.abc import Sequence
from math import isqrt
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.nn import gripper
from worldmodel.nn.action_predictor import ActionPredictor, check_least
from worldmodel.nn.blocks import Block, KeysValues, arguments, check_heads, zeroed
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.nn.heads import Head
from worldmodel.nn.patches import Grid
from worldmodel.nn.positions import Rotary3D, Rotation, rotation_of

HEADS = 4  # of a new one
KEPT_BYTES = 2**31  # of keys and values, at most, of the candidates that are rolled out together


class FrameActionPredictor(ActionPredictor):
    """A transformer over frames; a frame is its action, its proprioception and its patches.

    A token sees all of its own frame and of those before it, none of a later one. Patches are
    rotated by their position; actions and proprioception by their time alone, as a patch at the
    origin is (Assran et al. 2025, arXiv:2506.09985, section 3). States are those of `FrameTokens`.

    Args:
        token_width: dimension of a token of the encoder.
        action_dim: dimension of an action, such as the change of a gripper's pose.
        proprioception: dimension of what a body knows of itself, such as a gripper's pose; 0 leaves
            its token out.
        width, depth, heads: of the transformer.
        mlp_width: of the hidden layer of a block's network; four times the width if None.
        norm_eps: added to a variance by the norms.
        rope: which rotary positions; see `VideoViT`. The published model spreads the columns of
            frames that are not square as if there were as many as rows (`vjepa2-ac`).
        window: states that a prediction looks at, at most.
        least: states that it is given at least.
        motion: how proprioception follows an action: `gripper` is the pose that it changes, by
            geometry; `learned` predicts a change; `still` knows nothing of it.
        change: the output is a change of the present tokens, so that an untrained one says that
            nothing changes; the published model predicts the tokens themselves.
    """

    one_history = True

    def __init__(
        self, token_width: int, action_dim: int = 7, proprioception: int = 7, *, width: int = 1024,
        depth: int = 24, heads: int = 16, mlp_width: int | None = None, norm_eps: float = 1e-6,
        rope: str = "vjepa2-ac", window: int = 8, least: int = 1,
        motion: Literal["gripper", "learned", "still"] = "gripper", change: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("a frame predictor", width, heads, rotary=True)
        if motion == "gripper" and not action_dim == proprioception == gripper.POSE:
            raise ConfigError(
                f"motion=gripper moves poses of {gripper.POSE} numbers by as many, got "
                f"{proprioception} and {action_dim}: say learned or still"
            )
        self.spec = arguments(locals())
        self.window, self.least = window, check_least(least, window)
        self.token_width, self.proprioception = token_width, proprioception
        self.motion, self.change = motion, change
        self.embed = nn.Linear(token_width, width)
        self.embed_action = nn.Linear(action_dim, width)
        self.embed_state = nn.Linear(proprioception, width) if proprioception else None
        self.rotary = Rotary3D(width // heads, rope)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_width=mlp_width, norm_eps=norm_eps) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, norm_eps)
        self.project = nn.Linear(width, token_width)
        self.move: nn.Linear | None = None
        if motion == "learned" and proprioception:
            self.move = zeroed(nn.Linear(proprioception + action_dim, proprioception))
        if change:
            zeroed(self.project)

    @classmethod
    def of(
        cls, head: Head, action_dim: int, *, width: int, depth: int, window: int, least: int
    ) -> "FrameActionPredictor":
        """A new one for states of tokens.

        Raises:
            ConfigError: the head makes other states.
        """
        if not isinstance(head, FrameTokens):
            raise ConfigError(
                "model.action=FrameActionPredictor predicts tokens: say model.state=tokens"
            )
        return cls(
            head.token_width, action_dim, head.extra, width=width, depth=depth, heads=HEADS,
            rope="default", window=window, least=least, motion="learned", change=True,
        )  # fmt: skip

    def with_actions(self, action_dim: int) -> "FrameActionPredictor":
        """The same for actions of another width, whose embedding alone is new."""
        motion = "still" if self.motion == "gripper" else self.motion
        other = type(self)(**(self.spec | {"action_dim": action_dim, "motion": motion}))
        kept = self.state_dict()
        kept |= {k: v for k, v in other.state_dict().items() if k.startswith(("embed_act", "move"))}
        other.load_state_dict(kept)
        return other

    def forward(
        self, states: Tensor, actions: Tensor, memory: Sequence[KeysValues] | None = None
    ) -> Tensor:
        """For each of at most `window` states (b t d) and its action (b t a), the next: b t d.

        Args:
            states: b t d.
            actions: b t a.
            memory: of the states before these, one for each block, which is added to.

        Raises:
            ShapeError: a state is not a square grid of tokens with what a body knows of itself.
        """
        tokens, known = states.split([states.shape[-1] - self.proprioception, self.proprioception],
                                     dim=-1)  # fmt: skip
        side = isqrt(tokens.shape[-1] // self.token_width)
        if side**2 * self.token_width != tokens.shape[-1]:
            raise ShapeError(
                f"states of {states.shape[-1]} dimensions are not square grids of tokens of "
                f"{self.token_width}, and {self.proprioception} for a body"
            )
        now = rearrange(tokens, "b t (n d) -> b (t n) d", d=self.token_width)
        later = self.next_tokens(now, known, actions, (states.shape[1], side, side), memory)
        if self.change:
            later = now + later
        later = F.layer_norm(later, later.shape[-1:])
        later = rearrange(later, "b (t n) d -> b t (n d)", t=states.shape[1])
        return torch.cat([later, self._moved(known, actions)], dim=-1)

    def rollout(self, states: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        """As any predictor does, with less work; one history (1 s d) may lead to all: b t d.

        Many candidates are rolled out some at a time: see `KEPT_BYTES`.
        """
        frames = min(self.window, states.shape[1] + actions.shape[1] - 1)
        width, tokens = self.embed.out_features, states.shape[-1] // self.token_width + 2
        numbers = 2 * len(self.blocks) * frames * tokens * width
        together = max(1, KEPT_BYTES // max(1, numbers * states.element_size()))
        rolled = []
        for first in range(0, max(1, len(actions)), together):
            group = slice(first, first + together)
            seen, led = (x if len(x) == 1 else x[group] for x in (states, past))
            rolled.append(self._rolled(seen, led, actions[group]))
        return torch.cat(rolled)

    def _rolled(self, states: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        """Keys and values are kept while the window grows, and of a history's states in any window.

        Where a state falls out of the window, the others have seen it and stand elsewhere from now
        on, so that nothing of them can be kept.
        """
        b, s, end = len(actions), states.shape[1], states.shape[1] + actions.shape[1]
        path, done = [*states.unbind(1)], [*past.unbind(1), *actions.unbind(1)]
        memory: list[KeysValues] = []
        for now in range(s, end):
            first, new = max(0, now - self.window), now - 1
            if first or not memory:
                memory = [KeysValues() for _ in self.blocks]
                new = max(first, s - 1)
                if first < new:  # the same for all, as far as the history is
                    self(states[:, first:new], past[:, first:new], memory)
            if now >= self.window or now == end - 1:  # nothing comes that could look at it again
                for kept in memory:
                    kept.most = 0
            seen, led = (
                torch.stack([step.expand(b, -1) for step in each[new:now]], dim=1)
                for each in (path, done)
            )
            path.append(self(seen, led, memory)[:, -1])
        return torch.stack(path[s:], dim=1)

    def _moved(self, known: Tensor, actions: Tensor) -> Tensor:
        if self.motion == "gripper":
            return gripper.moved(known, actions)
        if self.move is None:
            return known
        return known + self.move(torch.cat([known, actions], dim=-1))

    def next_tokens(
        self, frames: Tensor, known: Tensor, actions: Tensor, grid: Grid,
        memory: Sequence[KeysValues] | None = None,
    ) -> Tensor:  # fmt: skip
        """The tokens of the frame after each of `frames`, or the change to them.

        Args:
            frames: b (t h w) d, tokens of frames, each encoded alone and normed.
            known: b t s, proprioception at each frame.
            actions: b t a, the action that is taken at each frame.
            grid: t h w, of `frames`.
            memory: of the frames before these, one for each block, which is added to.

        Returns:
            b (t h w) d: at each frame the one after it.

        Raises:
            ShapeError: there are not as many of each as frames, or their width or type is not that
                of the model.
        """
        t, h, w = grid
        for name, given, width, count in (
            ("frames", frames, self.token_width, t * h * w),
            ("states", known, self.proprioception, t),
            ("actions", actions, self.embed_action.in_features, t),
        ):
            wanted, dtype = (len(frames), count, width), self.embed.weight.dtype
            if tuple(given.shape) != wanted or given.dtype != dtype:
                raise ShapeError(
                    f"{name} must be {wanted} of {dtype} for {len(frames)} clips on the grid "
                    f"t h w = {grid}, got {tuple(given.shape)} of {given.dtype}"
                )
        conditions = [self.embed_action(actions)]
        if self.embed_state is not None:
            conditions.append(self.embed_state(known))
        more = len(conditions)
        patches = rearrange(self.embed(frames), "b (t n) d -> b t n d", t=t)
        x = torch.cat([torch.stack(conditions, dim=2), patches], dim=2)
        x = rearrange(x, "b t n d -> b (t n) d")
        before = memory[0].seen // (h * w + more) if memory else 0
        rotation = self._rotation(grid, before, more, x.device)
        sees = self._sees(grid, before, more, x.device)
        memories: Sequence[KeysValues | None] = memory or [None] * len(self.blocks)
        for block, kept in zip(self.blocks, memories, strict=True):
            x = block(x, rotation, sees, kept)
        after = rearrange(x, "b (t n) d -> b t n d", t=t)[:, :, more:]
        return self.project(self.norm(rearrange(after, "b t n d -> b (t n) d")))

    def _rotation(self, grid: Grid, before: int, more: int, device: torch.device) -> Rotation:
        """Of all tokens of frames after so many others, with `more` before each one's patches."""
        t, h, w = before + grid[0], *grid[1:]
        patches = rearrange(self.rotary.table((t, h, w), device), "(t n) d -> t n d", t=t)
        # Height and width zero: only time turns them.
        times = self.rotary.table((t, 1, 1), device)
        table = torch.cat([repeat(times, "t d -> t m d", m=more), patches], dim=1)[before:]
        return rotation_of(rearrange(table, "t n d -> 1 1 (t n) d"), self.rotary.rope)

    def _sees(self, grid: Grid, before: int, more: int, device: torch.device) -> Tensor | None:
        """Mask of attention, n m: the token of a row sees that of a column, of an earlier frame.

        None of a single frame, which sees itself and all before it.
        """
        t, h, w = grid
        if t == 1:
            return None
        frame = repeat(torch.arange(before + t, device=device), "t -> (t n)", n=h * w + more)
        return frame[before * (h * w + more) :, None] >= frame[None, :]
