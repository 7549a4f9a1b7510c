"""README's numbers are those of the files beside its pictures."""

import importlib.util
import re
import shutil

import pytest

from synlib.profile import ROOT

spec = importlib.util.spec_from_file_location("readme", ROOT / "packaging" / "readme.py")
readme = importlib.util.module_from_spec(spec)
spec.loader.exec_module(readme)


def test_readme_shows_the_numbers_and_pictures_that_are_in_figures():
    assert readme.main(["--check"]) == 0
    shown = re.findall(r"\]\((figures/[^)]*)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown and all((ROOT / path).is_file() for path in shown)
    for path in ROOT.glob("*.md"):  # no mark of a conflict is left
        assert not re.search("^(<{7}|={7}|>{7})", path.read_text(encoding="utf-8"), re.MULTILINE), path


@pytest.mark.parametrize(("name", "number"), [("claims.csv", ",holds,"), ("readme.csv", "14"), ("readme.json", "30")])
def test_a_number_that_differs_is_told(tmp_path, capsys, name, number):
    for path in [ROOT / "README.md", *(ROOT / "figures").glob("*.[cj]s*")]:
        (tmp_path / "figures").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path if path.suffix == ".md" else tmp_path / "figures")
    file, check = tmp_path / "figures" / name, ["--check", "--root", str(tmp_path)]
    assert readme.main(check) == 0
    file.write_text(file.read_text().replace(number, ",does not hold," if "holds" in number else "77", 1))
    assert readme.main(check) == 1
    assert f"{tmp_path}/README.md: its numbers are not those of figures/" in capsys.readouterr().err
