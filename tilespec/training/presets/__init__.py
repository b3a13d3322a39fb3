"""Presets: settings of tested trainings, one TOML file each; ``preset:NAME`` names them."""

from importlib.resources import files

from tilespec.core.errors import UserError


def presets() -> list[str]:
    """Return the names of all presets."""
    return sorted(p.name.removesuffix(".toml") for p in files(__package__).iterdir() if p.name.endswith(".toml"))


def preset(name: str) -> str:
    """Return the TOML text of the preset ``name``.

    Raises:
        UserError: the preset does not exist; the message lists the presets.
    """
    if name not in presets():
        raise UserError(
            f"preset:{name}", found="an unknown preset", expected=f"one of {', '.join(presets())}", do="Check the name."
        )
    return files(__package__).joinpath(f"{name}.toml").read_text()
