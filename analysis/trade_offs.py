"""Kept so that earlier imports work; the code is in `analysis.plots.trade_offs`."""

from analysis.plots.trade_offs import (
    TradeOff as TradeOff,
)
from analysis.plots.trade_offs import (
    cost_label as cost_label,
)
from analysis.plots.trade_offs import (
    cost_of as cost_of,
)
from analysis.plots.trade_offs import (
    plot_trade_off as plot_trade_off,
)
from analysis.plots.trade_offs import (
    trade_off as trade_off,
)
from analysis.plots.trade_offs import (
    trade_offs as trade_offs,
)
