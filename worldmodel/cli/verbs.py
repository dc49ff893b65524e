"""The verbs of the command line, each with a line on what it does and an example."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """A verb as `worldmodel --help` lists it."""

    does: str
    example: str
    words: tuple[str, ...] = ()  # keys of the words that may stand alone after the verb, in order
    rest: str = ""  # key of the list that all other words that stand alone go into


VERBS = {
    "quickstart": Verb(
        "the whole story on a MuJoCo world, on a CPU, in minutes",
        "worldmodel quickstart",
    ),
    "pretrain": Verb(
        "encoder + masked predictor on video",
        "worldmodel pretrain data=videos data.path=my/videos model=tiny",
    ),
    "collect": Verb(
        "rollouts of a behaviour in an environment -> episodes on disk",
        "worldmodel collect env=Reacher-v5 episodes=200",
    ),
    "train": Verb(
        "action predictor on episodes with actions; encoder and state head frozen, tuned or new",
        "worldmodel train episodes=runs/collect/rooms encoder=runs/pretrain/default",
    ),
    "plan": Verb(
        "evaluate a planner: success, violations, time, beside random actions and doing nothing",
        "worldmodel plan model=runs/train/default env=Reacher-v5 goal=episodes offset=25",
    ),
    "surprise": Verb(
        "score a video, or matched possible and impossible clips",
        "worldmodel surprise model=runs/pretrain/default clips=my/video.mp4",
    ),
    "features": Verb(
        "what a model makes of every window of every video -> files",
        "worldmodel features model=runs/pretrain/default path=my/videos window=16 stride=8",
    ),
    "probe": Verb(
        "what a frozen encoder knows: numbers of episodes, classes of labelled videos",
        "worldmodel probe model=runs/train/default episodes=runs/collect/held_out",
    ),
    "select": Verb(
        "rank pretrainings without labels: loss/lambda^alpha, RankMe, LiDAR",
        "worldmodel select runs/pretrain/first runs/pretrain/second",
        rest="runs",
    ),
    "data inspect": Verb(
        "summarise videos or episodes, and draw clips as a model will see them",
        "worldmodel data inspect my/videos",
        words=("path",),
    ),
    "data check": Verb(
        "decode every frame of videos or episodes, and list what fails",
        "worldmodel data check my/videos",
        words=("path",),
    ),
    "data convert": Verb(
        "write videos or episodes in another format",
        "worldmodel data convert my/videos output=my/shards to=shards",
        words=("path",),
    ),
    "data make": Verb(
        "write matched possible and impossible clips of a world, and clips of it to learn from",
        "worldmodel data make suite=flat n=20 seed=1",
    ),
    "export": Verb(
        "a model of ours or of others -> a folder that this package or transformers loads",
        "worldmodel export model=vitl.pt format=hf output=vitl",
    ),
    "report": Verb(
        "a run folder -> one self-contained page",
        "worldmodel report runs/quickstart",
        words=("run_folder",),
    ),
    "doctor": Verb(
        "what is installed, what works here, what to do about what does not",
        "worldmodel doctor",
    ),
}
