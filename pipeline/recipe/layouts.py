"""How data of tasks lie on disk: keys of `data` that are more than a path."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgeticket.pipeline.recipe.config import Config, Count

Sides = tuple[Count, Count]
Side = Annotated[int, Field(ge=1, le=4096)]
Point = Annotated[int, Field(ge=0, lt=100_000)]
Columns = Annotated[tuple[str, ...], Field(min_length=1, max_length=100_000)]
Lengths = Literal["equal", "pad", "cut"]
SPEECH_HZ = 16000  # what log-mel features are made for
LENGTHS = (
    "What is done with those of another length: `equal` refuses them, `pad` appends zeros to "
    "shorter ones, `cut` does so and leaves out the end of longer ones."
)


class LetterboxConfig(Config):
    """A picture as large as fits, the rest filled: nothing is cut away or stretched."""

    size: Side | Sides = Field(description="Pixels of a square's side, or [height, width].")
    place: Literal["centre", "corner"] = Field(
        default="centre", description="Where the picture lies: in the middle, or at the top left."
    )
    fill: Annotated[int, Field(ge=0, le=255)] = Field(
        default=114, description="What is around it, in every channel."
    )

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)


class CocoPart(Config):
    """One part of a data set in COCO's layout."""

    annotations: str = Field(
        description="The JSON file: `images`, `annotations` with `bbox`, and `categories`."
    )
    pictures: str = Field(description="The folder in which its `file_name`s lie.")


class CocoConfig(CocoPart):
    """Boxes in COCO's layout: one JSON file of instances beside a folder of pictures."""

    validation: CocoPart | None = Field(
        default=None, description="Those on which choices are made. Default: taken by the seed."
    )
    test: CocoPart | None = Field(
        default=None, description="The official test set. Default: taken by the seed."
    )


class MasksConfig(Config):
    """Pictures, and for each a mask of the same name that says what every pixel is.

    Both folders may have train/, val/ and test/ in them.
    """

    pictures: str = Field(description="The folder of pictures.")
    masks: str = Field(
        description="The folder of masks: NAME.png for each picture NAME, of the same size; grey "
        "values or the numbers of a palette are classes."
    )
    colours: str | None = Field(
        default=None,
        description="Where masks are drawn in colours: a .csv with the columns name, r, g, b and "
        "perhaps index, the class of each colour; 255 is one that does not count.",
    )


class TableConfig(Config):
    """A .csv file with a row for each picture or recording, and what is right for it in columns."""

    file: str = Field(description="The .csv file; its first line names the columns.")
    folder: str = Field(description="The folder in which the files of its rows lie.")
    names: str = Field(default="file", description="The column with the names of files.")
    targets: Columns = Field(
        description="The columns of what is right. `numbers`: one for each number. `labels`: one "
        "for each label, 1, 0, or nothing where it is not known. `keypoints`: x and y of "
        "each point in pixels, in turns; nothing where a point cannot be seen. `embeddings`: "
        "one that says who or what it is. `anomaly`: one with 1 or 0. Classes: one with their "
        "names."
    )
    swap: tuple[tuple[Point, Point], ...] = Field(
        default=(),
        description="Of `keypoints`: pairs of points, counted from 0, that change places in a "
        "mirror, such as the left and the right eye.",
    )
    split: str | None = Field(
        default=None,
        description="A column that says train, validation or test. Default: split by the seed.",
    )


class SeriesConfig(Config):
    """Numbers in time: a .csv file with a row for each step, in the order of time.

    To foretell, give `past` and `future`. To tell something of each series, give `series` and
    `targets`, columns that are the same in all rows of a series.
    """

    file: str = Field(description="The .csv file; its first line names the columns.")
    channels: Columns = Field(description="The columns that go into the network.")
    series: str | None = Field(
        default=None,
        description="The column that says which rows are one series. Default: all are one.",
    )
    past: Count | None = Field(default=None, description="Steps that the network sees.")
    future: Count | None = Field(default=None, description="Steps that it foretells.")
    every: Count = Field(default=1, description="Steps from one window of those to the next.")
    targets: Columns | None = Field(
        default=None,
        description="The columns that are foretold, by default `channels`; or what is right for a "
        "whole series, as in `table`.",
    )
    length: Count | None = Field(
        default=None, description="Steps of a whole series. Default: those of the first."
    )
    lengths: Lengths = Field(default="equal", description=LENGTHS)
    layout: Literal["channels_first", "time_first"] = Field(
        default="channels_first",
        description="What the network takes: [N, channels, steps], as convolutions do, or "
        "[N, steps, channels], as recurrent layers with `batch_first` do.",
    )
    split: str | None = Field(
        default=None,
        description="Of whole series: a column that says train, validation or test. Default: by "
        "the seed. Windows are split by time: the last fifth of each series is for the test, a "
        "tenth before it for validation.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> SeriesConfig:
        if (self.past is None) != (self.future is None):
            raise ValueError("give both past and future, or neither")
        if self.past is None and (self.series is None or self.targets is None):
            raise ValueError(
                "give past and future, to foretell, or series and targets, to tell something of "
                "each series"
            )
        if self.past is not None and (self.split is not None or self.length is not None):
            raise ValueError("split and length are for whole series; windows are split by time")
        return self


class AudioConfig(Config):
    """How recordings (.wav, .flac) become inputs of one length."""

    rate_hz: Count = Field(default=16000, description="Samples per second that they must have.")
    seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=1.0, description="How long an input is."
    )
    lengths: Lengths = Field(default="pad", description=LENGTHS)
    features: Literal["log_mel", "log_mel_1d", "waveform"] = Field(
        default="log_mel",
        description="What the network takes: 40 log-mel energies every 20 ms as a picture "
        "[N, 1, frames, 40] or as channels [N, 40, frames], or samples in −1..1, [N, 1, samples].",
    )

    @model_validator(mode="after")
    def _features_are_of_one_rate(self) -> AudioConfig:
        if self.features != "waveform" and self.rate_hz != SPEECH_HZ:
            raise ValueError(
                f"{self.features} is for {SPEECH_HZ} samples per second: resample the recordings, "
                "or take features: waveform"
            )
        return self


class PairsConfig(Config):
    """Pictures, and the pictures that a network should make of them.

    Folders may have train/, val/ and test/ in them.
    """

    targets: str = Field(
        description="The folder of pictures as they should be; `resize` and `crop` change these."
    )
    pictures: str | None = Field(
        default=None,
        description="The folder of those that go in, under the same names, each side `factor` "
        "times smaller. Default: they are made of `targets`, by `filter`.",
    )
    factor: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="How many times smaller each side of what goes in is."
    )

    @model_validator(mode="after")
    def _something_changes(self) -> PairsConfig:
        if self.pictures is None and self.factor == 1:
            raise ValueError(
                "without pictures that go in, give factor: how much smaller they are made"
            )
        return self
