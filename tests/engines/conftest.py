"""Compiled modules of these tests are kept apart from the user's, and compiled anew in every run."""

import pytest

pytest.importorskip("llvmlite")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FWDGRAD_CACHE", str(folder))
        yield folder
