"""What a channel's data is like."""

from fastapi import APIRouter

from app.api.deps import Reader, StatisticsDep
from app.api.schemas.statistics import StatisticsOut
from app.store.statistics import ChannelStatistics

router = APIRouter(prefix="/v1/channels/{channel}/statistics", tags=["channels"])


@router.get("", response_model=StatisticsOut)
def get_statistics(access: Reader, statistics: StatisticsDep) -> ChannelStatistics:
    """Show how much data there is, since when, and how it is spread over users and items.

    Counted anew when items change or interactions are imported; single events count once they are settled.
    """
    return statistics.get(access.channel)
