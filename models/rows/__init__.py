"""All models as rows, a file for every family: what each is called and which options it has.

Reading them loads no torch. The networks themselves are built by the modules that rows name.
"""

from models.rows import (
    baselines,
    densekanet,
    foreign,
    kaconv,
    rational,
    rdnet,
    reskanet,
    rkan,
    transformer,
    vggkan,
)

FAMILIES = (
    baselines,
    reskanet,
    densekanet,
    vggkan,
    kaconv,
    rdnet,
    rkan,
    foreign,
    transformer,
    rational,
)
ROWS = tuple(row for family in FAMILIES for row in family.ROWS)
