"""Consent to publishing: given by a word in a file, in whatever way an editor or a shell writes it."""

from pathlib import Path

import pytest

from gan_core.hub.consent import refusal


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("GAN_STUDIO_ALLOW_PUBLISH", raising=False)
    path = tmp_path / "gan_studio" / "publish.txt"
    path.parent.mkdir()
    return path


@pytest.mark.parametrize("text", ["allow", "allow\n", "allow \r\n", "\r\n  allow", '"allow"', "Allow"])
@pytest.mark.parametrize(
    "encoding",
    ["ascii", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-16-le with a mark", "utf-16-be with a mark"],
)
def test_the_word_is_consent_in_every_encoding(file: Path, text: str, encoding: str) -> None:
    """PowerShell's echo writes UTF-16 with a mark, Notepad UTF-8 with one."""
    encoding, _, marked = encoding.partition(" with")
    file.write_bytes((f"\ufeff{text}" if marked else text).encode(encoding))
    assert refusal(file.parents[1]) is None


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"no", b"allowed", b"allow me", b"\xff\xfe", b"\xff\xfen\0o\0", b"\x80\x81", b"a\0l\0l\0o\0"],
)
def test_anything_else_is_none(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    said = refusal(file.parents[1])
    assert said is not None and said.startswith(
        "To publish from workflows, start ComfyUI with GAN_STUDIO_ALLOW_PUBLISH=1"
    )


def test_what_was_read_in_its_place_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes("allow please\n".encode("utf-16"))
    assert 'gan_studio/publish.txt says "allow please", not allow.' in str(refusal(file.parents[1]))
    file.write_text("\x1b[2J" + "x" * 900)
    said = str(refusal(file.parents[1]))
    assert "\x1b" not in said and len(said) < 500
    file.unlink()
    file.mkdir()
    assert "gan_studio/publish.txt cannot be read: " in str(refusal(file.parents[1]))
    monkeypatch.setenv("GAN_STUDIO_ALLOW_PUBLISH", "yes")
    assert 'GAN_STUDIO_ALLOW_PUBLISH is "yes", not 1.' in str(refusal(file.parents[1]))


def test_nothing_there_is_no_reproach(file: Path) -> None:
    assert str(refusal(file.parents[1])).endswith("then run this again.")


def test_the_variable_alone_is_enough(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_STUDIO_ALLOW_PUBLISH", "1")
    assert refusal(file.parents[1]) is None
    monkeypatch.setenv("GAN_STUDIO_ALLOW_PUBLISH", "0")
    assert refusal(file.parents[1])
