"""SpikeBERT: a spiking transformer for text, learned from BERT by two-stage distillation.

Letters of every shape in this package, in this order; time is always the first axis.

    T  time steps          N  tokens         H  attention heads
    B  batch (sentences)   D  width          C  classes

Importing the package is cheap: neither torch nor transformers is loaded, and it is enough for
`AutoConfig`, `AutoModel` and `AutoModelForSequenceClassification` to know the model type, whichever
of the two packages is imported first.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

if TYPE_CHECKING:
    from .models.configuration import SpikeBertConfig
    from .models.modeling import SpikeBertForSequenceClassification, SpikeBertModel

from ._version import __version__

__all__ = [
    "SpikeBertConfig",
    "SpikeBertForSequenceClassification",
    "SpikeBertModel",
    "__version__",
]

_HOMES = {
    "SpikeBertConfig": ".models.configuration",
    "SpikeBertForSequenceClassification": ".models.modeling",
    "SpikeBertModel": ".models.modeling",
}


def _register_config(_: ModuleType) -> None:
    import_module(".models.configuration", __name__)


def _register_models(_: ModuleType) -> None:
    import_module(".models.modeling", __name__)


def _register_networks(_: ModuleType) -> None:
    import_module(".models.textcnn", __name__)


# Our classes register themselves where they are defined, which happens as soon as the module that
# holds transformers' own tables of classes is loaded (now, if it is loaded already).
register_post_import_hook(_register_config, "transformers.models.auto.configuration_auto")
register_post_import_hook(_register_models, "transformers.models.auto.modeling_auto")
register_post_import_hook(_register_networks, f"{__name__}.models.modeling")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
