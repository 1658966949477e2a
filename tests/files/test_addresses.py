"""Addresses: which can be used, and that no text of one shows a secret."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surveyflow.files.addresses import Address, problem_of_address, redacted
from surveyflow.files.paths import place_of, reason, split_extension, with_extension

SIGNED = "https://me:secret@archive.org/a/egs.fits?X-Amz-Signature=secret&uri=mast:egs.fits&secret[SCI]"


def test_no_text_of_an_address_shows_its_secrets_and_the_address_itself_has_them():
    address = Address(SIGNED)
    texts = [str(address), repr(address), f"{address}", redacted(f"cannot open '{SIGNED}'."), reason(OSError(f"GET {SIGNED}"))]
    assert not any("secret" in text for text in texts)
    assert str(address) == "https://archive.org/a/egs.fits?X-Amz-Signature=...&uri=mast:egs.fits&...[SCI]"
    assert pickle.loads(pickle.dumps(address)) == address
    assert address.url == SIGNED


@settings(max_examples=20)
@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6, max_size=12))
def test_passwords_and_signatures_are_removed_wherever_they_are(word):
    secret = f"S{word}S"
    text = f"tried ftp://u:{secret}@h/x.fits, then (https://h/x.fits?sig={secret}&token={secret}) and /x?key={secret}."
    assert secret not in redacted(text)


def test_an_extension_is_not_a_part_of_the_file_at_an_address():
    file, extension = split_extension("s3://bucket/egs_i2d.fits[SCI]")
    assert (file, extension) == (Address("s3://bucket/egs_i2d.fits"), "SCI")
    assert with_extension(file, extension) == Address("s3://bucket/egs_i2d.fits[SCI]")
    assert (file.name, file.scheme) == ("egs_i2d.fits", "s3")
    assert split_extension(Address("https://h/a.fits?uri=x[2]")) == (Address("https://h/a.fits?uri=x"), "2")


@pytest.mark.parametrize("text", ["egs.fits", "/data/egs.fits[1]", "odd:/name.fits", "~/egs.fits"])
def test_what_does_not_begin_as_an_address_is_a_path(text):
    assert place_of(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ftp://h/egs.fits", "read from https://, http://, s3://, gs:// only"),
        ("file:///etc/passwd", "Download it"),
        ("https://h/", "does not name a file"),
        ("https:///egs.fits", "does not name a file"),
        ("https://h/egs.fits#part", "holds a #"),
        ("https://h/egs 1.fits", "%20"),
        ("https://h:port/egs.fits", "is not an address"),
        ("https://me:secret@[h/egs.fits?key=secret", "is not an address"),
    ],
)
def test_addresses_that_cannot_be_used_are_refused_without_their_secrets(text, told):
    problem = " ".join(problem_of_address(text) or ())
    assert told in problem
    assert "secret" not in problem
    with pytest.raises(ValueError, match=r"\w"):
        Address(text)
