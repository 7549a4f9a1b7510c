"""Two writers of one folder: the second waits, says so, and gets its turn however the first one ends."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from scapes.files import only_one


def enter(folder, **options):
    with only_one(folder, **options):
        return "in"


def test_waits_and_says_so(tmp_path, capfd):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with ThreadPoolExecutor(1) as pool:
        for name in ("data", "link"):  # two names of one folder
            with only_one(tmp_path / name):
                waiting = pool.submit(enter, tmp_path / "data", say_after_s=0)
                with pytest.raises(TimeoutError):
                    waiting.result(timeout=0.5)
                assert enter(tmp_path / "other") == "in"
            assert waiting.result() == "in"
    assert capfd.readouterr().err.count("data: another process is writing there") == 2
    assert list((tmp_path / "data").iterdir()) == [] and not (tmp_path / "other").exists()


def test_a_killed_process_holds_nothing(tmp_path):
    script = "import sys\nfrom scapes.files import only_one\nwith only_one(sys.argv[1]): print(flush=True), input()"
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ThreadPoolExecutor(1) as pool, subprocess.Popen(command, **pipes) as process:
        process.stdout.readline()
        waiting = pool.submit(enter, tmp_path / "data")
        try:
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        finally:
            process.kill()
        assert waiting.result() == "in"


def test_parent_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("scapes.files.os.open", refuse)
    assert enter(tmp_path / "data") == "in"
