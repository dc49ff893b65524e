"""Where each video has a ground of its own, what moves is learned, or the alarm rings."""

import numpy as np
import pytest
import torch
from einops import rearrange
from sklearn.linear_model import RidgeCV

from tests.worldmodel.toys import seeded
from worldmodel.architecture import Architecture
from worldmodel.loading.in_memory import ClipDataset, MemoryVideo
from worldmodel.nn.encoder import VideoViT
from worldmodel.objectives.contrastive import Contrastive
from worldmodel.objectives.crops import Crops
from worldmodel.objectives.masked_pixels import MaskedPixels
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import AllButOne, Future, MaskMixture, RandomTokens, Tubes
from worldmodel.objectives.motion import Motion
from worldmodel.objectives.next_tokens import NextTokens
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg, VICReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.objectives.views import Views
from worldmodel.training.static_shortcut import stillness

SIDE, LENGTH = 16, 12


def videos(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """A white spot over a ground of random blocks: n t c h w, and its places n t 2."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    ground = random.integers(0, 256, (count, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    place, angle = random.uniform(3, SIDE - 3, (count, 2)), random.uniform(0, 2 * np.pi, count)
    speed = random.uniform(0.5, 1.2, (count, 1))
    velocity = speed * np.stack([np.cos(angle), np.sin(angle)], 1)
    frames, places = [], []
    for _ in range(LENGTH):
        near = (columns - place[:, :1, None]) ** 2 + (rows - place[:, 1:, None]) ** 2 <= 6
        frames.append(np.where(near[..., None], 255, ground))
        places.append(place)
        place = place + velocity
        velocity = np.where((place < 2) | (place > SIDE - 2), -velocity, velocity)
    shown = torch.from_numpy(np.stack(frames, 1).astype(np.uint8)).movedim(-1, 2)
    return shown, np.stack(places, 1)


def readout(objective, seen, unseen, of="latents") -> float:
    """R² of the spot's place, read from the latents of videos that were not trained on."""
    found = []
    for frames, places in (seen, unseen):
        frames = frames[:, :8].float() / 255
        with torch.inference_mode():
            if of == "latents":
                rows = rearrange(objective.eval().latents(frames), "t m b d -> (b t) (m d)")
            else:
                tokens = objective.eval().encoder(frames)
                rows = rearrange(tokens, "b (t m) d -> (b t) (m d)", t=4)
        steps = places[:, :8].reshape(len(places), 4, 2, 2).mean(2)
        found.append((rows.numpy(), steps.reshape(-1, 2)))
    (x, y), (z, truth) = found
    return float(RidgeCV(alphas=(1, 10, 100, 1000)).fit(x, y).score(z, truth))


def sizes(*, per_token=False) -> Architecture:
    torch.manual_seed(0)
    return Architecture(
        VideoViT(32, 2, heads=2, patch=4), size=SIDE, latent_width=32, extra_width=16,
        latent_per_token=per_token, predictor_width=64,
    )  # fmt: skip


def learned(objective, seen, unseen, of="latents") -> tuple[float, float]:
    """Reads the place before and after 100 steps on four clips of each of 16 videos."""
    sources = [MemoryVideo(str(i), x, torch.arange(LENGTH) / 10) for i, x in enumerate(seen[0])]
    clips = ClipDataset(sources, num_frames=6, stride=1, epochs=True, clips_per_video=4)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    objective(clips.sample(0, 64, seed=0).frames, step=0, generator=seeded(0), clips_per_video=4)
    untrained = readout(objective, seen, unseen, of)
    for step in range(100):
        frames = clips.sample(step, 64, seed=0).frames
        losses = objective.train()(frames, step=step, generator=seeded(step), clips_per_video=4)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        objective.after_step(step / 100)
    return untrained, readout(objective, seen, unseen, of)


@pytest.mark.parametrize(
    ("centre", "regulariser"),
    [("none", SIGReg(3, num_slices=64)), ("episode", SIGReg(3, num_slices=64)),
     ("episode", VICReg())],
    ids=["none-sigreg", "episode-sigreg", "episode-vicreg"],
)  # fmt: skip
def test_a_ground_that_stands_still_hides_what_moves_unless_it_is_subtracted(centre, regulariser):
    seen, unseen = videos(300, 0), videos(150, 1)
    masks = MaskMixture([AllButOne()], [1])
    objective = TimeSteps(sizes(), masks=masks, regulariser=regulariser, centre=centre)
    untrained, trained = learned(objective, seen, unseen)
    frames = unseen[0][:, :6].float() / 255
    latents = objective.eval().latents(frames)[..., : objective.predicted].detach()
    still = stillness(objective.world_model(SIDE), latents, frames)
    if centre == "none":
        assert trained < untrained and still.alarm
    else:
        assert trained > untrained + 0.3 and still.alarm is None


def sigreg() -> SIGReg:
    return SIGReg(3, num_slices=64)


def next_tokens() -> NextTokens:
    return NextTokens(
        sizes(), regulariser=sigreg(), horizons=(1, 2), predictor_width=48, predictor_depth=2
    )


def masked_tokens(context="clip") -> MaskedTokens:
    masks = MaskMixture([Tubes(2, 0.3), Future()], [1, 1])
    return MaskedTokens(
        sizes(per_token=True), masks=masks, regulariser=sigreg(), distance="l2",
        predictor_width=48, target_context=context,
    )  # fmt: skip


def masked_tokens_of_tubes() -> MaskedTokens:
    return masked_tokens("tube")


def masked_tokens_ema() -> MaskedTokens:
    return MaskedTokens(
        sizes(), masks=MaskMixture([Tubes(2, 0.3)], [1]), regulariser=NoRegulariser(),
        targets="ema", target_norm="layernorm", momentum=0.99, predictor_width=48,
    )  # fmt: skip


def masked_pixels() -> MaskedPixels:
    masks = MaskMixture([RandomTokens(0.75)], [1])
    return MaskedPixels(sizes(), masks=masks, predictor_width=48)


def views() -> Views:
    return Views(
        sizes(), regulariser=sigreg(), global_views=Crops(2, (0.3, 1)),
        local_views=Crops(2, (0.1, 0.3)),
    )  # fmt: skip


def contrastive() -> Contrastive:
    return Contrastive(
        sizes(), regulariser=NoRegulariser(), horizons=(1, 2), predictor_width=48,
        predictor_depth=2,
    )  # fmt: skip


def motion() -> Motion:
    return Motion(sizes(), content=views_beside, levels=2, width=16)


def views_beside(model: Architecture) -> Views:
    return Views(
        model, regulariser=sigreg(), global_views=Crops(2, (0.3, 1)),
        local_views=Crops(0, (0.1, 0.3)),
    )  # fmt: skip


def falls_short(untrained: float, trained: float, why: str) -> list[pytest.MarkDecorator]:
    """Strict, so that whoever mends an objective is told to say so."""
    reason = f"R² of the place {trained} after 100 steps, {untrained} untrained: {why}"
    return [pytest.mark.exhaustive, pytest.mark.xfail(strict=True, reason=reason)]


@pytest.mark.parametrize(
    ("make", "of"),
    [
        pytest.param(next_tokens, "latents", marks=pytest.mark.exhaustive),
        pytest.param(masked_pixels, "tokens", marks=pytest.mark.exhaustive),
        pytest.param(
            contrastive, "tokens",
            marks=falls_short(0.627, 0.687, "the ground tells a video from the others"),
        ),
        pytest.param(
            motion, "tokens",
            marks=falls_short(0.627, 0.644, "views of a clip agree on its ground"),
        ),
        pytest.param(masked_tokens_of_tubes, "tokens", marks=pytest.mark.slow),
        pytest.param(
            masked_tokens, "latents",
            marks=falls_short(0.658, 0.335, "tokens share what is the same in all of a clip"),
        ),
        pytest.param(
            masked_tokens_ema, "latents",
            marks=falls_short(0.627, 0.599, "few steps, or the trap; not known yet"),
        ),
        pytest.param(
            views, "tokens",
            marks=falls_short(0.627, 0.660, "views of a clip agree on its ground"),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_moves_is_learned_over_a_ground_that_stands_still(make, of):
    untrained, trained = learned(make(), videos(300, 0), videos(150, 1), of)
    assert trained > untrained + 0.1


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("make", "rings"),
    [(contrastive, True), (masked_tokens, False), (masked_tokens_ema, False)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_where_too_little_that_moves_is_learned_the_alarm_rings_for_some(make, rings):
    """Its error rates are of `time_steps`. Where it is silent it misses; docs/pretraining.md."""
    objective = make()
    learned(objective, videos(300, 0), videos(150, 1))
    frames = videos(150, 1)[0][:, :6].float() / 255
    latents = objective.eval().latents(frames)[..., : objective.predicted].detach()
    still = stillness(objective.world_model(SIDE), latents, frames)
    assert (still.alarm is not None) == rings
