"""The sandbox: the only place where tool code runs.

>>> with Sandbox() as box:
...     box.call("def double(n):\\n    return 2 * n", "double", {"n": 21}).content
'42'
"""

from toolfoundry.sandbox.limits import SandboxLimits
from toolfoundry.sandbox.modules import ALLOWED_IMPORTS
from toolfoundry.sandbox.pool import Sandbox
from toolfoundry.sandbox.selftest import SelfTest, self_test
from toolfoundry.sandbox.session import Session

__all__ = ["ALLOWED_IMPORTS", "Sandbox", "SandboxLimits", "SelfTest", "Session", "self_test"]
