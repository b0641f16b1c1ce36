"""Things of one's own, each with its files and what is typed; the rows of docs/your_own.md."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Own:
    """A row of the table.

    Args:
        title: the row's first cell.
        words: what is typed besides.
        python: the content of ``NAME.py``, where the row has one.
        yaml: the path below ``conf/`` and the content of its YAML, where it has one.
        swept: what a sweep varies.
        exports: whether ``mnist-lab export`` takes it.
    """

    title: str
    words: str
    python: str = ""
    yaml: tuple[str, str] | None = None
    swept: str = "optimizer.lr=0.01,0.02"
    exports: bool = True

    @property
    def files(self) -> str:
        """The row's cell of files."""
        names = [name for name, text in (("Python", self.python), ("YAML", self.yaml)) if text]
        return f"a {' and a '.join(names)} file" if names else "none"

    @property
    def lines(self) -> int:
        """The lines that are written, without blank ones."""
        texts = [self.python, self.yaml[1] if self.yaml else ""]
        return sum(bool(line.strip()) for text in texts for line in text.splitlines())


NETWORK = """\
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, in_shape: list[int], num_classes: int, width: int) -> None:
        super().__init__()
        channels, height, length = in_shape
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * length, width),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(width, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)
"""
CLASSIFIER = """\
from torch import nn

from mnist_lab.models import Classifier


class Model(Classifier):
    def __init__(self, width: int = 8, **shared) -> None:
        super().__init__(**shared)
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, self.num_classes)
        )
        self.initialize()
"""
LIGHTNING = """\
import lightning as L
import torch
import torch.nn.functional as F
from torch import nn


class Lit(L.LightningModule):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10)
        )

    def forward(self, images):
        return self.net(images / 255)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)
"""
TEMPLATE = """\
import lightning as L
import torch.nn.functional as F
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import Accuracy


class Dense(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(784, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, 10),
        )


class Digits(L.LightningModule):
    def __init__(self, net, optimizer, scheduler) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["net"])
        self.net = net
        self.val_loss = MeanMetric()
        self.val_acc, self.test_acc = (Accuracy("multiclass", num_classes=10) for _ in range(2))

    def forward(self, images):
        return self.net(images / 255)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        logits = self(batch[0])
        self.val_loss(F.cross_entropy(logits, batch[1]))
        self.val_acc(logits, batch[1])
        self.log_dict({"val/loss": self.val_loss, "val/acc": self.val_acc})

    def test_step(self, batch, batch_idx):
        self.test_acc(self(batch[0]), batch[1])
        self.log("test/acc", self.test_acc)

    def configure_optimizers(self):
        optimizer = self.hparams.optimizer(params=self.trainer.model.parameters())
        scheduler = self.hparams.scheduler(optimizer=optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"},
        }
"""
TEMPLATES_YAML = """\
_target_: template.Digits
net:
  _target_: template.Dense
  width: 8
optimizer:
  _target_: torch.optim.Adam
  _partial_: true
  lr: 0.01
scheduler:
  _target_: torch.optim.lr_scheduler.ReduceLROnPlateau
  _partial_: true
  patience: 1
"""
DATA = """\
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 16) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        labels = torch.arange(160) % 4
        images = torch.rand(160, {shape}, generator=torch.Generator().manual_seed(0))
        images[:, 0, :4, :4] += labels[:, None, None]
        self.train = TensorDataset(images[:96], labels[:96])
        self.val = TensorDataset(images[96:128], labels[96:128])
        self.test = TensorDataset(images[128:], labels[128:])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, self.batch_size)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, self.batch_size)
"""
AUGMENTATION = """\
import torch
from torch import Tensor, nn


class Specks(nn.Module):
    def __init__(self, share: float = 0.01) -> None:
        super().__init__()
        self.share = share

    def forward(self, images: Tensor) -> Tensor:
        return images.masked_fill(torch.rand_like(images, dtype=torch.float32) < self.share, 255)
"""
OPTIMIZER = """\
import torch


class SignSGD(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 1e-3, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if "mean" not in state:
                    state["mean"] = torch.zeros_like(weight)
                state["mean"].lerp_(weight.grad, 1 - group["momentum"])
                weight.add_(state["mean"].sign(), alpha=-group["lr"])
        return loss
"""
SCHEDULE = """\
from torch.optim.lr_scheduler import LRScheduler


class Root(LRScheduler):
    def __init__(self, optimizer, after: int = 10) -> None:
        self.after = after
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [lr / (1 + self.last_epoch / self.after) ** 0.5 for lr in self.base_lrs]
"""
METRIC = """\
from torch import Tensor
from torchmetrics.classification import MulticlassRecall


class WorstClass(MulticlassRecall):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="none")

    def compute(self) -> Tensor:
        return super().compute().min()
"""
CALLBACK = """\
import lightning as L
import torch


class Noise(L.Callback):
    def __init__(self, size: float = 0.01) -> None:
        self.size = size

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        with torch.no_grad():
            for weight in pl_module.parameters():
                weight.add_(torch.randn_like(weight), alpha=self.size)
"""
LOGGER = """\
import json
from pathlib import Path

from lightning.pytorch.loggers.logger import Logger


class Lines(Logger):
    name, version = "lines", "0"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def log_hyperparams(self, params) -> None:
        pass

    def log_metrics(self, metrics, step=None) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\\n")
"""
LAUNCHER = """\
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict


class InTurn(Launcher):
    def setup(self, *, hydra_context, task_function, config) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        setup_globals()
        jobs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            loader = self.context.config_loader
            config = loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.num, config.hydra.job.id = number, str(number)
            job = run_job(
                hydra_context=self.context,
                task_function=self.task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            jobs.append(job)
        return jobs
"""
SOFTMAX = "model=softmax"
MLP = "model=mlp model.hidden_dims=[8]"
ROWS = {
    "network": Own(
        "a network, any `torch.nn.Module`",
        "model=module model.net._target_=network.Net model.net.width=8",
        NETWORK,
        swept="model.net.width=8,9",
    ),
    "classifier": Own(
        "a model with the lab's steps, a `Classifier`",
        "model=mine",
        CLASSIFIER,
        ("model/mine.yaml", "_target_: classifier.Model\nwidth: 8\n"),
        "model.width=8,9",
    ),
    "lightning_module": Own(
        "a model with steps of its own, any `LightningModule`",
        "model=mine monitor=val_loss",
        LIGHTNING,
        ("model/mine.yaml", "_target_: lightning_module.Lit\nwidth: 8\n"),
        "model.width=8,9",
        exports=False,
    ),
    "template": Own(
        "a module that is given its network and optimizer, as lightning-hydra-template has them",
        "model=mine",
        TEMPLATE,
        ("model/mine.yaml", TEMPLATES_YAML),
        "model.optimizer.lr=0.01,0.02",
        exports=False,
    ),
    "data_28": Own(
        "a data module, 28 x 28",
        f"data=mine {MLP}",
        DATA.replace("{shape}", "1, 28, 28"),
        ("data/mine.yaml", "_target_: data_28.Data\nbatch_size: 16\n"),
    ),
    "data_20": Own(
        "a data module, 20 x 20",
        f"data=mine {MLP}",
        DATA.replace("{shape}", "1, 20, 20"),
        ("data/mine.yaml", "_target_: data_20.Data\nbatch_size: 16\n"),
    ),
    "data_32": Own(
        "a data module, 3 x 32 x 32",
        "data=mine model=cnn model.channels=[4,4] model.hidden_dims=[8]",
        DATA.replace("{shape}", "3, 32, 32"),
        ("data/mine.yaml", "_target_: data_32.Data\nbatch_size: 16\n"),
    ),
    "folder": Own("images in folders", f"data=folder data.root=images data.batch_size=16 {MLP}"),
    "augmentation": Own(
        "an augmentation, any `torch.nn.Module`",
        f"data.augment=[affine,{{_target_:augmentation.Specks,share:0.05}}] {SOFTMAX}",
        AUGMENTATION,
    ),
    "optimizer": Own(
        "an optimizer",
        f"optimizer._target_=optimizer.SignSGD optimizer.momentum=0.8 {SOFTMAX}",
        OPTIMIZER,
    ),
    "schedule": Own(
        "a schedule", f"scheduler._target_=schedule.Root scheduler.after=4 {SOFTMAX}", SCHEDULE
    ),
    "metric": Own(
        "a metric", f"+metrics.worst._target_=metric.WorstClass monitor=val/worst {SOFTMAX}", METRIC
    ),
    "callback": Own("a callback", f"+callbacks.noise._target_=callback.Noise {SOFTMAX}", CALLBACK),
    "logger": Own(
        "a logger",
        f"logger=none +logger.lines._target_=logger.Lines +logger.lines.path=lines.jsonl {SOFTMAX}",
        LOGGER,
    ),
}
LAUNCHED = Own(
    "a launcher",
    "hydra/launcher=in_turn",
    LAUNCHER,
    ("hydra/launcher/in_turn.yaml", "_target_: hydra_plugins.in_turn.InTurn\n"),
)
