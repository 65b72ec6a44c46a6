"""Sets of environments side by side: how large, how hard, how diverse.

    sets = compare_sets({"ours": read(path, EnvSpec), "FTRL": read_ftrl(rows)})
    print_statistics(sets, console); html = render_statistics(sets)

Each set is read once and not kept: a set of any size can be measured.
"""

from toolfoundry.stats.compare import compare_sets
from toolfoundry.stats.html import render_statistics, require_extras
from toolfoundry.stats.measure import Measurement, base_name, measure
from toolfoundry.stats.records import Distinct, ScenarioCounts, SetStatistics, ShapeCount
from toolfoundry.stats.terminal import print_statistics

__all__ = [
    "Distinct",
    "Measurement",
    "ScenarioCounts",
    "SetStatistics",
    "ShapeCount",
    "base_name",
    "compare_sets",
    "measure",
    "print_statistics",
    "render_statistics",
    "require_extras",
]
