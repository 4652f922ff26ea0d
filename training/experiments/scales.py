"""How much of everything a run gets: the one table of figures, and what each scale cuts, in words."""

from dataclasses import asdict, dataclass

from app.core.errors import Invalid


@dataclass(frozen=True)
class Limit:
    """How much of a dataset is used; None: all. Users are a fixed random sample, items the most popular."""

    users: int | None = None
    items: int | None = None

    def cuts(self, whose: str) -> list[str]:
        """In words."""
        said = [] if self.items is None else [f"only the {self.items:,} most popular items of {whose}"]
        if self.users is not None:
            said.append(
                f"at most {self.users:,} users of {whose}, a fixed random sample, and what they touch"
            )
        return said


@dataclass(frozen=True)
class Grid:
    """How many points a table or figure gets; it changes no single run."""

    seeds: tuple[int, ...]
    source_shares: tuple[float, ...]  # figure 6; 0 is NoPT
    target_shares: tuple[float, ...]
    bottlenecks: tuple[int, ...]  # figure 3c
    most_layers: int  # figure 3c: FTN of the top 1..n layers


ID_EPOCHS = 60
"""IDRec learns from nothing, so it needs more epochs than an adapter; they take a second each."""


@dataclass(frozen=True)
class Scale:
    """Seconds and epochs are upper bounds."""

    name: str
    source: Limit  # of each source
    target: Limit
    end_to_end: bool  # pretrain the item encoder too, not only what stands behind it
    pretrain_epochs: int
    pretrain_seconds: float
    pretrain_users: int  # a step
    pretrain_rate: float  # of what stands behind the item encoder
    pretrain_encoder_rate: float  # of the item encoder, end to end only
    epochs: int
    seconds: float  # most seconds of training a run
    batch_users: int
    patience: int
    eval_users: int | None  # validate on a sample of users; the test split is always ranked whole
    image_size: tuple[int, int]  # height, width in pixels
    top_layers: int | None  # adapt (and fine-tune) the item encoder's top layers only; those below are cached
    negative_pool: int | None  # distinct negatives a step
    grid: Grid

    def cuts(self) -> list[str]:
        """What this scale leaves out of the paper's protocol, a sentence each."""
        said = self.source.cuts("each source") + self.target.cuts("the target")
        if not self.end_to_end:
            said.append("pretraining on frozen encoder outputs: only DTL and user encoder are trained")
        said.append(f"pretraining: at most {self.pretrain_epochs} epochs and {self.pretrain_seconds:g} s")
        said.append(f"each run: at most {self.epochs} epochs and {self.seconds:g} s of training")
        if self.epochs < ID_EPOCHS:
            said.append(f"but {ID_EPOCHS} epochs for IDRec, which starts from nothing")
        if self.eval_users is not None:
            said.append(f"validation on at most {self.eval_users:,} users; the test split is ranked whole")
        if self.top_layers is not None:
            said.append(
                f"every method, FTA too, works in the item encoder's top {self.top_layers} layers; those "
                "below are frozen and run once. Prompts and VPT enter at the bottom and go through all"
            )
        if self.negative_pool is not None:
            said.append(f"a step's negatives come from {self.negative_pool} items, drawn anew each step")
        said.append(f"images of {self.image_size[0]} x {self.image_size[1]} pixels (the paper: 224 x 224)")
        return said


SMOKE = Scale(
    name="smoke",
    source=Limit(users=60, items=200),
    target=Limit(users=40, items=100),
    end_to_end=False,
    pretrain_epochs=1,
    pretrain_seconds=2,
    pretrain_users=64,
    pretrain_rate=1e-3,
    pretrain_encoder_rate=5e-5,
    epochs=1,
    seconds=1,
    batch_users=32,
    patience=1,
    eval_users=40,
    image_size=(56, 56),
    top_layers=1,
    negative_pool=16,
    grid=Grid(
        seeds=(0,),
        source_shares=(0.0, 1.0),
        target_shares=(0.5, 1.0),
        bottlenecks=(1, 128),
        most_layers=2,
    ),
)
CPU = Scale(
    name="cpu",
    source=Limit(users=6_000, items=4_000),
    target=Limit(users=1_000, items=1_000),
    end_to_end=False,
    pretrain_epochs=8,
    pretrain_seconds=60,
    pretrain_users=64,
    pretrain_rate=1e-3,
    pretrain_encoder_rate=5e-5,
    epochs=4,
    seconds=300,
    batch_users=32,
    patience=4,
    eval_users=2_000,
    image_size=(84, 56),
    top_layers=2,
    negative_pool=64,
    grid=Grid(
        seeds=(0,),
        source_shares=(0.0, 0.1, 1.0),
        target_shares=(0.1, 0.3, 1.0),
        bottlenecks=(1, 4, 16, 64, 128),
        most_layers=3,
    ),
)
GPU = Scale(
    name="gpu",
    source=Limit(),
    target=Limit(),
    end_to_end=True,
    pretrain_epochs=30,
    pretrain_seconds=14_400,
    pretrain_users=64,
    pretrain_rate=1e-3,
    pretrain_encoder_rate=5e-5,
    epochs=60,
    seconds=7_200,
    batch_users=32,
    patience=5,
    eval_users=None,
    image_size=(224, 224),
    top_layers=None,
    negative_pool=None,
    grid=Grid(
        seeds=(0, 1, 2),
        source_shares=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        target_shares=(0.2, 0.4, 0.6, 0.8, 1.0),
        bottlenecks=(1, 2, 4, 8, 16, 32, 64, 128),
        most_layers=12,
    ),
)
SCALES = {scale.name: scale for scale in (SMOKE, CPU, GPU)}


def find_scale(name: str) -> Scale:
    """A scale by its name; raises `Invalid` naming the possible ones."""
    if name not in SCALES:
        raise Invalid(f"Unknown scale '{name}'. Choose one of: {', '.join(SCALES)}.")
    return SCALES[name]


def budget(scale: Scale) -> dict[str, object]:
    """All that shapes a single run, as plain JSON values: kept beside what was measured under it."""
    fields = {k: v for k, v in asdict(scale).items() if k != "grid"}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
