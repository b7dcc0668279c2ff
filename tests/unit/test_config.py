"""Settings: who wins, and that what cannot be is refused by name."""

from pathlib import Path

import pytest

from onebook.config import BadConfig, load


def test_later_words_win(tmp_path: Path) -> None:
    """A file wins over the defaults, the environment over the file, an option over all."""
    file = tmp_path / "own.toml"
    file.write_text('[server]\nhost = "::1"\nport = 1\nworkers = 3\n')
    environment = {"ONEBOOK_SERVER_PORT": "2", "ONEBOOK_SERVER_WORKERS": "4"}
    server = load(file, environment, {"server.workers": 5, "server.host": None}).server
    assert (server.host, server.port, server.workers, server.graceful_seconds) == ("::1", 2, 5, 5.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server\n", "cannot read the settings in"),
        ("[kitchen]\nport = 1\n", r"\[kitchen\]"),
        ("server = 1\n", r"\[server\]"),
        ("[server]\nprot = 1\n", "prot"),
        ("[server]\nport = 70000\n", "server.port"),
        ("[server]\nworkers = 0\n", "server.workers"),
        ("[ledger]\nmax_batch = 0\n", "ledger.max_batch"),
        ('[ledger]\nmax_waiting = "many"\n', "ledger.max_waiting"),
        ('[payments]\ngateway = "stripe"\n', "payments.stripe_key"),
        ('[customers]\nkey_store = "google"\n', "customers.google_kms_key"),
        ("[ledger]\ncommand_timeout_seconds = 9.0\n", "ledger.command_timeout_seconds"),
        ("[ledger]\nsweep_interval_seconds = nan\n", "ledger.sweep_interval_seconds"),
        ('[auth]\nmax_ttl = "for ever"\n', "auth.max_ttl"),
        ('[log]\nlevel = "loud"\n', "log.level"),
    ],
)
def test_a_bad_file(tmp_path: Path, text: str, named: str) -> None:
    """A file that cannot be read, an unknown name and a value that cannot be are refused by name."""
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(BadConfig, match=named):
        load(file, {})


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("ONEBOOK_SERVER_PORT", "eighty", "ONEBOOK_SERVER_PORT"),
        ("ONEBOOK_SERVER_GRACEFUL_SECONDS", "soon", "ONEBOOK_SERVER_GRACEFUL_SECONDS"),
        ("ONEBOOK_LOG_FORMAT", "verse", "log.format"),
    ],
)
def test_a_bad_environment(name: str, value: str, named: str) -> None:
    """A value in the environment that cannot be is refused by name."""
    with pytest.raises(BadConfig, match=named):
        load(environment={name: value})
