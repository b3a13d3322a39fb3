"""A page of HTML as a browser reads it."""

import base64
from html.parser import HTMLParser

VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """A page as a browser reads it: elements with their attributes, and text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def images(self, kind="png"):
        found = (a["src"].partition(",") for tag, a in self.elements if tag == "img")
        return [base64.b64decode(body) for head, _, body in found if kind in head]
