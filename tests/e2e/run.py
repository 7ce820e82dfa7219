"""run.py MODULE[.CLASS[.TEST]]: runs these tests; ends with 0, 1 when one failed, 77 when all were skipped."""

import sys
import unittest

suite = unittest.defaultTestLoader.loadTestsFromName(sys.argv[1])
result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
if not result.testsRun or not result.wasSuccessful():
    sys.exit(1)
sys.exit(77 if len(result.skipped) == result.testsRun else 0)
