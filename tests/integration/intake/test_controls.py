"""Controls that nothing can check let nobody pass."""

from __future__ import annotations

import pytest

from service.errors import ServiceUnavailable
from service.intake.controls import Controls
from service.intake.intake import Intake
from service.values import App, Control, ImageKind, ImageSource
from tests.fixtures.pictures import Pictures
from tests.integration.identity.conftest import engine, looker

__all__ = ["engine", "looker"]


@pytest.mark.parametrize("skip_failing", [False, True])
@pytest.mark.parametrize(
    "controls", [Controls(quality=Control.LOW), Controls(liveness=Control.HIGH), Controls(spoofing=Control.NORMAL)]
)
def test_a_pack_without_a_reporter_accepts_no_controls(
    looker: Intake, pictures: Pictures, controls: Controls, *, skip_failing: bool
) -> None:
    app = App(1, "1", "app", "key", 0, None)
    source = ImageSource(ImageKind.BASE64, pictures.base64("obama.jpg"))
    assert len(looker.faces(app, source)) == 1
    with pytest.raises(ServiceUnavailable):
        looker.faces(app, source, controls=controls, skip_failing=skip_failing)
