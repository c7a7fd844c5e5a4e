"""The fifteen data sets as a table: where they stand under one root, how they are laid out, and how many pictures.

Layout, splits, templates and names are those of CoOp (Zhou et al. 2022, arXiv 2109.01134): its DATASETS.md says how to
obtain each, its appendix counts the pictures. Nothing is downloaded here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Layout = Literal["split", "aircraft", "imagenet", "synsets", "numbers"]
PHOTO = "a photo of a {}."
GUIDE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
CLASS_NAMES = "classnames.txt"  # a synset and its name a line, in the order of ImageNet's labels


@dataclass(frozen=True)
class Published:
    """One data set as published."""

    name: str
    folder: str  # under the root
    pictures: str  # under the folder: where the split's paths start
    layout: Layout
    classes: int
    counts: Mapping[str, int]  # pictures by split
    where: tuple[str, ...]  # it is published
    split: str = ""  # the file of the split, and
    split_at: str = ""  # its id on drive.google.com
    template: str = PHOTO
    renames: Mapping[str, str] = field(default_factory=dict)  # class names as they are put into words
    dropped: tuple[str, ...] = ()  # class folders that do not count

    @property
    def files(self) -> tuple[str, ...]:
        """Files and folders that must be there, under the folder."""
        own: Mapping[Layout, tuple[str, ...]] = {
            "split": (self.split,),
            "aircraft": ("variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test"))),
            "imagenet": (CLASS_NAMES, f"{self.pictures}/train", f"{self.pictures}/val"),
        }
        return (*own.get(self.layout, ()), self.pictures)

    def name_of(self, name: str) -> str:
        """Return a class's name as it goes into a template."""
        return self.renames.get(name, name).replace("_", " ")


def _counts(*numbers: int) -> dict[str, int]:
    return dict(zip(("train", "val", "test"), numbers, strict=True))


def _tests(number: int) -> dict[str, int]:
    return {"test": number}


PUBLISHED = (
    Published(
        "ImageNet", "imagenet", "images", "imagenet", 1000,
        {"train": 1_281_167, "test": 50_000},  # its validation pictures are the tests, as everywhere in the field
        ("https://image-net.org", "https://drive.google.com/file/d/1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF (classnames.txt)"),
    ),
    Published(
        "Caltech101", "caltech-101", "101_ObjectCategories", "split", 100, _counts(4_128, 1_649, 2_465),
        ("http://www.vision.caltech.edu/Image_Datasets/Caltech101/101_ObjectCategories.tar.gz",),
        "split_zhou_Caltech101.json", "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN",
        renames={"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"},
        dropped=("BACKGROUND_Google", "Faces_easy"),
    ),
    Published(
        "OxfordPets", "oxford_pets", "images", "split", 37, _counts(2_944, 736, 3_669),
        ("https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",),
        "split_zhou_OxfordPets.json", "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs",
        "a photo of a {}, a type of pet.",
    ),
    Published(
        "StanfordCars", "stanford_cars", "", "split", 196, _counts(6_509, 1_635, 8_041),
        (
            "http://ai.stanford.edu/~jkrause/car196/cars_train.tgz",
            "http://ai.stanford.edu/~jkrause/car196/cars_test.tgz",
        ),
        "split_zhou_StanfordCars.json", "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT",
    ),
    Published(
        "Flowers102", "oxford_flowers", "jpg", "split", 102, _counts(4_093, 1_633, 2_463),
        ("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",),
        "split_zhou_OxfordFlowers.json", "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT",
        "a photo of a {}, a type of flower.",
    ),
    Published(
        "Food101", "food-101", "images", "split", 101, _counts(50_500, 20_200, 30_300),
        ("https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",),
        "split_zhou_Food101.json", "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl",
        "a photo of {}, a type of food.",
    ),
    Published(
        "FGVCAircraft", "fgvc_aircraft", "images", "aircraft", 100, _counts(3_334, 3_333, 3_333),
        ("https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz (its folder data)",),
        template="a photo of a {}, a type of aircraft.",
    ),
    Published(
        "SUN397", "sun397", "SUN397", "split", 397, _counts(15_880, 3_970, 19_850),
        ("http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",),
        "split_zhou_SUN397.json", "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq",
    ),
    Published(
        "DTD", "dtd", "images", "split", 47, _counts(2_820, 1_128, 1_692),
        ("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
        "split_zhou_DescribableTextures.json", "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x",
        "{} texture.",
    ),
    Published(
        "EuroSAT", "eurosat", "2750", "split", 10, _counts(13_500, 5_400, 8_100),
        ("http://madm.dfki.de/files/sentinel/EuroSAT.zip",),
        "split_zhou_EuroSAT.json", "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o",
        "a centered satellite photo of {}.",
        renames={
            "AnnualCrop": "Annual Crop Land",
            "HerbaceousVegetation": "Herbaceous Vegetation Land",
            "Highway": "Highway or Road",
            "Industrial": "Industrial Buildings",
            "Pasture": "Pasture Land",
            "PermanentCrop": "Permanent Crop Land",
            "Residential": "Residential Buildings",
            "SeaLake": "Sea or Lake",
        },
    ),
    Published(
        "UCF101", "ucf101", "UCF-101-midframes", "split", 101, _counts(7_639, 1_898, 3_783),
        ("https://drive.google.com/file/d/10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O (the middle frame of each video)",),
        "split_zhou_UCF101.json", "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y",
        "a photo of a person doing {}.",
    ),
    Published(
        "ImageNet-V2", "imagenetv2", "imagenetv2-matched-frequency-format-val", "numbers", 1000, _tests(10_000),
        ("https://github.com/modestyachts/ImageNetV2",),
    ),
    Published(
        "ImageNet-Sketch", "imagenet-sketch", "images", "synsets", 1000, _tests(50_889),
        ("https://github.com/HaohanWang/ImageNet-Sketch",),
    ),
    Published(
        "ImageNet-A", "imagenet-adversarial", "imagenet-a", "synsets", 200, _tests(7_500),
        ("https://github.com/hendrycks/natural-adv-examples",),
    ),
    Published(
        "ImageNet-R", "imagenet-rendition", "imagenet-r", "synsets", 200, _tests(30_000),
        ("https://github.com/hendrycks/imagenet-r",),
    ),
)  # fmt: skip


def find_published(name: str) -> Published | None:
    """Return the data set called `name`, in any case and with or without - and _; None where there is none."""
    return next((one for one in PUBLISHED if _plain(one.name) == _plain(name)), None)


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()
