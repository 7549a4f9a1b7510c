"""A small PEP 517 build backend: Detectron2 0.6 as a pure-Python wheel, from the source distribution on PyPI.

Fetch the source distribution with pip, check its SHA-256, leave the extension out, add the stub `_C.py`, apply the
list in `fixes.py`, write the wheel. Nothing is compiled, and PyTorch is not needed.
"""

import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from fixes import FixError, apply_fixes

HERE = Path(__file__).resolve().parent
NAME, VERSION = "detectron2", "0.6"
SDIST, SDIST_VERSION = "pb1-detectron2", "0.6"
SDIST_SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
SDIST_VARIABLE = "DETECTRON2_SDIST"
DIST_INFO = f"{NAME}-{VERSION}.dist-info"
WHEEL = f"{NAME}-{VERSION}-py3-none-any.whl"

# As in Detectron2's own setup.py: small projects are installed below detectron2.projects.
PROJECTS = {
    "projects/PointRend/point_rend/": "detectron2/projects/point_rend/",
    "projects/DeepLab/deeplab/": "detectron2/projects/deeplab/",
    "projects/Panoptic-DeepLab/panoptic_deeplab/": "detectron2/projects/panoptic_deeplab/",
}

# What its modules import. Its setup.py also asks for black, future and pydot (used by no module here but the printing
# of lazy configurations and the Caffe2 export), and holds back iopath, which PyTorch 2 does not need.
DEPENDENCIES = (
    "cloudpickle",
    "fvcore>=0.1.5,<0.1.6",
    "hydra-core>=1.1",
    "iopath>=0.1.7,<0.2",
    "matplotlib",
    "numpy>=2",
    "omegaconf>=2.1",
    "Pillow>=10",
    "pycocotools>=2.0.2",
    "PyYAML",
    "tabulate",
    "tensorboard",
    "termcolor>=1.1",
    "torch>=2.0",
    "torchvision",
    "tqdm>4.29.0",
    "yacs>=0.1.8",
)

METADATA = "\n".join(
    (
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {VERSION}",
        "Summary: Detectron2 without its compiled extension, for current NumPy, Pillow and PyTorch",
        "Home-page: https://github.com/facebookresearch/detectron2",
        "Author: FAIR",
        "License: Apache-2.0",
        "License-File: LICENSE",
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: {dependency}" for dependency in DEPENDENCIES),
        "",
    )
)
WHEEL_INFO = "Wheel-Version: 1.0\nGenerator: packaging/detectron2\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class BuildError(RuntimeError):
    """Why the wheel cannot be built, and what to do about it."""


# ---- hooks called by pip -------------------------------------------------------------------------------------------


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: dict | None = None) -> str:
    """Write the wheel's metadata, which needs no download; return the name of its folder."""
    folder = Path(metadata_directory, DIST_INFO)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(METADATA)
    (folder / "WHEEL").write_text(WHEEL_INFO)
    return DIST_INFO


def build_wheel(
    wheel_directory: str, config_settings: dict | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel in ``wheel_directory``; return its name."""
    try:
        content = wheel_bytes(read_sdist())
    except (BuildError, FixError) as error:
        raise SystemExit(f"detectron2: {error}") from None  # pip shows the sentence alone, without a traceback
    Path(wheel_directory, WHEEL).write_bytes(content)
    return WHEEL


def build_sdist(sdist_directory: str, config_settings: dict | None = None) -> str:
    """Not offered: this folder is the source."""
    raise SystemExit("detectron2: only a wheel can be built: use `pip wheel --no-deps ./packaging/detectron2`.")


# ---- source distribution -> wheel ----------------------------------------------------------------------------------


def read_sdist() -> bytes:
    """Return the source distribution, from the file that $DETECTRON2_SDIST names or through pip; raises BuildError."""
    path = os.environ.get(SDIST_VARIABLE)
    if path and not Path(path).is_file():
        raise BuildError(f"{SDIST_VARIABLE} names {path}, which is not a file: unset it, or name the {SDIST} sdist.")
    if path:
        return checked(Path(path).read_bytes(), path)
    with tempfile.TemporaryDirectory() as folder:
        found = download(Path(folder))
        return checked(found.read_bytes(), found.name)


def checked(content: bytes, origin: str) -> bytes:
    """Return ``content`` if its SHA-256 is the expected one; raises BuildError."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != SDIST_SHA256:
        raise BuildError(
            f"{origin} has the SHA-256 {digest}, expected {SDIST_SHA256}: it is not {SDIST} {SDIST_VERSION} as "
            "published. Delete that file and download it again."
        )
    return content


def download(folder: Path) -> Path:
    """Let pip fetch the source distribution into ``folder``, through its mirrors and cache; raises BuildError."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{SDIST}=={SDIST_VERSION} --hash=sha256:{SDIST_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "--dest", str(folder), "-r", str(requirements)]
    # What the pip around this build told its own child about the build backend must not reach the one started here.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("_PYPROJECT_HOOKS_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE / "standin"), os.environ.get("PYTHONPATH"))))
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    archives = list(folder.glob("*.tar.gz"))
    if run.returncode == 0 and len(archives) == 1:
        return archives[0]
    output = run.stdout + run.stderr
    if "DO NOT MATCH THE HASHES" in output:
        raise BuildError(
            f"the {SDIST} {SDIST_VERSION} that pip found does not have the SHA-256 {SDIST_SHA256}: the package index "
            "or a folder in PIP_FIND_LINKS serves another file. Correct that, and run the command again."
        )
    raise BuildError(
        f"pip could not download {SDIST} {SDIST_VERSION}. Check the network and run the command again; without a "
        f"network, put pb1-detectron2-0.6.tar.gz in a folder named by PIP_FIND_LINKS, or name the file itself in "
        f"{SDIST_VARIABLE}. pip's last words:\n{output.strip()[-1500:]}"
    )


def wheel_files(sdist: bytes) -> dict[str, bytes]:
    """Return the wheel's own files (path -> content): modules, model-zoo configurations and the stub, fixes applied."""
    files, licence = {}, None
    with tarfile.open(fileobj=io.BytesIO(sdist)) as archive:
        for member in archive:
            _, _, path = member.name.partition("/")
            if not member.isfile():
                continue
            for source, target in PROJECTS.items():
                if path.startswith(source):
                    path = target + path.removeprefix(source)
            if path.startswith("detectron2/") and path.endswith((".py", ".yaml")):
                files[path] = archive.extractfile(member).read()
            elif path == "LICENSE":
                licence = archive.extractfile(member).read()
    if licence is None:
        raise BuildError(f"{SDIST} {SDIST_VERSION} holds no LICENSE: it is not the expected source distribution.")
    files = apply_fixes(files)
    files["detectron2/_C.py"] = (HERE / "files" / "_C.py").read_bytes()
    files[f"{DIST_INFO}/licenses/LICENSE"] = licence
    return files


def wheel_bytes(sdist: bytes) -> bytes:
    """Return the whole wheel; the same source distribution gives the same bytes."""
    files = dict(sorted(wheel_files(sdist).items()))
    files[f"{DIST_INFO}/METADATA"] = METADATA.encode()
    files[f"{DIST_INFO}/WHEEL"] = WHEEL_INFO.encode()
    record = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{DIST_INFO}/RECORD"] = "\n".join((*record, f"{DIST_INFO}/RECORD,,", "")).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, date_time=(2021, 11, 15, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
