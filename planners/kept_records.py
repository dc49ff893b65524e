"""Records of an evaluation that is going on: each is on disk as soon as its episode is over."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldmodel.storage.files import whole_file

from .episode_loop import EpisodeRecord
from .tasks import Task

ARRAYS = ("frames", "actions", "rewards", "seconds")
WORDS = ("terminated", "restores", "left_out", "numbers")
OF = "of.txt"


class KeptRecords:
    """So an evaluation that ends early, or in an error, goes on where it was.

    Args:
        folder: Where they are, a folder for each policy. What is there of another evaluation is
            deleted.
        of: What they are records of: the protocol, who acts, and the model's weights.

    Attributes:
        deleted: how many there were of another evaluation.
    """

    def __init__(self, folder: Path, of: str) -> None:
        self.folder, self.deleted = folder, 0
        told = folder / OF
        if told.is_file() and told.read_text() == of:
            return
        self.deleted = len([*folder.rglob("*.npz")])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with whole_file(told) as unfinished:
            unfinished.write_text(of)

    def read(self, policy: str, tasks: Sequence[Task]) -> list[EpisodeRecord]:
        """The records of the first tasks, as many as there are."""
        found = []
        for index, task in enumerate(tasks):
            path = self._path(policy, index)
            if not path.is_file():
                break
            found.append(_read(path, task))
        return found

    def write(self, policy: str, index: int, record: EpisodeRecord) -> None:
        """Keep the record of the task with this number."""
        path = self._path(policy, index)
        path.parent.mkdir(exist_ok=True)
        about = {name: getattr(record, name) for name in WORDS}
        groups = {"infos": record.infos, "images": record.images}
        arrays = {name: getattr(record, name) for name in ARRAYS}
        for group, named in groups.items():
            arrays |= {f"{group}{i}": array for i, array in enumerate(named.values())}
        text = json.dumps(about | {group: [*named] for group, named in groups.items()})
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, about=np.array(text), **arrays)

    def delete(self) -> None:
        """All of them: the evaluation is over, and its results stand elsewhere."""
        shutil.rmtree(self.folder)

    def _path(self, policy: str, index: int) -> Path:
        return self.folder / policy / f"{index:06d}.npz"


def _read(path: Path, task: Task) -> EpisodeRecord:
    with np.load(path, allow_pickle=False) as file:
        about: dict[str, Any] = json.loads(str(file["about"]))
        infos, images = (
            {name: file[f"{group}{i}"] for i, name in enumerate(about[group])}
            for group in ("infos", "images")
        )
        fields: dict[str, Any] = {name: file[name] for name in ARRAYS}
        fields |= {name: about[name] for name in WORDS}
        return EpisodeRecord(
            **fields, infos=infos, images=images, seed=task.seed, options=dict(task.options)
        )


def evaluation_of(facts: Mapping[str, str], model: Any) -> str:
    """What records are of, in one word: a hash of the protocol and of a model's weights."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    weights = model.state_dict() if hasattr(model, "state_dict") else {}
    for name, tensor in weights.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
