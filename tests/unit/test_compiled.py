"""Compiled functions, and where their code is kept."""

import subprocess
import sys
from pathlib import Path

import components.compiled

SRC = Path(components.compiled.__file__).parents[1]

# Neither the checkout nor the home can be written: of numba's places only the one that a user names is left.
NOWHERE = """
import os, sys
import numba.core.caching as caching
caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]
sys.path.insert(0, {src!r})
from components.compiled import compiled
from assigners import kmeans
from envs.gaussian_squeeze.rules import system_performance
assert system_performance(400) == 400
folder = os.environ["NUMBA_CACHE_DIR"]
assert any(name.endswith(".nbc") for _, _, names in os.walk(folder) for name in names)
print(folder)
"""


def run(code, **env):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_a_place_for_files_code_is_kept_until_the_process_ends(tmp_path):
    folder = Path(run(NOWHERE.format(src=str(SRC)), TMPDIR=str(tmp_path)))
    assert folder.parent == tmp_path and not folder.exists()
    named = tmp_path / "named"  # a place that the user names is used, and stays
    assert run(NOWHERE.format(src=str(SRC)), NUMBA_CACHE_DIR=str(named)) == str(named) and named.exists()
