from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.names import SERVER_ID, USER_ID, InvalidName, ResourceName, parent_of

VERSION = ResourceName(
    "projects/{project}/models/{model}/versions/{version}", server_ids=("version",)
)


@given(
    project=st.from_regex(USER_ID, fullmatch=True),
    model=st.from_regex(USER_ID, fullmatch=True),
    version=st.from_regex(SERVER_ID, fullmatch=True),
)
def test_a_formatted_name_parses_to_its_ids(project, model, version):
    ids = {"project": project, "model": model, "version": version}
    name = VERSION.format(**ids)
    assert VERSION.parse(name) == ids
    assert VERSION.matches(name)
    assert VERSION.id_of(name) == version
    assert parent_of(name) == f"projects/{project}/models/{model}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "projects/p/models/m",
        "projects/p/models/m/versions/",
        "projects/p/models/m/versions/1/extra",
        "/projects/p/models/m/versions/1",
        "projects/p/models/m/versions/1\n",
        "projects/P/models/m/versions/1",
        "projects/p/models/1m/versions/1",
        "projects/p/models/m_x/versions/1",
        f"projects/p/models/{'m' * 64}/versions/1",
        "projects/p/models/-m/versions/1",
    ],
)
def test_a_name_of_another_shape_is_refused_with_the_shape_expected(name):
    assert not VERSION.matches(name)
    with pytest.raises(InvalidName) as caught:
        VERSION.parse(name)
    assert caught.value.reason == "INVALID_NAME"
    assert caught.value.metadata == {"name": name, "expected": VERSION.template}


def test_an_id_that_would_change_the_name_s_shape_is_refused():
    with pytest.raises(InvalidName):
        VERSION.format(project="p", model="m/versions/1", version="2")


def test_a_server_id_must_be_a_variable_of_the_template():
    with pytest.raises(ValueError, match="no variables"):
        ResourceName("projects/{project}", server_ids=("model",))


@pytest.mark.parametrize("name", ["", "projects", "projects/p", "a/b/"])
def test_a_name_without_a_parent_is_refused(name):
    with pytest.raises(InvalidName):
        parent_of(name)
