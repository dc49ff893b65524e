"""The README does what it says (its commands: test_docs.py; its Python: test_story.py)."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(*languages: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#\s]+)", README))
def test_links_lead_to_files(target: str) -> None:
    assert target.startswith(("http://", "https://")) or (ROOT / target).exists()


def write_video(path: Path, *, frames: int = 60, size: int = 96, fps: int = 30) -> None:
    """A square that crosses the image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(fps))
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            image = np.full((size, size, 3), 40, np.uint8)
            image[30:50, index : index + 20] = (220, 180, 60)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
