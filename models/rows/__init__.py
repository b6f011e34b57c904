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
    smp,
    transformer,
    u2net,
    ukan,
    unet,
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
    unet,
    u2net,
    ukan,
    smp,
)
ROWS = tuple(row for family in FAMILIES for row in family.ROWS)
