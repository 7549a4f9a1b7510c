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
    with ThreadPoolExecutor(1) as pool:
        with only_one(tmp_path / "data"):
            waiting = pool.submit(enter, tmp_path / "data", say_after_s=0)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            assert enter(tmp_path / "other") == "in"
        assert waiting.result() == "in"
    assert capfd.readouterr().err.count("data: another process is writing there") == 1
    assert not (tmp_path / "data").exists()


def test_another_name_of_the_folder_is_the_same_folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with ThreadPoolExecutor(1) as pool:
        with only_one(tmp_path / "link"):
            waiting = pool.submit(enter, tmp_path / "data")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        assert waiting.result() == "in"


def test_a_killed_process_holds_nothing(tmp_path):
    script = "import sys\nfrom scapes.files import only_one\nwith only_one(sys.argv[1]): print(flush=True), input()"
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with ThreadPoolExecutor(1) as pool:
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
