"""docs/flash.md and docs/experts.md print what they show, for the models that they name."""

import pytest
from doc_blocks import ROOT, printed_and_shown
from flash_models import model_bytes


@pytest.mark.parametrize("page", ["docs/flash.md", "docs/experts.md"])
def test_pages_print_what_they_show(page: str) -> None:
    blocks = printed_and_shown(page)
    assert len(blocks) == (ROOT / page).read_text(encoding="utf-8").count("```python\n")
    for printed, shown in blocks:
        assert printed == shown


@pytest.mark.parametrize("name", ["llama2-70b", "opt-6.7b", "falcon-7b"])
def test_sizes_on_the_page_are_those_of_the_models(name: str) -> None:
    page = (ROOT / "docs/flash.md").read_text(encoding="utf-8")
    model = model_bytes(name)
    for part in (model.attention, model.embedding, model.other):
        assert f"{part:_}" in page
    assert f"{model_bytes('llama2-7b').total:_}" in (ROOT / "docs/experts.md").read_text(encoding="utf-8")
