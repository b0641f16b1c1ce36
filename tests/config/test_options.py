"""What can be chosen in conf/."""

from mnist_lab.config.options import choices, groups


def test_every_folder_is_a_group() -> None:
    assert {"callbacks", "data", "experiment", "logger", "model", "trainer"} <= {*groups()}


def test_each_option_says_what_it_is() -> None:
    for group in groups():
        for name, text in choices(group).items():
            assert text.endswith((".", "?")), (group, name, text)
            assert not text.startswith(("#", "@package", "defaults")), (group, name)
