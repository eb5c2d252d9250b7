"""What files outside the package add to a model, and which of these files a trained model needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..utils.checksums import sha256_of


class Plugin(NamedTuple):
    """A file that registered something, by its name and SHA-256."""

    name: str
    sha256: str


_FILES: dict[tuple[str, str], Plugin] = {}  # setting and value -> the file that registered it


def register(setting: str, registry: dict[str, Any], name: str, thing: Any, depth: int = 2) -> None:
    """Enter `thing` in `registry`, where `model.<setting>: <name>` finds it, and note the file that
    calls, `depth` calls up.

    Raises:
        UserError: another thing has that name.
    """
    file = Path(sys._getframe(depth).f_code.co_filename)
    plugin = None
    if file.is_file():
        plugin = Plugin(file.name, sha256_of(file))
    known = _FILES.get((setting, name))
    own = known is not None and plugin is not None and known.name == plugin.name
    if name.startswith("sj.") or (name in registry and not own):
        raise UserError(
            f"{setting} {name} of {file}",
            expected=f"a name besides {', '.join(registry)}, and none that begins with sj.",
            got=name,
            fix="give it another name",
        )
    registry[name] = thing
    if plugin is not None:
        _FILES[setting, name] = plugin


def claim(config: Any) -> None:
    """Check that the plugins which a model's configuration names are loaded, and let it name those
    that its settings need.

    Raises:
        UserError: one is missing, or is not the file that the model was trained with.
    """
    loaded = dict(_FILES.values())
    for name, sha256 in (getattr(config, "plugins", None) or {}).items():
        if loaded.get(name) != sha256:
            found = f"one with SHA-256 {loaded[name][:12]}" if name in loaded else "none loaded"
            raise UserError(
                f"plugin {name}, which this model needs",
                expected=f"the file that it was trained with, SHA-256 {sha256[:12]}",
                got=found,
                fix=f"--plugin {name}, `plugins: [{name}]` in the configuration, or import the "
                "file before the model is loaded; train again if the file has changed",
            )
    used = {
        plugin
        for (setting, name), plugin in _FILES.items()
        if getattr(config, setting, None) == name
    }
    if used:
        config.plugins = {**(getattr(config, "plugins", None) or {}), **dict(sorted(used))}
