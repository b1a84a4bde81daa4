"""ReasonFlux-PRM-7B: the architecture, step tag and read-out of the Qwen family, asked without a
system message.

The chat form of the model's own tokenizer decides what then stands before the user's turn.
ReasonFlux-PRM-1.5B is another model, one score for a whole text, and is not served.
Source: the model card; Zou et al. 2025, arXiv 2506.18896.
"""

from rewardscope.prms.qwen import QwenAdapter


class ReasonFluxAdapter(QwenAdapter):
    """What the project knows about the family, where it differs from Qwen's."""

    family = "reasonflux"
    names = ("Gen-Verse/ReasonFlux-PRM-7B",)
    marks = ("reasonflux-prm",)
    system = None
