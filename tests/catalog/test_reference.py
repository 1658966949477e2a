from pathlib import Path

from surveyflow.catalog.columns import COLUMNS
from surveyflow.catalog.reference import reference_page
from surveyflow.values.codes import Flag, Status

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "catalog.md"


def test_the_reference_page_is_up_to_date():
    remedy = "run: python -m surveyflow.catalog.reference > docs/reference/catalog.md"
    assert PAGE.read_text() == reference_page(), remedy


def test_the_page_names_every_column_status_and_flag():
    page = reference_page()
    for name in [column.name for column in COLUMNS] + [status.value for status in Status] + [flag.name for flag in Flag]:
        assert f"| `{name}` |" in page, name
