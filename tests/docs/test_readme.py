"""Every example in the README runs as it stands, with the embedded model, in a real shell."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import SIZE, build_clip, clip_tokenizer
from transformers import CLIPImageProcessorPil

from overtone.data import ImageSet, emoji_part
from overtone.data.emoji import STYLES

README = (Path(__file__).parents[2] / "README.md").read_text()
ENVIRONMENT = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}


def own() -> dict[str, str]:
    """Return a shell's environment with the cache of the tests."""
    return ENVIRONMENT | {"OVERTONE_CACHE": os.environ["OVERTONE_CACHE"]}


def blocks(language: str) -> list[str]:
    """Return the README's blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def write_pictures(folder: Path, images: ImageSet, names: dict[str, str]) -> None:
    """Write emoji into class folders; `names` maps an emoji's name to its folder's."""
    for number, record in enumerate(images.records):
        if (name := images.classes[record.label]) in names:
            (folder / names[name]).mkdir(parents=True, exist_ok=True)
            record.open().save(folder / names[name] / f"{number}.png")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the README's examples name."""
    folder = tmp_path_factory.mktemp("desk")
    emoji = emoji_part("pretrain", STYLES)
    names = {"cat face": "cat", "dog face": "dog", "horse face": "horse"} | {n: n for n in emoji.classes[100:103]}
    other = "fluent"
    write_pictures(folder / "my-pictures", emoji_part("pretrain", [s for s in STYLES if s != other]), names)
    write_pictures(folder / "other-pictures", emoji_part("pretrain", [other]), names)
    shutil.copytree(folder / "other-pictures", folder / "new-pictures")
    pictures = sorted((folder / "my-pictures").rglob("*.png"))
    Image.open(io.BytesIO(pictures[0].read_bytes())).convert("RGB").resize((300, 200)).save(folder / "holiday.jpg")
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in pictures]
    (folder / "labels.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    write_clip(folder / "my-clip")
    write_pairs(folder / "my-pairs", emoji)
    rng = np.random.default_rng(0)
    sentences = [f"This is file number {i}.\tDies ist Datei Nummer {i}.\n" for i in range(200)]
    (folder / "sentences.tsv").write_text("".join(["en\tde\n", *sentences]))
    np.savez(folder / "embeddings.npz", image=rng.normal(size=(200, 16)), text=rng.normal(size=(200, 16)))
    return folder


def write_pairs(folder: Path, images: ImageSet) -> None:
    """Write emoji, each beside its name."""
    folder.mkdir()
    for number, record in enumerate(images.records[:200]):
        record.open().save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(images.classes[record.label] + "\n")


def write_clip(folder: Path) -> None:
    """Save a tiny CLIP of random weights with all that belongs to it."""
    build_clip().save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    crop = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=crop).save_pretrained(folder)


@pytest.mark.timeout(900)  # a dozen commands, each of which has 200 seconds
def test_every_shell_example_runs_and_says_something_sensible(desk: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("overtone ")]
    assert len(lines) >= 8
    for line in lines:
        done = subprocess.run(line, shell=True, cwd=desk, env=own(), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), line
        assert "Traceback" not in done.stderr
    assert {path.name for path in (desk / "runs" / "my-pictures-1").iterdir()} >= {"report.html", "adapter.safetensors"}


def test_the_python_examples_run(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (desk / "runs" / "my-pictures-1").exists():
        subprocess.run("overtone adapt my-pictures", shell=True, cwd=desk, env=own(), check=True, timeout=200)
    monkeypatch.chdir(desk)
    names: dict[str, object] = {}
    exec("\n".join(blocks("python")), names)
    assert names["probabilities"].shape[0] == 1  # type: ignore[attr-defined]
    assert names["unseen"].shape == (1, 2)  # type: ignore[attr-defined]


def test_what_the_readme_links_to_is_there() -> None:
    root = Path(__file__).parents[2]
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for file, _, anchor in links:
        assert (root / file).is_file(), file
        if anchor:
            headings = re.findall(r"^#+ (.+)$", (root / file).read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
