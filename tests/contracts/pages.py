"""The data inside a page of the explorer, as a browser reads them."""

import base64
import gzip
import json
import re
from typing import Any

from genae_core.report.explorer.page import script_data

DATA = re.compile(r'(<script type="text/plain" id="data">)(.*?)(</script>)')


def data_of(page: str) -> Any:
    """The data: the text of their script, up to its first end."""
    match = DATA.search(page)
    assert match
    return json.loads(gzip.decompress(base64.b64decode(match[2], validate=True)))


def with_data(page: str, data: Any) -> str:
    """The page with other data."""
    return DATA.sub(lambda block: block[1] + script_data(data) + block[3], page)
