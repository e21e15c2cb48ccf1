"""The error codes of V3: the vendor's table, and codes that it leaves out and samples or later tables have."""

from __future__ import annotations

from service import errors
from service.api.codes import Code, CodeTable
from service.api.vendors_table import VENDORS_TABLE

_BEYOND_THE_TABLE = (
    Code(
        216100,
        "already add",
        "userCopy into a group that has the user; stands in that call's sample answer",
        (errors.UserAlreadyInGroup,),
        documented=False,
    ),
    Code(
        222030,
        "param[match_threshold] format error",
        "not a number of 0 to 100; the number is the vendor's later table's, this one has none for the parameter",
        parameters=("match_threshold",),
        documented=False,
    ),
)

CODES = CodeTable([*VENDORS_TABLE, *_BEYOND_THE_TABLE])
"""Every code of V3, in the order of the vendor's table but for the last two."""
