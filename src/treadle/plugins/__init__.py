"""Find plugins, load those that are wanted, and name each one that does not work.

Installing a package is no consent to run it: entry points run code when they are imported. Of the
group `treadle` only what the setting `plugins` names is loaded; without the setting, what a fixed
list holds as first-party. Everything else that is installed is reported with the line
that enables it. A broker is chosen by its URL, so the scheme is the consent.
"""

from __future__ import annotations

from treadle.plugins.catalog import BROKERS, FIRST_PARTY, PLUGINS, SCHEMES
from treadle.plugins.manager import PluginInfo, Plugins, Status, make_broker

__all__ = [
    "BROKERS",
    "FIRST_PARTY",
    "PLUGINS",
    "SCHEMES",
    "PluginInfo",
    "Plugins",
    "Status",
    "make_broker",
]
