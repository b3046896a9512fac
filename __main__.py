"""Reached by ``python -m ffmpi`` in the folder that holds a clone called ffmpi: hands over to the package installed.

Python looks into the working directory first, and takes the clone's folder there for a package of that name.
"""

import os
import runpy
import sys

_HOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _HOLDER]
sys.modules.pop("ffmpi", None)
runpy.run_module("ffmpi", run_name="__main__", alter_sys=True)
