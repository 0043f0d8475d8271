from __future__ import annotations

import pytest

from fairlead.data.audit.settings import AuditSettings, settings_from
from fairlead.errors import ConfigError


def test_settings_from_texts() -> None:
    settings = settings_from(["ties_error=0.5", "min_items=10", "safety_expected=False"])
    assert (settings.ties_error, settings.min_items, settings.safety_expected) == (0.5, 10, False)
    assert settings_from([]) == AuditSettings()


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from(
            ["ties_eror=1", "min_items=2.5", "safety_expected=maybe", "ties_error", "ties_error=nan", "periods=-1"]
        )
    problems = [str(fault) for fault in caught.value.faults]
    assert len(problems) == 6
    assert "Did you mean ties_error?" in problems[0]
    assert "a whole number" in problems[1]
    assert "true or false" in problems[2]
    assert "NAME=VALUE" in problems[3]
    assert "a number" in problems[4]


def test_warnings_come_before_errors() -> None:
    settings = AuditSettings()
    for name in ("ties", "split_votes", "cue", "prefers_longer", "contamination"):
        assert getattr(settings, f"{name}_warning") < getattr(settings, f"{name}_error"), name
    for name in ("agreement", "required"):
        assert getattr(settings, f"{name}_warning") > getattr(settings, f"{name}_error"), name
