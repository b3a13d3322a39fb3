"""Messages name places, and never who may enter them."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import IncompleteError, OccupiedError, UserError, without_credentials

WORD = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!$%+_-.~", min_size=4, max_size=12)
HOST = st.sampled_from(["127.0.0.1:9", "host.example/path", "[::1]:80"])


@given(st.sampled_from(["http", "https", "tcp", "tls", "ws", "s3"]), WORD, WORD, HOST)
def test_no_user_and_no_password_of_an_address_is_in_a_message(scheme, user, password, host):
    address = f"{scheme}://{user}:SECRET{password}@{host}"
    for error in (UserError(address, found=address, expected="x", do=f"Give {address}."), IncompleteError(address)):
        assert "SECRET" not in str(error)
        assert host in str(error)
    assert "SECRET" not in without_credentials(f"'{user}:SECRET{password}@{host}'")


@pytest.mark.parametrize("name", ["X-Amz-Signature", "token", "password", "sig", "X-Amz-Security-Token"])
def test_no_signature_of_an_address_is_in_a_message(name):
    assert "SECRET" not in without_credentials(f"https://host/key?a=1&{name}=SECRET&b=2")


@pytest.mark.parametrize("text", ["mail me@example.com", "a: b@c", "rows 0:40 of x@y.zarr", "C:/a/b", "12:30 @ noon"])
def test_other_texts_stay_as_they_are(text):
    assert without_credentials(text) == text


@pytest.mark.parametrize("kind", [UserError, OccupiedError])
def test_an_error_survives_the_way_to_another_process(kind):
    error = kind("place", found="a", expected="b", do="Do c.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
