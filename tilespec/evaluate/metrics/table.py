"""Table: the metrics by name, in the order of the table of a study. A new metric is one value."""

from collections.abc import Iterable
from typing import Final

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.evaluate.metrics.base import Metric

METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric(name="iou_mean", truth="classes", better="larger", pixels=False),
        Metric(name="iou_mean_all", truth="classes", better="larger", pixels=False, shown=False),
        Metric(name="iou", truth="classes", better="larger", reported_as="scene_iou"),
        Metric(name="miou", truth="classes", better="larger"),
        Metric(name="f1_macro", truth="classes", better="larger", shown=False),
        Metric(name="oa", truth="classes", better="larger"),
        Metric(name="aa", truth="classes", better="larger"),
        Metric(name="kappa", truth="classes", better="larger"),
        Metric(name="rmse_pixel", truth="field", better="smaller"),
        Metric(name="rmse_relative", truth="field", better="smaller"),
        Metric(name="rmse_relative_mean", truth="field", better="smaller", shown=False),
        Metric(name="gfc", truth="field", better="larger"),
        Metric(name="gfc_very_good", truth="field", better="larger", shown=False),
        Metric(name="gfc_exact", truth="field", better="larger", shown=False),
        Metric(name="delta_e", truth="field", better="smaller", pixels=False),
        Metric(name="mrae", truth="field", better="smaller"),
        Metric(name="rmse", truth="field", better="smaller", shown=False),
        Metric(name="mae", truth="field", better="smaller", shown=False),
        Metric(name="bias", truth="field", better=None, shown=False),
        Metric(name="r2", truth="field", better="larger", shown=False),
        Metric(name="psnr", truth="field", better="larger", shown=False),
        Metric(name="psnr_peak", truth="field", better="larger", pixels=False),
        Metric(name="snr", truth="field", better="larger", shown=False),
        Metric(name="ergas", truth="field", better="smaller", shown=False),
        Metric(name="ssim", truth="field", better="larger", pixels=False),
        Metric(name="sam", truth="field", better="smaller"),
        Metric(name="spatially_correlated_variance", truth="field", better="larger"),
        Metric(name="correlated_variance_bound", truth="field", better="larger", shown=False),
        Metric(name="out_of_range", truth="field", better="smaller"),
        Metric(name="rmse_mean", truth="field", better="smaller", pixels=False, shown=False),
        Metric(name="seam_score", truth=None, better="smaller", pixels=False, shown=False),
    )
}


def metric(name: str) -> Metric:
    """Return the metric ``name`` of the table, or one of the user's: a plug-in, or at a dotted path.

    Raises:
        UserError: there is no such metric, or one of its own takes the name of one that is here.
    """
    if name in METRICS:
        return METRICS[name]
    value = load(dict.fromkeys(METRICS, ""), name, "metric")
    names = {*METRICS, *figures()}
    if not isinstance(value, Metric) or value.statistic is None or {value.name, value.figure} & names:
        raise UserError(
            f"metric {name!r}",
            found=value,
            expected="a Metric with a statistic, and with a name that no metric of tilespec has",
            do="Give it a statistic and another name.",
        )
    return value


def figures(own: Iterable[Metric] = ()) -> list[str]:
    """Return the keys of an evaluation that judge a whole map, in the order of tables: own ones last."""
    return list(dict.fromkeys(one.figure for one in (*METRICS.values(), *own)))
