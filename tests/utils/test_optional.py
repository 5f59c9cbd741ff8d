import pytest

from skident.utils._optional import import_optional


def test_an_installed_module_is_returned():
    import os.path

    assert import_optional("os.path", extra="x", purpose="p") is os.path


def test_a_missing_package_is_named_with_the_command():
    wanted = (
        r"A\.plot needs no_such_package, which is not installed\. "
        r'Install it with: pip install "skident\[plot\]"'
    )
    with pytest.raises(ImportError, match=wanted) as raised:
        import_optional("no_such_package.part", extra="plot", purpose="A.plot")
    assert raised.value.name == "no_such_package"


def test_a_package_that_breaks_keeps_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "breaks_inside.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as raised:
        import_optional("breaks_inside", extra="plot", purpose="A.plot")
    assert "skident" not in str(raised.value)
