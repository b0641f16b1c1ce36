"""The records: recipe, seeds, target, published figure with its protocol, and the search."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One record.

    Args:
        name: of its recipe in conf/experiment.
        what: the class of models that it is the record of.
        target: mean test accuracy to reach.
        anchor: the published figure, in per cent; None where there is none.
        protocol: how that figure was had, in words.
        chosen: the same as one of ``CHOSEN``, by which it is marked in the picture.
        seeds: how many are asked for.
        search: overrides of the sealed sweep on validation that its settings are chosen by; none
            where they are those of another record.
    """

    name: str
    what: str
    target: float
    anchor: float | None
    protocol: str
    chosen: str = "not said"
    seeds: int = 10
    search: str = ""


CHOSEN = ("mean of runs", "best by test images", "not said")
_VALIDATED = "data.val_size=5000"

RECORDS = {
    record.name: record
    for record in (
        Record(
            "record_softmax",
            "softmax regression",
            0.927,
            92.4,
            "textbook figure of one run; how it was chosen is not said",
            search=f"{_VALIDATED} optimizer.lr=1e-3,3e-3,1e-2 model.label_smoothing=0,0.05,0.1 "
            "optimizer.weight_decay=0,1e-4 data.batch_size=128,512 hydra/launcher=fused",
        ),
        Record(
            "record_mlp",
            "MLP that knows no neighbouring pixels (permutation invariant), no augmentation",
            0.990,
            98.92,
            "published mean; 99.43 of a ladder network was tuned on test",
            "mean of runs",
            seeds=5,
            search=f"{_VALIDATED} model.noise=0.2,0.3",
        ),
        Record(
            "record_1k",
            "at most 1,000 parameters",
            0.986,
            98.0,
            "575 weights that are not zero, one hand-picked seed",
            "best by test images",
            seeds=5,
            search=f"{_VALIDATED} trainer.max_epochs=10 optimizer.lr=2e-2,4e-2 "
            "model.activation=relu,silu model.pool=[2,2,1,1],[2,1,2,1]",
        ),
        Record(
            "record_8k",
            "at most 8,000 parameters, 15 epochs",
            0.994,
            99.4,
            "a course's exercise: the best epoch on test has to pass it",
            "best by test images",
            search=f"{_VALIDATED} data.batch_size=64,128 data.augment="
            "[{name:affine,degrees:7,shift:0.05,zoom:0.05,shear:0.05}],[affine]",
        ),
        Record(
            "speedrun",
            "the fewest seconds that reach 99.0 %",
            0.990,
            99.0,
            "0.76 s on a GTX 1660 Ti, tuned on test",
            "best by test images",
            seeds=20,
            search="trainer.limit_val_batches=1.0 seed=1,2,3 data.batch_size=128,256 "
            "trainer.limit_train_batches=0.55,0.65,0.75 model.kernel_size=3,[5,3,3]",
        ),
        Record(
            "speedrun_995",
            "the fewest seconds that reach 99.5 %",
            0.995,
            None,
            "none known",
            search=f"{_VALIDATED} optimizer.lr=1e-2,2e-2 trainer.max_epochs=6,9,12",
        ),
        Record(
            "record_cnn",
            "one CNN",
            0.9965,
            99.641,
            "mean of 1,500 runs, standard deviation 0.047; 99.75 is the median of 3 runs of a "
            "ResNet of 20 layers with cutout",
            "mean of runs",
            search=f"{_VALIDATED} trainer.max_epochs=10 model.dropout=0,0.3 "
            "model.label_smoothing=0,0.1 data.augment="
            "[{name:affine,degrees:7,shift:0.05,zoom:0.05,shear:0.05}],[affine]",
        ),
        Record(
            "record_mlp_augmented",
            "MLP, affine and elastic augmentation",
            0.995,
            99.65,
            "best epoch on test of one run, 12 million weights (Ciresan 2010)",
            "best by test images",
            seeds=5,
            search=f"{_VALIDATED} trainer.max_epochs=20 "
            "optimizer.lr=1e-3,3e-3,1e-2 model.dropout=0,0.1",
        ),
        Record(
            "record_ensemble",
            "mean of 10 CNNs' probabilities",
            0.9975,
            99.745,
            "mean of 100 ensembles of 15 nets, standard deviation 0.020",
            "mean of runs",
            seeds=1,
        ),
    )
}
MEMBER, MEMBERS = "record_cnn", 10  # of an ensemble: its runs with ten seeds in a row
