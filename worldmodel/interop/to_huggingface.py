"""Writing a model as a folder that transformers' `VJEPA2Model.from_pretrained` loads."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldmodel.errors import ConfigError
from worldmodel.interop.huggingface import rules
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT
from worldmodel.nn.token_predictor import TokenPredictor
from worldmodel.storage.files import whole_file
from worldmodel.storage.tensors import write_safetensors


def write(model: WorldModel, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`.

    Raises:
        ConfigError: transformers cannot do what the model does.
    """
    description = model.spec()
    reason = why_not(model)
    if reason is not None:
        raise ConfigError(f"format=hf: {reason}; export it with format=worldmodel")
    config = config_of(description)
    weights = model.state_dict()
    theirs = {}
    for rule in rules(description):
        for key, tensor in rule.to_theirs(weights[rule.ours].detach().cpu()).items():
            theirs[key] = tensor.clone()
    with whole_file(folder / "model.safetensors") as temporary:
        write_safetensors(theirs, temporary, {"format": "pt"})
    with whole_file(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2, allow_nan=False) + "\n")


def why_not(model: WorldModel) -> str | None:
    """The reason why Hugging Face's V-JEPA 2 cannot be this model; None if it can."""
    encoder, predictor, classifier = model.encoder, model.masked_predictor, model.classifier
    if not isinstance(encoder, VideoViT):
        return f"its VJEPA2Model is no {type(encoder).__name__}"
    for name in ("sincos_grid", "levels", "images"):
        if encoder.spec.get(name):
            return f"its VJEPA2Model has no {name}={encoder.spec[name]}, as this encoder"
    for name, value, otherwise in (("pixels", "imagenet", "change"), ("rope", "vjepa2", "default")):
        found = encoder.spec.get(name, otherwise)
        if found != value:
            return f"its VJEPA2Model has {name}={value}, this encoder {name}={found}"
    if not isinstance(predictor, TokenPredictor):
        return "its VJEPA2Model always has a predictor of tokens, this model has none"
    others = sorted(model.spec()["parts"].keys() - {"masked_predictor", "classifier"})
    if others:
        return f"its VJEPA2Model has no place for the {others[0].replace('_', ' ')} of this model"
    if predictor.spec["rope"] != "vjepa2" or predictor.spec["sincos_grid"]:
        return "its predictor has rope=vjepa2, that of this model has not"
    if predictor.levels > 1 or predictor.spec["kinds"]:
        return "its predictor sees one level of one kind of clip, that of this model more"
    if predictor.spec["target_norm"] != "layernorm" or predictor.spec["cosine"]:
        return "its predictor has normed tokens as targets, that of this model has not"
    eps = {encoder.spec.get("norm_eps", 1e-5), predictor.spec["norm_eps"]}
    heads = {encoder.spec["heads"]}
    if classifier is not None:
        eps.add(classifier.spec["norm_eps"])
        heads.add(classifier.spec["heads"])
    if len(eps) > 1 or len(heads) > 1:
        return f"all its parts have one norm_eps and one number of heads, these {eps} and {heads}"
    return None


def config_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that transformers rebuilds the model from."""
    encoder, parts = description["encoder"], description["parts"]
    predictor, classifier = parts["masked_predictor"], parts.get("classifier")
    config: dict[str, Any] = {
        "architectures": ["VJEPA2ForVideoClassification" if classifier else "VJEPA2Model"],
        "model_type": "vjepa2", "dtype": "float32", "crop_size": description["size"],
        "patch_size": encoder["patch"], "tubelet_size": encoder["tubelet_frames"],
        "frames_per_clip": predictor["window"] * encoder["tubelet_frames"],
        "hidden_size": encoder["width"], "num_hidden_layers": encoder["depth"],
        "num_attention_heads": encoder["heads"], "mlp_ratio": _ratio(encoder),
        "layer_norm_eps": predictor["norm_eps"], "pred_hidden_size": predictor["width"],
        "pred_num_hidden_layers": predictor["depth"],
        "pred_num_attention_heads": predictor["heads"], "pred_mlp_ratio": _ratio(predictor),
        "pred_num_mask_tokens": predictor["mask_tokens"],
    }  # fmt: skip
    if classifier:
        names = classifier["labels"] or [f"LABEL_{k}" for k in range(classifier["classes"])]
        config["num_pooler_layers"] = classifier["depth"]
        config["id2label"] = {str(k): name for k, name in enumerate(names)}
        config["label2id"] = {name: k for k, name in enumerate(names)}
    return config


def _ratio(spec: Mapping[str, Any]) -> float:
    """The ratio that, times the width and rounded down, gives the width of the hidden layer."""
    width, wanted = spec["width"], spec.get("mlp_width")
    wanted = 4 * width if wanted is None else wanted
    ratio = wanted / width
    while int(width * ratio) < wanted:
        ratio = math.nextafter(ratio, math.inf)
    return ratio
