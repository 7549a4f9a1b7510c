"""What a browser would do with an HTML page."""

import re
from html.parser import HTMLParser


class Resources(HTMLParser):
    """What a browser would fetch to show a page: every attribute and style rule that names a resource."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found, self.links, self.tags, self.text = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if tag == "a" and name == "href":
                self.links.append(value)
            elif name in ("src", "srcset", "href", "xlink:href", "poster", "data", "action", "background"):
                self.found.append(value)
            elif name == "style":
                self.found += css_resources(value)

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "style":
            self.found += css_resources(data)
        self.text.append(data)


def css_resources(css: str) -> list[str]:
    return re.findall(r"url\(\s*[\"']?([^)\"']+)", css) + re.findall(r"@import\s+[\"']([^\"']+)", css)
