"""A bare `sae.pt`: a state dict with the names of any of the other layouts.

What fires is said by a k in a `cfg.json` beside it, else by a threshold in the file, else by a k in
the file.
"""

from rewardscope.errors import BadRecord
from rewardscope.sae.formats import CONFIG, Found
from rewardscope.sae.formats.configs import BareConfig, read_config
from rewardscope.sae.formats.weights import build_sae, read_weights, whole_number
from rewardscope.sae.model.inference import Sae


def read(found: Found) -> Sae:
    """Read one SAE. Raises: BadRecord where neither k nor threshold is said."""
    beside = found.weights.parent / CONFIG
    config = read_config(beside, BareConfig) if beside.is_file() else BareConfig()
    state = read_weights(found.weights)
    k, threshold = config.k, state.get("threshold")
    activation: str = "topk"
    # below 0: dictionary_learning's mark for one never set
    if k is None and threshold is not None and float(threshold.max()) >= 0:
        activation = "batchtopk" if threshold.ndim == 0 else "jumprelu"
    else:
        threshold = None
        if k is None and "k" in state:
            k = whole_number(state, "k", found.weights)
        if k is None:
            raise BadRecord(
                f'{found.weights} has no k and no threshold; put {{"k": 32}} into a {CONFIG}'
                " beside it"
            )
    return build_sae(
        state,
        found.weights,
        layer=found.layer,
        activation=activation,
        k=k,
        threshold=threshold,
        subtracts_b_dec=config.apply_b_dec_to_input,
        info={"imported_from": found.weights.name},
    )
