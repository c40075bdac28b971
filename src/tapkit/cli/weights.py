"""`tapkit weights`: fetch, convert, check and average checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim
from tapkit.errors import WeightsError

weights_app = typer.Typer(
    help="Fetch, convert, check and average weights.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # as all other commands print their help
)


@weights_app.command()
def fetch(model: Annotated[str, typer.Argument(help="Registry id.")]) -> None:
    """Download the official checkpoint (or say where it lies already)."""
    from tapkit import registry, weights

    card = registry.card(model)
    if not card.needs_weights:
        print(f"{model} needs no weights")
        return
    print(weights.obtain(card, o.Download(model)))
    if card.backbone is not None:
        found = weights.find_backbone(card.backbone)
        if found is None:
            raise WeightsError(weights.backbone_needed(card))
        print(found)


@weights_app.command()
def where() -> None:
    """Print the folders in which weights are looked for, first match first."""
    from tapkit import weights

    for folder in [*weights.offline_folders(), weights.cache_folder() / "weights"]:
        print(folder)


@weights_app.command()
def convert(
    model: Annotated[str, typer.Argument(help="Registry id the checkpoint belongs to.")],
    checkpoint: Annotated[Path, typer.Argument(help="The authors' file (.pth, .pt, .ckpt, .npy, .npz).")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="[the same name, .safetensors]")] = None,
    force: Force = False,
) -> None:
    """Convert a checkpoint to safetensors, keeping the authors' names; it is checked against the model first."""

    from tapkit import registry, storage, weights

    target = output or checkpoint.with_suffix(".safetensors")
    claim(target, inputs=[checkpoint], force=force)
    state = weights.read(checkpoint)
    registry.build(model, weights.with_backbone(registry.card(model), state))  # raises if these are not its weights
    with storage.atomic(target) as part:
        storage.write_tensors(part, {name: tensor.contiguous().clone() for name, tensor in state.items()})
        part.chmod(0o644)  # safetensors writes for the owner alone
    print(f"{target}: {len(state)} tensors, SHA-256 {weights.sha256(target)}")


@weights_app.command()
def check(
    model: Annotated[str, typer.Argument(help="Registry id.")],
    checkpoint: Annotated[Path | None, typer.Argument(help="A file; default: the one that would be used.")] = None,
) -> None:
    """Say whether a checkpoint is whole and belongs to the model."""
    from tapkit import registry, weights

    path = checkpoint or weights.obtain(registry.card(model))
    registry.build(model, weights.with_backbone(registry.card(model), weights.read(path)))
    print(f"{path}: fits {model}, SHA-256 {weights.sha256(path)}")


@weights_app.command()
def average(
    first: Annotated[Path, typer.Argument(help="Weights of strand.")],
    second: Annotated[Path, typer.Argument(help="Others, for instance the first trained further.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .safetensors file; its card is written beside it.")],
    share: Annotated[float, typer.Option("--share", min=0.0, max=1.0, help="Of the second.")] = 0.5,
    force: Force = False,
) -> None:
    """Average two trainings of one network: what was fine-tuned keeps more of what it could do before."""
    from tapkit.train.export import average_weights

    inputs = [first, second, first.with_suffix(".json"), second.with_suffix(".json")]
    claim(output, output.with_suffix(".json"), inputs=inputs, force=force)
    path, card = average_weights(first, second, share, output)
    print(f"wrote {path} and {card.name}")
