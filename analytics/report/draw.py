"""A chart's specification as SVG: the only module that knows the library. It reads nothing from outside.

Vega's own descriptions become tooltips that need no script; what only makes the page larger is left out.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree as ET

import vl_convert

from analytics.report.model import Spec

_SVG: Final = "http://www.w3.org/2000/svg"
_LABEL = "aria-label"
# The chart as a whole has one description; its numbers stand in a table behind it. The page sets the font.
_DROPPED = frozenset(
    {"role", "aria-roledescription", "aria-hidden", _LABEL, "font-family", "pointer-events", "version"}
)
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")

ET.register_namespace("", _SVG)


def svg(spec: Spec) -> str:
    drawn = ET.fromstring(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))  # noqa: S314 - of our own making
    for element in drawn.iter():
        says = element.get(_LABEL) if element.get("role") == "graphics-symbol" else None
        is_axis = element.get("aria-roledescription") in ("axis", "legend")
        for name in list(element.attrib):
            if name in _DROPPED:
                del element.attrib[name]
            else:
                element.set(name, _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", element.attrib[name]))
        if says and not is_axis:
            title = ET.Element(f"{{{_SVG}}}title")
            title.text = says
            element.insert(0, title)
    drawn.set("role", "img")
    drawn.set(_LABEL, str(spec["description"]))
    return ET.tostring(drawn, encoding="unicode")
