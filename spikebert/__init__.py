"""SpikeBERT: a spiking transformer for text, learned from BERT by two-stage distillation.

Letters of every shape in this package, in this order; time is always the first axis.

    T  time steps          N  tokens         H  attention heads
    B  batch (sentences)   D  width          C  classes

Importing the package is cheap: neither torch nor transformers is loaded, and it is enough for
`AutoConfig`, `AutoModel` and `AutoModelForSequenceClassification` to know the model type, whichever
of the two packages is imported first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

from ._version import __version__

if TYPE_CHECKING:
    from .models.configuration import SpikeBertConfig
    from .models.modeling import SpikeBertForSequenceClassification, SpikeBertModel

__all__ = [
    "SpikeBertConfig",
    "SpikeBertForSequenceClassification",
    "SpikeBertModel",
    "__version__",
]


def _load_after(loaded: str, home: str) -> None:
    """Our classes register themselves where they are defined, which happens as soon as the module
    that holds transformers' own tables of classes is loaded (now, if it is loaded already)."""
    register_post_import_hook(lambda _: import_module(f"{__name__}.models.{home}"), loaded)


_load_after("transformers.models.auto.configuration_auto", "configuration")
_load_after("transformers.models.auto.modeling_auto", "modeling")
_load_after(f"{__name__}.models.modeling", "textcnn")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "configuration" if name == "SpikeBertConfig" else "modeling"
    return getattr(import_module(f"{__name__}.models.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
