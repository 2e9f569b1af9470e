"""What ingestion left in the store, read whole: for tests alone."""

from sqlalchemy import func, select

from pointsman.domain import evidence
from pointsman.domain.evidence import CellKey
from pointsman.store.evidence_schema import cell, exposure, stratum


def cells(connection, project, rule):
    """Evidence of one rule, all epochs apart."""
    query = select(cell).where(cell.c.project == project, cell.c.rule == rule)
    return {CellKey(*row[:-1]): evidence.decode(row[-1]) for row in connection.execute(query)}


def first_exposures(connection, project, rule, epoch):
    """How many units met each variant first, in one epoch of a rule."""
    counted = (
        select(exposure.c.variant, func.count())
        .join(stratum, stratum.c.number == exposure.c.stratum)
        .where(stratum.c.project == project, stratum.c.rule == rule, stratum.c.epoch == epoch)
        .group_by(exposure.c.variant)
    )
    return {row[0]: row[1] for row in connection.execute(counted)}
