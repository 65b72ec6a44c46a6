"""These tests run where verifiers does: `make test-verifiers`. Its cache, which is in the home folder, is put elsewhere
before it is imported; its own imports warn, ours must not."""

import importlib.util
import os
import tempfile
import warnings

if importlib.util.find_spec("verifiers") is not None:
    os.environ["HOME"] = tempfile.mkdtemp(prefix="verifiers-home-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import verifiers.v1  # noqa: F401
