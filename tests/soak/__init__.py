"""A random soak of the training platform: kills, damaged files and full disks, each run resumed.

    python -m tests.soak --seconds 600 [--seed N] [--story N]

A story is one run of a scene (scenes.py) that is disturbed a few times: its processes are killed or
stopped at a random time or before a random write, its disk is full from a random write on, a bit of
a file that it reads is flipped or its end is cut off (events.py). After each it is resumed. Right
is that it ends with the bits of an undisturbed run, or that it refuses in words with exit code 2
and goes on once what it named is mended (judge.py). `make soak` runs it; no test does.
"""
