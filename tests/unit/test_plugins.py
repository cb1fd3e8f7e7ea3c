"""Plugins: what loads, what does not, and that each one that does not work is named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from treadle.broker.memory import MemoryBroker
from treadle.errors import BrokerMissing, ConfigurationError, PluginError
from treadle.plugins import BROKERS, FIRST_PARTY, PLUGINS, PluginInfo, Plugins, Status, make_broker
from treadle.plugins.catalog import SCHEMES, missing_broker
from treadle.runtime.clock import SystemClock
from treadle.runtime.registry import Registry
from treadle.settings import Settings

CLOCK = SystemClock()

REGISTERS = """
    from treadle import hookimpl

    @hookimpl
    def treadle_register(jobs):
        @jobs.handler("{name}.run")
        def run() -> None: ...
"""

SERVES = """
    from treadle import hookimpl
    from treadle.profile import Profile

    @hookimpl
    def treadle_profiles():
        return [Profile(name="shop", summary="of {name}"), Profile(name="{name}", summary="")]
"""


class Site:
    """A folder of installed distributions: real metadata, found in the real way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(
        self, distribution: str, name: str, code: str, *, group: str = PLUGINS, version: str = "1.0"
    ) -> None:
        """Install a distribution whose only module is named by one entry point."""
        module = distribution.replace("-", "_")
        self.modules.append(module)
        (self.folder / f"{module}.py").write_text(dedent(code), encoding="utf-8")
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    yield site
    for module in site.modules:
        sys.modules.pop(module, None)


def _info(plugins: Plugins, name: str) -> PluginInfo:
    (found,) = [info for info in plugins.installed() if info.name == name]
    return found


def _refusal(plugins: Plugins) -> str:
    with pytest.raises(PluginError) as caught:
        plugins.load()
    return str(caught.value)


# Brokers


def test_the_brokers_in_the_box_come_through_the_door_of_everybody() -> None:
    infos = {info.name: info for info in Plugins().installed() if info.group == BROKERS}

    assert isinstance(make_broker("memory://", CLOCK), MemoryBroker)
    assert infos["memory"].distribution == "treadle"
    assert infos["memory"].origin == "treadle.broker.memory"
    assert infos["sqlite"].status is Status.AVAILABLE


def test_only_the_broker_of_the_scheme_is_imported(site: Site) -> None:
    site.install("acme-cloud", "cloud", "raise RuntimeError('imported')", group=BROKERS)

    plugins = Plugins()
    plugins.make_broker("memory://", CLOCK)

    assert "acme_cloud" not in sys.modules
    assert _info(plugins, "memory").status is Status.LOADED
    assert _info(plugins, "memory").hooks == ("treadle_broker",)
    assert _info(plugins, "cloud").status is Status.AVAILABLE


def test_a_missing_broker_is_told_with_what_there_is_and_the_line_that_installs_it() -> None:
    with pytest.raises(BrokerMissing) as caught:
        make_broker("redis://user:hunter2@host", CLOCK)

    assert str(caught.value) == (
        "No broker for 'redis://'. Installed: memory, sqlite. "
        "Install it with: pip install treadle-redis "
        "(from a checkout: pip install -e plugins/treadle-redis)"
    )


@pytest.mark.parametrize(
    ("scheme", "distribution"),
    [
        ("redis", "treadle-redis"),
        ("rediss", "treadle-redis"),
        ("valkey", "treadle-redis"),
        ("redis+cluster", "treadle-redis"),
        ("nats", "treadle-nats"),
    ],
)
def test_each_known_scheme_names_its_distribution(scheme: str, distribution: str) -> None:
    with pytest.raises(BrokerMissing, match=f"pip install {distribution} "):
        make_broker(f"{scheme}://host", CLOCK)


def test_a_mistyped_scheme_asks_what_was_meant() -> None:
    with pytest.raises(BrokerMissing, match=r"No broker for 'sqlit://'\. Did you mean 'sqlite'\?"):
        make_broker("sqlit:///jobs.db", CLOCK)


def test_a_strange_scheme_names_what_there_is_and_what_can_be_installed() -> None:
    with pytest.raises(BrokerMissing) as caught:
        make_broker("carrier-pigeon://loft", CLOCK)

    told = str(caught.value)
    assert told.startswith(
        "No broker for 'carrier-pigeon://'. Installed: memory, sqlite. To be had: "
    )
    assert "valkey+cluster (pip install treadle-redis)" in told
    assert told.endswith("Any other comes with a plugin that supplies 'carrier-pigeon'.")


def test_nothing_is_recommended_whose_name_is_only_made_of_the_scheme() -> None:
    with pytest.raises(BrokerMissing) as caught:
        make_broker("acme://host", CLOCK)

    assert "treadle-acme" not in str(caught.value)


def test_a_strange_scheme_where_everything_known_is_installed_names_no_line() -> None:
    told = missing_broker("acme", sorted(SCHEMES), ())

    assert "pip install" not in told
    assert told.endswith("valkey+cluster. Any other comes with a plugin that supplies 'acme'.")


def test_a_disabled_broker_is_missing_and_says_who_disabled_it() -> None:
    with pytest.raises(BrokerMissing, match="take 'memory' out of QRUN_DISABLE_PLUGINS"):
        Plugins(disabled=("memory",)).make_broker("memory://", CLOCK)


def test_two_brokers_for_one_scheme_are_named_both(site: Site) -> None:
    site.install("other-memory", "memory", "raise RuntimeError('imported')", group=BROKERS)

    with pytest.raises(PluginError, match="supplied by other-memory and treadle: uninstall one"):
        make_broker("memory://", CLOCK)


def test_a_broker_plugin_that_does_not_import_is_named(site: Site) -> None:
    site.install("acme-cloud", "cloud", "import no_such_driver", group=BROKERS)

    with pytest.raises(PluginError) as caught:
        make_broker("cloud://", CLOCK)

    assert "plugin 'cloud' (acme-cloud 1.0, acme_cloud) cannot be imported" in str(caught.value)
    assert "no_such_driver" in str(caught.value)


def test_a_broker_plugin_with_a_wrong_argument_asks_what_was_meant(site: Site) -> None:
    code = """
        from treadle import hookimpl

        @hookimpl
        def treadle_broker(urls): ...
    """
    site.install("acme-cloud", "cloud", code, group=BROKERS)

    with pytest.raises(PluginError, match=r"has no argument 'urls'\. Did you mean 'url'\?"):
        make_broker("cloud://", CLOCK)


def test_what_a_broker_says_about_its_url_is_not_wrapped() -> None:
    with pytest.raises(ConfigurationError, match="unknown option"):
        make_broker("memory://?colour=blue", CLOCK)


# Handlers and middleware


@pytest.mark.security(19)
def test_a_stranger_is_reported_with_the_line_that_enables_it_and_not_imported(site: Site) -> None:
    site.install("acme-emails", "emails", REGISTERS.format(name="emails"), version="2.1")

    info = _info(Plugins(), "emails")

    assert (info.status, info.distribution, info.version) == (
        Status.NOT_ENABLED,
        "acme-emails",
        "2.1",
    )
    assert info.detail == 'plugins = ["emails"]'
    assert "acme_emails" not in sys.modules


def test_the_enabling_line_keeps_what_is_allowed_already(site: Site) -> None:
    site.install("acme-emails", "emails", REGISTERS.format(name="emails"))
    site.install("acme-texts", "texts", REGISTERS.format(name="texts"))

    assert _info(Plugins(allowed=("emails",)), "texts").detail == 'plugins = ["emails", "texts"]'


def test_an_allowed_plugin_registers_its_handlers(site: Site) -> None:
    site.install("acme-emails", "emails", REGISTERS.format(name="emails"))
    plugins, registry = Plugins(allowed=("emails",)), Registry()

    plugins.register(registry)

    assert list(registry.handlers) == ["emails.run"]
    assert _info(plugins, "emails").status is Status.LOADED
    assert _info(plugins, "emails").hooks == ("treadle_register",)


def test_plugins_register_in_the_order_in_which_they_are_allowed(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.install(f"acme-{name}", name, REGISTERS.format(name=name))
    registry = Registry()

    Plugins(allowed=("c", "a", "b")).register(registry)

    assert list(registry.handlers) == ["c.run", "a.run", "b.run"]


def test_a_first_party_name_loads_only_from_the_first_party_distribution(site: Site) -> None:
    site.install("acme-web", "web", "raise RuntimeError('imported')")

    plugins = Plugins()
    plugins.load()

    assert FIRST_PARTY["web"] == "treadle-web"
    assert _info(plugins, "web").status is Status.NOT_ENABLED


def test_a_first_party_plugin_loads_without_being_asked_for(site: Site) -> None:
    site.install("treadle_web", "web", REGISTERS.format(name="web"))

    plugins = Plugins()
    plugins.load()

    assert _info(plugins, "web").status is Status.LOADED


def test_with_an_empty_list_nothing_loads(site: Site) -> None:
    site.install("treadle-web", "web", "raise RuntimeError('imported')")

    plugins = Plugins(allowed=())
    plugins.load()

    assert _info(plugins, "web").status is Status.NOT_ENABLED


def test_a_disabled_plugin_does_not_load_although_it_is_allowed(site: Site) -> None:
    site.install("acme-emails", "emails", "raise RuntimeError('imported')")

    plugins = Plugins(allowed=("emails",), disabled=("emails",))
    plugins.load()

    assert _info(plugins, "emails").status is Status.DISABLED


def test_settings_say_which_plugins_load(site: Site) -> None:
    site.install("acme-emails", "emails", REGISTERS.format(name="emails"))

    allowed = Plugins.of(Settings(plugins=("emails",)))
    disabled = Plugins.of(Settings(plugins=("emails",), disable_plugins=("emails",)))

    assert _info(allowed, "emails").status is Status.LOADED
    assert _info(disabled, "emails").status is Status.DISABLED


def test_an_allowed_plugin_that_is_not_installed_is_named(site: Site) -> None:
    site.install("acme-emails", "emails", REGISTERS.format(name="emails"))

    refusal = _refusal(Plugins(allowed=("emials",)))

    assert refusal == (
        "plugin 'emials' is allowed by the setting `plugins`, but not installed. "
        "Did you mean 'emails'? Installed: emails"
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("x = 1", "has no hooks."),
        ("def treadle_register(jobs): ...", "Is @hookimpl missing on treadle_register?"),
        (
            "from treadle import hookimpl\n@hookimpl\ndef treadle_regster(jobs): ...",
            "there is no hook 'treadle_regster'. Did you mean 'treadle_register'?",
        ),
        (
            "from treadle import hookimpl\n@hookimpl\ndef treadle_register(job): ...",
            "hook treadle_register has no argument 'job'. Did you mean 'jobs'?",
        ),
        (
            "from treadle import hookimpl\nTREADLE_API = 99\n@hookimpl\ndef treadle_register(jobs): ...",
            "was made for version 99 of the hooks",
        ),
    ],
)
def test_a_plugin_that_does_not_fit_is_named_and_fatal(site: Site, code: str, said: str) -> None:
    site.install("acme-emails", "emails", code)
    plugins = Plugins(allowed=("emails",))

    refusal = _refusal(plugins)

    assert refusal.startswith("plugin 'emails' (acme-emails 1.0, acme_emails)")
    assert said in refusal
    assert _info(plugins, "emails").status is Status.FAILED
    assert said in _info(plugins, "emails").detail


def test_a_plugin_that_raises_in_a_hook_is_named(site: Site) -> None:
    code = """
        from treadle import hookimpl

        @hookimpl
        def treadle_configure(settings):
            raise KeyError("smtp")
    """
    site.install("acme-emails", "emails", code)

    with pytest.raises(
        PluginError, match=r"'emails'.* raised in treadle_configure: KeyError: 'smtp'"
    ):
        Plugins(allowed=("emails",)).configure(Settings())


def test_a_plugin_that_imports_for_longer_than_5_s_is_named_in_a_warning(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("acme-slow", "slow", REGISTERS.format(name="slow"))
    site.install("acme-quick", "quick", REGISTERS.format(name="quick"))
    times = iter([0.0, 6.0, 6.0, 6.1])

    Plugins(allowed=("slow", "quick"), monotonic=lambda: next(times)).load()

    warned = [record.__dict__["plugin"] for record in caplog.records if record.msg == "plugin_slow"]
    assert warned == ["slow"]


def test_tracing_writes_what_loads_and_what_is_called(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.install("acme-emails", "emails", REGISTERS.format(name="emails"))

    Plugins(allowed=("emails",), trace=True).register(Registry())

    assert capsys.readouterr().err.splitlines() == [
        "plugins: loaded 'emails' (acme-emails 1.0, acme_emails): treadle_register",
        "plugins: calling treadle_register of emails",
    ]


# Profiles


def test_a_profile_is_found_by_its_name_that_of_the_first_plugin_first(site: Site) -> None:
    for name in ("a", "b"):
        site.install(f"acme-{name}", name, SERVES.format(name=name))

    plugins = Plugins(allowed=("b", "a"))

    assert plugins.profile("a").name == "a"
    assert plugins.profile("shop").summary == "of b"


def test_an_unknown_profile_is_told_with_those_that_there_are(site: Site) -> None:
    site.install("acme-a", "store", SERVES.format(name="store"))

    with pytest.raises(ConfigurationError) as caught:
        Plugins(allowed=("store",)).profile("stor")

    assert "Did you mean 'store'? Known: shop, store" in str(caught.value)


def test_without_a_plugin_that_has_profiles_it_is_told_what_brings_some() -> None:
    with pytest.raises(ConfigurationError, match="pip install treadle-profiles"):
        Plugins(allowed=()).profile("pool")
