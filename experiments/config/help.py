"""What `python cifar.py --help` prints: groups with their choices, and every option.

Not Hydra's own, which copies all stored configs for every line it prints: seconds, and minutes once
there are some hundred models.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from omegaconf import OmegaConf

from experiments.config.compose import compose_config
from experiments.config.groups import group_options, list_groups
from experiments.tasks.rows import task_row

HELP = """\
python {script} [GROUP=CHOICE ...] [KEY=VALUE ...] [--multirun]

Groups (GROUP=CHOICE):
{groups}

Options (KEY=VALUE, for example trainer.epochs=5), with their values for this command:
{options}

Several values are a sweep: --multirun seed=0,1,2 model=simple_conv_kagn,simple_conv
"""


def help_text(script: str, config_name: str, overrides: Sequence[str]) -> str:
    """The help of an entry script, with the options that these overrides leave or choose.

    Raises: ConfigError for overrides that cannot be composed.
    """
    node = compose_config(config_name, overrides)
    options = OmegaConf.to_container(node, resolve=True)
    assert isinstance(options, dict)
    options = {key: value for key, value in options.items() if key != "hydra"}
    task = options["task"]["name"]
    lines = [_wrap(group, group_options(group, task_row(task).models)) for group in list_groups()]
    text = OmegaConf.to_yaml(OmegaConf.create(options))
    return HELP.format(
        script=script, groups="\n".join(lines), options=textwrap.indent(text.rstrip(), "  ")
    )


def _wrap(group: str, choices: Sequence[str]) -> str:
    return textwrap.fill(
        f"{group}: {', '.join(choices)}",
        width=100,
        initial_indent="  ",
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
    )
