"""For each operator the axes that may be open without its knowing, in the notation of `independent`.

What a line has to promise: the live part of each result depends on nothing but the live part of the inputs, whatever lies beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING

from tgc.ir.graph import Node
from tgc.ir.lengths import Length

if TYPE_CHECKING:
    from tgc.frontend_onnx.builder import LoweringBuilder

ML = "ai.onnx.ml"
TRAINING = "ai.onnx.preview.training"
MICROSOFT = "com.microsoft"
NHWC = "com.ms.internal.nhwc"
BLOCKED = "com.microsoft.nchwc"


@dataclass(frozen=True, slots=True)
class Call:
    """One use of an operator: its inputs, None for one left out, and the attributes that the model gives."""

    b: LoweringBuilder
    inputs: tuple[Node | None, ...]
    attributes: Mapping[str, object]

    def rank(self, number: int = 0) -> int:
        node = self.inputs[number] if number < len(self.inputs) else None
        return 0 if node is None else len(node.shape)

    def number(self, name: str, otherwise: int) -> int:
        value = self.attributes.get(name, otherwise)
        return value if isinstance(value, int) else otherwise

    def axis(self, otherwise: int, name: str = "axis") -> int:
        """An attribute that counts axes of the first input, from the front."""
        return self.b.axis(self.number(name, otherwise), self.rank())


Rule = str | Callable[[Call], str | None]


def _all_but(rank: int, *closed: int) -> str:
    return "".join("_" if axis in closed else ascii_lowercase[axis] for axis in range(rank))


def _same(term: str, inputs: int = 1, outputs: int = 1) -> str:
    return f"{','.join([term] * inputs)} -> {','.join([term] * outputs)}"


def _but_axis(otherwise: int) -> Rule:
    """Every axis but the one that an attribute says."""
    return lambda call: _same(_all_but(call.rank(), call.axis(otherwise)), outputs=2)


def _before_axis(call: Call) -> str:
    """Every axis before the one that an attribute says, or, from opset 13 on, every axis but that."""
    if call.b.opset >= 13:
        return _same(_all_but(call.rank(), call.axis(-1)))
    return _same(_all_but(call.rank(), *range(call.axis(1), call.rank())))


def _leading(call: Call) -> str:
    """Every axis before the one that an attribute says."""
    return _same(_all_but(call.rank(), *range(call.axis(-1), call.rank())), outputs=2)


def _but_axes(call: Call) -> str:
    given = call.attributes.get("axes", (0, 2, 3))
    axes = call.b.axes([int(a) for a in given], call.rank()) if isinstance(given, tuple) else range(call.rank())
    return _same(_all_but(call.rank(), *axes))


def _spectrum(call: Call) -> str:
    rank = call.rank()
    axis = call.inputs[2] if len(call.inputs) > 2 else None
    along = call.number("axis", 1 if call.b.opset < 20 else -2) if axis is None else call.b.known_ints(axis, "axis")[0]
    return _same(_all_but(rank, rank - 1, call.b.axis(along, rank)))


def _one_hot(call: Call) -> str:
    term = _all_but(call.rank())
    at = call.b.axis(call.number("axis", -1), call.rank() + 1)
    return f"{term} -> {term[:at]}_{term[at:]}"


def _reversed(call: Call) -> str:
    """What is read lies before the end of its sequence, which lies before the end of the axis."""
    term = _all_but(call.rank())
    return f"{term}, {term[call.axis(1, 'batch_axis')]} -> {term}"


def _scattered(call: Call) -> str:
    term = _all_but(call.rank(), call.axis(0))
    return f"{term}, {term}, {term} -> {term}"


def _scattered_slices(call: Call) -> str | None:
    indices = call.inputs[1]
    if indices is None or not indices.shape or isinstance(indices.shape[-1], Length):
        return None
    depth = int(indices.shape[-1])
    rest = ascii_lowercase[: call.rank() - depth]
    return f"{'_' * depth}{rest}, *, {'_' * (len(indices.shape) - 1)}{rest} -> {'_' * depth}{rest}"


def _cached(call: Call) -> str:
    term = _all_but(call.rank(), call.axis(-2))
    return f"{term}, {term}, {term[0]} -> {term}"


def _recurrent(call: Call) -> str:
    if call.number("layout", 0):
        return "ns_, *, *, *, n, n*, n* -> ns*, n*, n*"
    return "sn_, *, *, *, n, _n_, _n_ -> s_n_, _n_, _n_"


def _optimiser(kinds: int) -> Rule:
    """Learning rate and step, then `kinds` tensors of each of several shapes, all first ones, all second ones, and so on."""

    def rule(call: Call) -> str | None:
        count = (len(call.inputs) - 2) // kinds
        letters = iter(ascii_lowercase)
        terms = ["".join(next(letters, "!") for _ in range(call.rank(2 + n))) for n in range(count)]
        if "!" in "".join(terms):
            return None
        return f"*, *, {','.join(terms * kinds)} -> {','.join(terms * (kinds - 1))}"

    return rule


def _columns_of(call: Call) -> str:
    return _same("n_", len(call.inputs))


def _rows(call: Call) -> str | None:
    return None if call.number("transA", 0) else "m_ -> m_"


BATCH = "n* -> n*"
EACH = "... -> ..."
LAST = "..._ -> ..._"
ROWS = "n_ -> n*, n*"
PRODUCT = "...m_, ..._p -> ...mp"

_ONNX: dict[str, Rule] = {
    "Bernoulli": EACH,
    "BitCast": EACH,
    "Col2Im": BATCH,
    "ConvInteger": BATCH,
    "DFT": _spectrum,
    "DeformConv": "n*, *, n*, *, n* -> n*",
    "DepthToSpace": BATCH,
    "Det": "...__ -> ...",
    "Dropout": "... -> ..., ...",
    "EyeLike": EACH,
    "GRU": _recurrent,
    "GlobalLpPool": "nc* -> nc*",
    "GridSample": "nc*, n..._ -> nc...",
    "Hardmax": _before_axis,
    "LRN": "n_... -> n_...",
    "LSTM": _recurrent,
    "LpNormalization": _but_axis(-1),
    "LpPool": "nc* -> nc*",
    "MatMulInteger": PRODUCT,
    "MaxRoiPool": "Nc*, r_ -> rc*",
    "MeanVarianceNormalization": _but_axes,
    "Multinomial": "n_ -> n_",
    "OneHot": _one_hot,
    "QLinearConv": BATCH,
    "QLinearMatMul": "...m_, *, *, ..._p -> ...mp",
    "RNN": _recurrent,
    "RandomNormalLike": EACH,
    "RandomUniformLike": EACH,
    "ReverseSequence": _reversed,
    "RoiAlign": "Nc*, r_, r -> rc*",
    "STFT": BATCH,
    "SimplifiedLayerNormalization": _leading,
    "SpaceToDepth": BATCH,
    "Scatter": _scattered,
    "ScatterElements": _scattered,
    "ScatterND": _scattered_slices,
    "TensorScatter": _cached,
    "TfIdfVectorizer": "n_ -> n_",
    "TopK": _but_axis(-1),
}
_ML: dict[str, Rule] = {
    "ArrayFeatureExtractor": LAST,
    "Binarizer": EACH,
    "FeatureVectorizer": _columns_of,
    "Imputer": LAST,
    "LabelEncoder": EACH,
    "LinearClassifier": ROWS,
    "LinearRegressor": ROWS,
    "Normalizer": LAST,
    "OneHotEncoder": "... -> ..._",
    "SVMClassifier": ROWS,
    "SVMRegressor": ROWS,
    "Scaler": LAST,
    "TreeEnsemble": ROWS,
    "TreeEnsembleClassifier": ROWS,
    "TreeEnsembleRegressor": ROWS,
}
_TRAINING: dict[str, Rule] = {"Adagrad": _optimiser(3), "Adam": _optimiser(4), "Momentum": _optimiser(3)}
_MICROSOFT: dict[str, Rule] = {
    "BiasSplitGelu": LAST,
    "CDist": "m_, p_ -> mp",
    "ConvTransposeWithDynamicPads": BATCH,
    "CropAndResize": "N*, r_, r -> r*",
    "EmbedLayerNormalization": "bs, bs, *, *, *, *, *, b_, bs -> bs_, b, bs_",
    "FusedConv": "n*, *, *, n* -> n*",
    "GridSample": "nc*, n..._ -> nc...",
    "GroupNorm": BATCH,
    "GroupQueryAttention": "b*, b*, b*, b*, b*, b*, *, *, *, b*, b* -> b*, b*, b*",
    "MatMulInteger16": PRODUCT,
    "MatMulIntegerToFloat": PRODUCT,
    "MatMulNBits": LAST,
    "NhwcFusedConv": "n*, *, *, n* -> n*",
    "NhwcMaxPool": BATCH,
    "QAttention": "b*, *, *, *, *, b*, *, *, _b* -> b*, _b*",
    "QGemm": _rows,
    "QLinearAveragePool": BATCH,
    "QLinearConv": BATCH,
    "QLinearGlobalAveragePool": BATCH,
    "SkipGroupNorm": "n*, *, *, n* -> n*, n*",
    "SkipLayerNormalization": _same("..._", 2, 4),
    "SkipSimplifiedLayerNormalization": _same("..._", 2, 4),
}
_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
_NHWC: dict[str, Rule] = {"Conv": "n*, *, *, n* -> n*", **dict.fromkeys((*_POOLS, "QLinearConv"), BATCH)}
_BLOCKED: dict[str, Rule] = {"Conv": "n*, *, *, n* -> n*", **dict.fromkeys((*_POOLS, "ReorderInput", "ReorderOutput", "Upsample"), BATCH)}
RULES: dict[tuple[str, str], Rule] = {
    (domain, op_type): rule
    for domain, rules in (
        ("", _ONNX), (ML, _ML), (TRAINING, _TRAINING), (MICROSOFT, _MICROSOFT), (NHWC, _NHWC), (BLOCKED, _BLOCKED)
    )
    for op_type, rule in rules.items()
}  # fmt: skip
"""By domain and operator. A function answers None where it allows no open axis."""
