"""The tokens of the next frame from frames, states and actions: V-JEPA 2-AC's predictor.

Unlike `ActionPredictor` it predicts all tokens of a frame, as `WorldModel.frame_tokens` makes them.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from worldmodel.errors import ShapeError
from worldmodel.nn.blocks import Block, arguments, check_heads
from worldmodel.nn.patches import Grid
from worldmodel.nn.positions import Rotary3D, Rotation, rotation_of


class FrameActionPredictor(nn.Module):
    """A transformer over frames; a frame is its action, its state and its patches, in that order.

    A token sees all of its own frame and of those before it, none of a later one. Patches are
    rotated by their position; actions and states by their time alone, as a patch at the origin is
    (Assran et al. 2025, arXiv:2506.09985, section 3).

    Args:
        token_width: dimension of a token of the encoder.
        action_dim: dimension of an action, such as the change of a gripper's pose.
        state_dim: dimension of a state, such as a gripper's pose.
        width, depth, heads: of the transformer.
        mlp_width: of the hidden layer of a block's network; four times the width if None.
        norm_eps: added to a variance by the norms.
        rope: which rotary positions; see `VideoViT`. The published model spreads the columns of
            frames that are not square as if there were as many as rows (`vjepa2-ac`).
    """

    def __init__(
        self, token_width: int, action_dim: int = 7, state_dim: int = 7, *, width: int = 1024,
        depth: int = 24, heads: int = 16, mlp_width: int | None = None, norm_eps: float = 1e-6,
        rope: str = "vjepa2-ac",
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("a frame predictor", width, heads, rotary=True)
        self.spec = arguments(locals())
        self.embed = nn.Linear(token_width, width)
        self.embed_action = nn.Linear(action_dim, width)
        self.embed_state = nn.Linear(state_dim, width)
        self.rotary = Rotary3D(width // heads, rope)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_width=mlp_width, norm_eps=norm_eps) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, norm_eps)
        self.project = nn.Linear(width, token_width)

    def forward(self, frames: Tensor, states: Tensor, actions: Tensor, grid: Grid) -> Tensor:
        """The tokens of the frame after each of `frames`.

        Args:
            frames: b (t h w) d, tokens of frames, each encoded alone and normed.
            states: b t s, the state at each frame.
            actions: b t a, the action that is taken at each frame.
            grid: t h w, of `frames`.

        Returns:
            b (t h w) d: at each frame the one after it.

        Raises:
            ShapeError: there are not as many states and actions as frames, or their width or type
                is not that of the model.
        """
        t, h, w = grid
        for name, given, layer, count in (
            ("frames", frames, self.embed, t * h * w),
            ("states", states, self.embed_state, t),
            ("actions", actions, self.embed_action, t),
        ):
            wanted, dtype = (len(frames), count, layer.in_features), layer.weight.dtype
            if tuple(given.shape) != wanted or given.dtype != dtype:
                raise ShapeError(
                    f"{name} must be {wanted} of {dtype} for {len(frames)} clips on the grid "
                    f"t h w = {grid}, got {tuple(given.shape)} of {given.dtype}"
                )
        patches = rearrange(self.embed(frames), "b (t n) d -> b t n d", t=t)
        conditions = torch.stack([self.embed_action(actions), self.embed_state(states)], dim=2)
        x = rearrange(torch.cat([conditions, patches], dim=2), "b t n d -> b (t n) d")
        rotation, sees = self._rotation(grid, x.device), self._sees(grid, x.device)
        for block in self.blocks:
            x = block(x, rotation, sees)
        after = rearrange(x, "b (t n) d -> b t n d", t=t)[:, :, 2:]
        return self.project(self.norm(rearrange(after, "b t n d -> b (t n) d")))

    def _rotation(self, grid: Grid, device: torch.device) -> Rotation:
        """The rotation of all tokens."""
        patches = rearrange(self.rotary.table(grid, device), "(t n) d -> t n d", t=grid[0])
        # Height and width zero: only time turns them.
        conditions = repeat(self.rotary.table((grid[0], 1, 1), device), "t d -> t two d", two=2)
        table = rearrange(torch.cat([conditions, patches], dim=1), "t n d -> 1 1 (t n) d")
        return rotation_of(table, self.rotary.rope)

    def _sees(self, grid: Grid, device: torch.device) -> Tensor:
        """Mask of attention, n n: the token of a row sees that of a column."""
        t, h, w = grid
        frame = repeat(torch.arange(t, device=device), "t -> (t n)", n=h * w + 2)
        return frame[:, None] >= frame[None, :]
