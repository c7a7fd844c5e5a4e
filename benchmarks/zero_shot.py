"""The embedded model without adapting, on names it never saw: `python -m benchmarks.zero_shot`.

Top-1 and top-5 on the base and the new concepts, for each style, against all names of that part. No picture of these
concepts and no clip art or stamp that names them was in its training data, and no picture in the Fluent style at all.
"""

import argparse

import torch
from benchmarks.table import machine, markdown

from overtone.data import ImageSet, emoji_part
from overtone.data.emoji import STYLES
from overtone.farl import text_states
from overtone.farl.states import image_states
from overtone.models import Backbone, load_backbone


def hits(backbone: Backbone, images: ImageSet, most: int) -> torch.Tensor:
    """Return whether the true name is first, second, ... of the `most` nearest, (pictures, most)."""
    w = text_states(backbone, images.classes, ["{}"], "cpu").frozen
    pixels = torch.stack([backbone.pixels(record.open()) for record in images.records])
    features = torch.cat([image_states(backbone, part, streams=False).frozen for part in pixels.split(64)])
    return (features @ w.T).topk(most).indices == torch.tensor(images.labels)[:, None]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    backbone = load_backbone(parser.parse_args().model)
    rows: dict[str, dict[str, list[float]]] = {}
    for part in ("base", "new"):
        for style in STYLES:
            images = emoji_part(part, [style])
            found = hits(backbone, images, 5).float()
            measures = {"top-1": found[:, 0].mean().item(), "top-5": found.sum(1).mean().item()}
            rows[f"{part}, {style} ({len(images.classes)} names)"] = {k: [v] for k, v in measures.items()}
    print(f"Zero-shot accuracy in percent; {machine()}\n")
    print(markdown("concepts, style", ["top-1", "top-5"], rows))


if __name__ == "__main__":
    main()
