"""Where a recipe starts: the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import Config, Count
from edgeticket.pipeline.recipe.layouts import (
    AudioConfig,
    CocoConfig,
    LetterboxConfig,
    MasksConfig,
    PairsConfig,
    SeriesConfig,
    TableConfig,
)

Sides = tuple[Count, Count]
Shape = Annotated[tuple[Count, ...], Field(max_length=7)]
LAYOUTS = ("coco", "yolo", "masks", "table", "series", "recordings", "pairs")
SOURCES = ("name", "folder", "npz", *LAYOUTS, "factory", "random")
RANDOM = 100  # examples, where a recipe says `data: random`
CHANGES = ("resize", "crop", "letterbox", "grey")  # of pictures
OWN_ONLY = ("classes", *CHANGES, "filter", "audio", "mend_boxes", "mean", "std")
UNTITLED = ("images", "pictures", "masks")  # folders whose own name says nothing
PICTURES = ("folder", "npz", "coco", "yolo", "masks", "table", "pairs", "factory")


class DataConfig(Config):
    """Which data, and how they are split. Sizes are numbers of examples.

    Exactly one of name, folder, npz, coco, yolo, masks, table, series, recordings, pairs, factory
    and random; docs/data.md shows how each lies on disk. Pictures become inputs of one size by
    resize and crop, or by letterbox.
    """

    name: str | None = Field(
        default=None,
        description="A data set that `edgeticket fetch` or a package brings, e.g. `cifar10`.",
    )
    folder: str | None = Field(
        default=None,
        description="Pictures, PATH/CLASS/*.jpg, or PATH/train/CLASS and PATH/val or PATH/test. A "
        "relative path is looked up beside the recipe, then in the current folder, then in the "
        "data folder.",
    )
    npz: str | None = Field(
        default=None,
        description="A .npz with `inputs`, uint8 [N, H, W, C], and `labels`; perhaps "
        "`test_inputs` and `test_labels`. Without labels any arrays, one for each input of the "
        "network and as it takes them, [N, C, H, W]: nothing is trained then, and reports tell "
        "fidelity. Looked up as `folder` is.",
    )
    coco: CocoConfig | None = Field(default=None, description="Boxes in a JSON file of COCO's.")
    yolo: str | None = Field(
        default=None,
        description="Boxes in YOLO's layout: a folder with images/ and labels/, each perhaps with "
        "train/, val/ and test/ in it, or these with images/ and labels/ in each. Looked up as "
        "`folder` is.",
    )
    masks: MasksConfig | None = Field(
        default=None, description="Pictures with mask pictures, for segmentation."
    )
    table: TableConfig | None = Field(
        default=None,
        description="A .csv of files and what is right for each: numbers, labels, points, classes.",
    )
    series: SeriesConfig | None = Field(
        default=None, description="A .csv of numbers in time, to foretell or to judge."
    )
    recordings: str | None = Field(
        default=None,
        description="Recordings in one folder for each class, as `folder` has pictures; see "
        "`audio`.",
    )
    pairs: PairsConfig | None = Field(
        default=None, description="Pictures and what should be made of them, e.g. enlarged."
    )
    factory: str | None = Field(
        default=None,
        description="A function of yours, package.module:function, that returns such arrays.",
    )
    random: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="So many random examples, for a network whose numbers are to be tried without "
        "any data; `data: random` is a hundred. Reports call them noise.",
    )
    takes: tuple[Shape, ...] | Shape | None = Field(
        default=None,
        description="With `random`: the shape of one input without the batch, [3, 64, 64], or a "
        "list of one for each input. Default: what the model's file or architecture says.",
    )
    args: Mapping[str, bool | int | float | str] = Field(
        default={}, description="What `factory` is given."
    )
    classes: str | None = Field(
        default=None,
        description="Which class has which number: a file with a line `folder` or `folder name` "
        "for each, or a .csv with the columns folder, index and name. Default: the folders' "
        "names in the order of the alphabet. For coco, yolo, masks and table: a line with the "
        "name of each class.",
    )
    labels: bool = Field(
        default=True,
        description="false leaves the classes of the examples aside, for a network that tells "
        "something else: nothing is trained then, and reports tell fidelity.",
    )
    resize: Annotated[int, Field(ge=1, le=4096)] | Sides | None = Field(
        default=None, description="Pixels of the shorter side, or [height, width]."
    )
    crop: Annotated[int, Field(ge=1, le=4096)] | Sides | None = Field(
        default=None,
        description="Pixels of the middle that is cut out behind `resize`: of a square's side, or "
        "[height, width]. Default: a square of `resize` pixels; behind a [height, width], nothing.",
    )
    letterbox: LetterboxConfig | None = Field(
        default=None,
        description="Instead of resize and crop: the whole picture, and filling around it.",
    )
    filter: Literal["bilinear", "bicubic"] = Field(
        default="bilinear",
        description="How `resize` and `letterbox` weigh pixels; take what the weights were trained "
        "on.",
    )
    grey: bool = Field(default=False, description="One channel instead of three.")
    audio: AudioConfig | None = Field(
        default=None, description="Of recordings, also in a table: rate, length, features."
    )
    mend_boxes: bool = Field(
        default=False,
        description="Boxes are cut at the edges of their picture, and left out where nothing is "
        "left, instead of being refused; the run says how many.",
    )
    mean: tuple[float, ...] | None = Field(
        default=None,
        description="Of pixels in 0..255, one for each channel: inputs are (x − mean) / std. "
        "Default: ImageNet's, or 127.5 for one channel.",
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None, description="As `mean`, which is given with it."
    )
    validation: Count = Field(
        default=5000,
        description="Examples on which choices are made, taken from the training set by the seed.",
    )
    calibration: Count = Field(
        default=300,
        description="Training examples that fix the int8 ranges. More than some hundred change "
        "little.",
    )
    test: Count | None = Field(
        default=None,
        description="Examples of the test set, which is read once, at the end. Default: all.",
    )
    train: Count | None = Field(
        default=None,
        description="Examples that are trained on. Default: all that are left; fewer make a quick "
        "try.",
    )

    @property
    def title(self) -> str:
        """What people call these data."""
        if self.random is not None:
            return "random numbers"
        if self.name or self.factory:
            return str(self.name or self.factory)
        path = PurePath(self.place)
        silent = ("train", "val", *(UNTITLED if self.layout else ()))
        plain = path.parent if path.name in silent and path.parent.name else path
        return plain.stem if plain.suffix in (".npz", ".csv", ".json") else plain.name

    @property
    def layout(self) -> str | None:
        """The key of a layout that is not one of class folders, or None."""
        return next((key for key in LAYOUTS if getattr(self, key) is not None), None)

    @property
    def place(self) -> str:
        """The file or folder that the data are named by."""
        if self.coco is not None:
            return self.coco.annotations
        if self.masks is not None:
            return self.masks.pictures
        if self.pairs is not None:
            return self.pairs.targets
        if self.table is not None:
            return self.table.file
        if self.series is not None:
            return self.series.file
        return str(self.folder or self.npz or self.yolo or self.recordings)

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        given = [key for key in SOURCES if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(SOURCES)}")
        if self.name is not None:
            # By value: a recipe that was written out says its defaults, too.
            fields = type(self).model_fields
            own = {
                key
                for key in (*OWN_ONLY, "args")
                if getattr(self, key) != fields[key].get_default(call_default_factory=True)
            }
            if own:
                raise ValueError(f"{sorted(own)[0]} is for data of your own, not for {self.name}")
        elif self.args and self.factory is None:
            raise ValueError("args are for a factory")
        if self.takes is not None and self.random is None:
            raise ValueError("takes is for random examples; data say it themselves")
        if self.folder is not None and not (self.resize or self.crop or self.letterbox):
            raise ValueError(
                "pictures in a folder need resize, or crop, or both, or letterbox, in pixels"
            )
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std, or neither")
        return self

    @model_validator(mode="after")
    def _pictures_change_one_way(self) -> DataConfig:
        if self.letterbox is not None and (self.resize or self.crop):
            raise ValueError("give letterbox, or resize and crop: not both")
        source = next(key for key in SOURCES if getattr(self, key) is not None)
        changes = [key for key in CHANGES if getattr(self, key)]
        if changes and source not in PICTURES and self.name is None:
            raise ValueError(f"{changes[0]} is for pictures, not for {source}")
        if self.audio is not None and source not in ("recordings", "table"):
            raise ValueError(f"audio is for recordings, or a table of them, not for {source}")
        if self.mend_boxes and source not in ("coco", "yolo"):
            raise ValueError(f"mend_boxes is for coco and yolo, not for {source}")
        if self.pairs is not None and self.letterbox is not None:
            raise ValueError("letterbox is not for pairs: give resize and crop")
        if self.pairs is not None and self.pairs.pictures is not None and self.resize is not None:
            raise ValueError("resize would make pairs.pictures anew: give crop alone, of targets")
        if isinstance(self.resize, int):
            sides = self.crop if isinstance(self.crop, tuple) else (self.crop or self.resize,)
            if max(sides) > self.resize and isinstance(self.crop, int):
                raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self
