"""Published tables of logit, multinomial and Poisson regressions: columns as they are printed, coefficients and standard errors as printed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Table:
    """X (N, D), t and perhaps weights; per equation the coefficients of the columns and the constant, and their standard errors."""

    name: str
    kind: str
    X: np.ndarray
    t: np.ndarray
    s: np.ndarray | None
    texts: str
    error_texts: str
    n_equations: int = 1

    @property
    def printed(self) -> np.ndarray:
        return np.array(self.texts.split(), float)

    @property
    def printed_errors(self) -> np.ndarray:
        return np.array(self.error_texts.split(), float)

    @property
    def half_digit(self) -> np.ndarray:
        """Half a unit of each number's last printed digit."""
        return half_digits(self.texts)

    @property
    def half_digit_of_errors(self) -> np.ndarray:
        return half_digits(self.error_texts)


def half_digits(texts: str) -> np.ndarray:
    found = []
    for text in texts.split():
        digits, _, exponent = text.partition("e")
        found.append(0.505 * 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2])))
    return np.array(found)


_SPECTOR = """
2.66 20 0 0  2.89 22 0 0  3.28 24 0 0  2.92 12 0 0  4.00 21 0 1  2.86 17 0 0  2.76 17 0 0  2.87 21 0 0
3.03 25 0 0  3.92 29 0 1  2.63 20 0 0  3.32 23 0 0  3.57 23 0 0  3.26 25 0 1  3.53 26 0 0  2.74 19 0 0
2.75 25 0 0  2.83 19 0 0  3.12 23 1 0  3.16 25 1 1  2.06 22 1 0  3.62 28 1 1  2.89 14 1 0  3.51 26 1 0
3.54 24 1 1  2.83 27 1 1  3.39 17 1 1  2.67 24 1 0  3.65 21 1 1  4.00 23 1 1  3.10 21 1 0  2.39 19 1 1
"""
_GRADES = np.array(_SPECTOR.split(), float).reshape(32, 4)
SPECTOR = Table(
    "spector",
    "logit",
    _GRADES[:, :3],
    _GRADES[:, 3],
    None,
    "2.826113 0.09515766 2.378688 -13.02135",
    "1.262941 0.1415542 1.064564 4.931324",
)
"""Grades by GPA, TUCE and PSI (Spector & Mazzeo 1980; Greene, Econometric Analysis, table 21.1)."""

_TREATED = np.array([59, 60, 62, 56, 63, 59, 62, 60], float)
BEETLES = Table(
    "beetles",
    "logit",
    np.array([1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839])[:, None],
    np.array([6, 13, 18, 28, 52, 53, 61, 60]) / _TREATED,
    _TREATED,
    "34.27 -60.72",
    "2.912 5.181",
)
"""Beetles killed by carbon disulphide (Bliss 1935; Dobson, An Introduction to Generalized Linear Models, table 7.2)."""

_OUTCOME, _TREATMENT = np.tile([1, 2, 3], 3), np.repeat([1, 2, 3], 3)
D93 = Table(
    "d93",
    "poisson",
    np.column_stack([_OUTCOME == 2, _OUTCOME == 3, _TREATMENT == 2, _TREATMENT == 3]).astype(float),
    np.array([18, 17, 15, 20, 10, 20, 25, 13, 12], float),
    None,
    "-0.4543 -0.2930 0.0000 0.0000 3.045",
    "0.2022 0.1927 0.2000 0.2000 0.1709",
)
"""Randomised controlled trial (Dobson 1990), the first example of R's glm."""

_SPRAYS = """
10 7 20 14 14 12 10 23 17 20 14 13   11 17 21 11 16 14 17 17 19 21 7 13   0 1 7 2 3 1 2 1 3 0 1 4
3 5 12 6 4 3 5 5 5 5 2 4             3 5 3 5 3 6 1 1 3 2 6 4              11 9 15 22 15 16 13 10 26 26 24 13
"""
INSECTS = Table(
    "insects",
    "poisson",
    np.repeat(np.eye(6)[:, 1:], 12, axis=0),
    np.array(_SPRAYS.split(), float),
    None,
    "0.05588 -1.94018 -1.08152 -1.42139 0.13926 2.67415",
    "0.10574 0.21389 0.15065 0.17192 0.10367 0.07581",
)
"""Insects by spray A to F (Beall 1942; R's InsectSprays)."""

_BREAKS = """
26 30 54 25 70 52 51 26 67   18 21 29 17 12 18 35 30 36   36 21 24 18 10 43 28 15 26
27 14 29 19 29 31 41 20 44   42 26 19 16 39 28 21 39 29   20 21 24 17 13 15 15 16 28
"""
_TENSION = np.tile(np.repeat([0, 1, 2], 9), 2)
WARPBREAKS = Table(
    "warpbreaks",
    "poisson",
    np.column_stack([np.repeat([0, 1], 27), _TENSION == 1, _TENSION == 2]).astype(float),
    np.array(_BREAKS.split(), float),
    None,
    "-0.20599 -0.32132 -0.51849 3.69196",
    "0.05157 0.06027 0.06396 0.04541",
)
"""Breaks of yarn by wool and tension (Tippett 1950; R's warpbreaks)."""

_EATEN = """
1.24 I 1.30 I 1.30 I 1.32 F 1.32 F 1.40 F 1.42 I 1.42 F 1.45 I 1.45 O 1.47 I 1.47 F 1.50 I 1.52 I 1.55 I
1.60 I 1.63 I 1.65 O 1.65 I 1.65 F 1.65 F 1.68 F 1.70 I 1.73 O 1.78 I 1.78 I 1.78 O 1.80 I 1.80 F 1.85 F
1.88 I 1.93 I 1.98 I 2.03 F 2.03 F 2.16 F 2.26 F 2.31 F 2.31 F 2.36 F 2.36 F 2.39 F 2.41 F 2.44 F 2.46 F
2.56 O 2.67 F 2.72 I 2.79 F 2.84 F 3.25 O 3.28 O 3.33 F 3.56 F 3.58 F 3.66 F 3.68 O 3.71 F 3.89 F
"""
_FOOD = _EATEN.split()
ALLIGATORS = Table(
    "alligators",
    "multinomial",
    np.array(_FOOD[::2], float)[:, None],
    np.array(["OFI".index(food) for food in _FOOD[1::2]]),
    None,
    "-0.1101 1.6177 -2.4654 5.6974",
    "0.5171 1.3073 0.8997 1.7938",
    n_equations=2,
)
"""Primary food of alligators by length, fish and invertebrates beside other (Agresti, Categorical Data Analysis, table 7.1)."""


def statsmodels_table(name: str) -> Table:
    """A table that comes with statsmodels, with what is printed of it."""
    datasets = pytest.importorskip("statsmodels.datasets", reason="statsmodels, which carries the table, is not installed")
    data = getattr(datasets, name).load_pandas()
    X, t = data.exog.to_numpy(float), data.endog.to_numpy(float)
    if name == "cpunish":  # executions by state (Gill 2000); Stata and R
        X = np.column_stack([X[:, :3], np.log(X[:, 3]), X[:, 4:]])
        texts = "2.611017e-04 7.781801e-02 -9.493111e-02 2.969349e-01 2.301183e+00 -1.872207e+01 -6.801480e+00"
        return Table(name, "poisson", X, t, None, texts, _CPUNISH_ERRORS)
    if name == "anes96":  # party identification of American voters (Stata's mlogit, whose later digits are short of the optimum)
        return Table(name, "multinomial", X, t.astype(int), None, _ANES, _ANES_ERRORS, n_equations=6)
    n = t.sum(axis=1)
    return Table(name, "logit", X, t[:, 0] / n, n, _STAR98, _STAR98_ERRORS)  # Californian schools (R's glm)


_CPUNISH_ERRORS = "5.187e-05 7.940e-02 2.292e-02 4.375e-01 4.284e-01 4.284e+00 4.147e+00"
_ANES = """
-0.01154 0.29771 -0.02494 0.08249 0.00520 -0.37340 -0.08875 0.39167 -0.02290 0.18104 0.04787 -2.25091 -0.10597 0.57345
-0.01485 -0.00715 0.05758 -3.66558 -0.09156 1.27877 -0.00868 0.19983 0.08450 -7.61384 -0.09328 1.34696 -0.01790 0.21694
0.08096 -7.06048 -0.14088 2.07008 -0.00943 0.32193 0.10889 -12.10575
"""
_ANES_ERRORS = """
0.03428237 0.09362679 0.00652486 0.07358658 0.01763369 0.62983763 0.03916156 0.10823869 0.00791446 0.08528936 0.02228093
0.76318995 0.05703823 0.15854813 0.01133131 0.12629132 0.03361421 1.15654149 0.04379028 0.12889659 0.00841875 0.09412506
0.02619636 0.95758096 0.03935166 0.11718601 0.00761102 0.08500701 0.02297608 0.84436383 0.04213805 0.14340891 0.00813386
0.09109799 0.02530089 1.05995482
"""
_STAR98 = """
-0.0168150366 0.0099254766 -0.0187242148 -0.0142385609 0.2544871730 0.2406936644 0.0804086739 -1.9521605027 -0.3340864748 -0.1690221685
0.0049167021 -0.0035799644 -0.0140765648 -0.0040049918 -0.0039063958 0.0917143006 0.0489898381 0.0080407389 0.0002220095 -0.0022492486
2.9588779262
"""
_STAR98_ERRORS = """
4.339467e-04 6.013714e-04 7.435499e-04 4.338655e-04 2.994576e-02 5.713824e-02 1.392359e-02 3.168109e-01 6.126411e-02 3.270139e-02
1.253877e-03 2.254633e-04 1.904573e-03 4.739838e-04 9.623650e-04 1.450923e-02 7.451666e-03 1.499497e-03 2.988794e-05 3.489838e-04
1.546712
"""
