"""`net.check(X, T)`: every derivative against numerical differentiation and against the others, and where it is worst.

Each row of the report is one comparison: what was compared with what, the largest difference relative to the largest value, the
tolerance, and the edge, bias, input or output where it is worst.  Values are compared in units of each weight's and each input's
length (`graphbp.numerical`), so that columns in other units of measure weigh the same, and relative to the terms that were summed,
so that an optimum is judged by more than the zero it leaves.

* Small networks are differenced weight by weight.  For larger ones each comparison is made along random directions, and then the
  weights that contribute most are differenced one by one, so that a faulty edge is still named; the report says so.
* A kink makes a difference meaningless: where a step of the size used carries some a across one, the sample is left out of the
  comparison, and the report names the unit, the sample and how close to the kink it is.
* Some activations have no second derivative at a kink, or none but 0 (step); the report says for which units the exact Hessian
  holds almost everywhere only.
* A comparison that misses is made again with what each side can resolve allowed for: differences at several steps, extrapolated, with
  the error that they show; and the round-off of backpropagation itself, seen by moving weights and data by an ulp.
* Where the round-off is as large as the derivatives (a saturated softmax, an exact fit) the row is void, and says so.
* What the backend refuses is a row that says so, and does not count as wrong.
"""

from __future__ import annotations

from graphbp.verification.report import Report, Row
from graphbp.verification.run import check

__all__ = ["Report", "Row", "check"]
