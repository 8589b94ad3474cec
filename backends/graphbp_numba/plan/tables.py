"""Places in the tables that the kernels interpret, and what stands there: every such integer, each under one name.

    PLAN_     places in `Plan.table`: sizes, and addresses of the arrays                        `graphbp_numba.plan.plan`
    RUN_      columns of `Plan.runs`: up to four rows of one level and one activation           `graphbp_numba.plan.plan`
    HEAD_     columns of `Plan.heads`: outputs that one error formula serves                    `graphbp_numba.plan.plan`
    PAIR_     combinations of two rows                                                         `graphbp_numba.plan.combining`
    TREE_, CHOICE_    trees of them, and what their sources take back                          `graphbp_numba.plan.first_order`
    CUT_      columns of a network's stages                                                    `graphbp_numba.tiles.stages`
    LEVEL_, BLOCK_, SEGMENT_, SPARSE_    columns of the tables of layers                        `graphbp_numba.layers.sweeps`
    NET_, STEP_, RECT_, JOB_     a network as blocks of weights, and the columns of its tables     `graphbp_numba.blocks.sweeps`
    KIND_, FORM_, CODE_, MODE_           what a run is, how a head computes, which error it has, what a sweep is for

A kernel reads these tables through a pointer, so a name from the wrong table would compile and read the column beside it: hence one
module, prefixes, and a test that no integer is named elsewhere.
"""

from __future__ import annotations

(
    PLAN_N_ROWS,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_RUNS,
    PLAN_N_EDGES,
    PLAN_N_KEEP,
    PLAN_N_HEADS,
    PLAN_TARGET_ROWS,
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_OUT_PTR,
    PLAN_OUT_DST,
    PLAN_RUNS,
    PLAN_OUT_POS,
    PLAN_OUT_ROW,
    PLAN_OUT_KEEP,
    PLAN_HEADS,
    PLAN_HEAD_POS,
    PLAN_SUMS,
    PLAN_IN_PARAM,
    PLAN_OUT_PARAM,
    PLAN_BIAS_PARAM,
    PLAN_FROZEN,
    PLAN_GRAD_PTR,
    PLAN_GRAD_POS,
    PLAN_SUMS_SIZE,
    PLAN_BUFFER_ROWS,
    PLAN_N_BUNDLES,
    PLAN_BUNDLE_PTR,
    PLAN_BUNDLE_SRC,
    PLAN_BUNDLE_ROWS,
    PLAN_EACH,
    PLAN_N_OUT_EDGES,
    PLAN_STATE_ROWS,
    PLAN_HELPER_STOP,
    PLAN_N_PAIRS,
    PLAN_PAIRS,
    PLAN_PAIR_OF_ROW,
    PLAN_N_TREES,
    PLAN_TREES,
    PLAN_LEAVES,
    PLAN_N_LEAVES,
    PLAN_LEAF_SUMS,
    PLAN_TREE_SUMS,
    PLAN_PRODUCT_PTR,
    PLAN_PRODUCTS,
    PLAN_CHOICE_PTR,
    PLAN_CHOICES,
    PLAN_N_CHOICES,
    PLAN_CHOICE_SUMS,
) = range(50)
# C functions for 1, 2 and 4 vectors a row, each at its place + log2 of the vectors
(
    PLAN_FORWARD_RUNS,
    PLAN_REVERSE_RUNS,
    PLAN_STATE_UP,
    PLAN_STATE_DOWN,
    PLAN_COMBINE_TREES,
    PLAN_SPREAD_TREES,
    PLAN_PULL_TREES,
    PLAN_FINISH_TREES,
    PLAN_COMBINE_PAIRS,
    PLAN_SPREAD_PAIRS,
    PLAN_TANGENT_PAIRS,
    PLAN_BEND_PAIRS,
) = range(50, 86, 3)
PLAN_SIZE = 86

(
    RUN_START,
    RUN_STOP,
    RUN_F,
    RUN_SLOPE,
    RUN_KEEP,
    RUN_FROM_Z,
    RUN_LEAF,
    RUN_HAS_OUTPUT,
    RUN_KIND,
    RUN_DF,
    RUN_D2F,
    RUN_ORDER,
    RUN_BUNDLED,
    RUN_BUNDLE_FIRST,
    RUN_BUNDLE_STOP,
    RUN_F_KEEP,
    RUN_KEEP_SLOPE,
    RUN_PULLS,
    RUN_TREE_FIRST,
    RUN_TREE_STOP,
    RUN_PAIR_FIRST,
    RUN_PAIR_STOP,
) = range(22)
RUN_FIELDS = 22
KIND_ELEMENTWISE, KIND_LINEAR, KIND_SOFTMAX = range(3)

(
    HEAD_FORM,
    HEAD_COUPLED,
    HEAD_DF,
    HEAD_D2F,
    HEAD_FIRST,
    HEAD_LAST,
    HEAD_PAIR_VALUE,
    HEAD_PAIR_DELTA,
    HEAD_PAIR_HESSIAN,
    HEAD_PAIR_OUTER,
    HEAD_MAKE_Y,
    HEAD_ADD_VALUE,
    HEAD_MAKE_DELTA,
    HEAD_CURVE,
    HEAD_CODE,
    HEAD_VALUE,
    HEAD_DY,
    HEAD_D2Y,
) = range(18)
HEAD_FIELDS = 18
FORM_CANONICAL, FORM_CHAIN, FORM_LOGS = range(3)
CODE_SQUARES, CODE_LOGISTIC, CODE_CLASSES, CODE_COUNTS = range(4)
CODE_NONE = -1

MODE_VALUE, MODE_GRADIENT, MODE_VJP = range(3)
MODE_PRODUCT, MODE_FORWARD = 3, 4
"""On layers only: the gradient's sweep, but with C in place of E; Y alone."""

PAIR_ROW, PAIR_KIND, PAIR_FIRST, PAIR_SECOND, PAIR_TO_FIRST, PAIR_TO_SECOND = range(6)
PAIR_FIELDS = 6
TREE_ROW, TREE_KIND, TREE_FIRST, TREE_STOP, TREE_TERM = range(5)
TREE_FIELDS = 5
COMBINE_PRODUCT, COMBINE_MAX, COMBINE_MIN, COMBINE_MAXABS = range(4)
"""What a pair or tree combines by: positions in the core's table of combinations."""
CHOICE_ROW, CHOICE_CHOSEN, CHOICE_NUMBER = range(3)
"""Rows of the table of choices, a column for each leaf of one, by source: the rows of the tree's δ and of what it chose, and the leaf's number."""
CHOICE_FIELDS = 3

CUT_RUN_STOP, CUT_ROW_START, CUT_ROW_STOP, CUT_PACK = range(4)

(
    LEVEL_START,
    LEVEL_STOP,
    LEVEL_FIRST_BLOCK,
    LEVEL_LAST_BLOCK,
    LEVEL_FIRST_SEGMENT,
    LEVEL_LAST_SEGMENT,
    LEVEL_FIRST_OUTPUT,
    LEVEL_LAST_OUTPUT,
    LEVEL_PLAIN,
    LEVEL_SPARSE_OUT,
) = range(10)
LEVEL_FIELDS = 10
(
    BLOCK_START,
    BLOCK_STOP,
    BLOCK_SOURCE,
    BLOCK_N_SOURCES,
    BLOCK_SOURCES,
    BLOCK_FIRST,
    BLOCK_STRIDE,
    BLOCK_IN_PLACE,
    BLOCK_DOWN,
    BLOCK_PANEL,
    BLOCK_SOLE_FROM,
    BLOCK_FROM_INPUTS,
    BLOCK_MULTIPLY,
) = range(13)
BLOCK_FIELDS = 13
(
    SEGMENT_START,
    SEGMENT_STOP,
    SEGMENT_F,
    SEGMENT_SLOPE,
    SEGMENT_FROM_Z,
    SEGMENT_KEEP,
    SEGMENT_BEND,
    SEGMENT_F_KEEP,
    SEGMENT_KEEP_SLOPE,
) = range(9)
SEGMENT_FIELDS = 9
SPARSE_IN_PTR, SPARSE_IN_SRC, SPARSE_OUT_PTR, SPARSE_OUT_DST = range(4)

(
    NET_HEADS,
    NET_STEPS,
    NET_N_STEPS,
    NET_PIECES,
    NET_JOBS,
    NET_SEGMENTS,
    NET_OUTPUTS,
    NET_NUMBERS,
    NET_PLACES,
    NET_N_WEIGHTS,
) = range(10)
NET_PRODUCTS, NET_SUMS = 10, 13
"""C functions for 1, 2 and 4 vectors a row, as in `Plan.table`."""
NET_SIZE = 16
(
    STEP_START,
    STEP_STOP,
    STEP_FIRST_PIECE,
    STEP_LAST_PIECE,
    STEP_FIRST_JOB,
    STEP_LAST_JOB,
    STEP_FIRST_SEGMENT,
    STEP_LAST_SEGMENT,
    STEP_FIRST_OUTPUT,
    STEP_LAST_OUTPUT,
) = range(10)
STEP_FIELDS = 10
RECT_START, RECT_ROWS, RECT_SOURCES, RECT_COUNT, RECT_FIRST, RECT_STRIDE, RECT_FROM_INPUTS = range(7)
RECT_FIELDS = 7
JOB_FIRST, JOB_LAST = range(2)
JOB_FIELDS = 2
