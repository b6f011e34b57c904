"""All models as rows, a file for every family: what each is called and which options it has.

Reading them loads no torch. The networks themselves are built by the modules that rows name.
"""

from models.rows import baselines, densekanet, reskanet, vggkan

FAMILIES = (baselines, densekanet, reskanet, vggkan)
ROWS = tuple(row for family in FAMILIES for row in family.ROWS)
