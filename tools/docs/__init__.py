"""What the documentation takes from the code: tables, diagrams, plots and the terminal picture.

`python -m tools.docs` writes the generated blocks of README.md and docs/ afresh, and a test holds
them to the code. The pictures come from runs of their own:

- `terminal_picture.py`: a session of `make run`
- `trip_plot.py`: a recorded motor start that holds, and one that trips
- `trip_curves.py`: the thermal curves (also the table of trip times)
"""

from tools import cpython

cpython.install()  # before any module of the firmware is imported
