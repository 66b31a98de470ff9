"""All workloads by name, in the order of the table."""

from __future__ import annotations

from tests.benchmarks.record import Workload
from tests.benchmarks.workloads import dynamics, elementwise, networks, statistics

WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for family in (elementwise, statistics, networks, dynamics)
    for workload in family.WORKLOADS
}
