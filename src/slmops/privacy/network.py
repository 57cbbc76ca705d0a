"""E-mail addresses, IP and MAC addresses, and URLs with credentials in them.

Knows no other kind. Shapes begin where a word begins, so that a long run of letters is read once.
"""

from __future__ import annotations

import ipaddress

from slmops.privacy.context import is_version
from slmops.privacy.types import Pattern, Span, shape

_LOCAL = r"\w.%+'!#$&*/=?^`{|}~-"
_EMAIL = shape(
    rf"(?<![{_LOCAL}])(?P<value>[\w%+][\w.%+'&~-]*+@(?:[^\W_](?:[\w-]*[^\W_])?\.)+(?:[^\W\d_]{{2,24}}|xn--[\w-]+))(?![\w@])"
)
_EMAIL_AFTER_A_SIGN = shape(
    r"(?<=[=/'`|{}~!#$&*?^])(?P<value>[\w%+][\w.%+-]*+@(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,24})(?![\w@])"
)
_URL = shape(
    r"(?<![A-Za-z0-9+.-])(?P<value>[A-Za-z][A-Za-z0-9+.-]{1,20}+://[^\s/@<>\"']++@[^\s<>\"'@]+)", ignore_case=True
)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = shape(rf"(?<![\w.,-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.[\w])")
_IPV6 = shape(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:(?<=:)(?:[0-9]{1,3}\.){3}[0-9]{1,3})?(?![\w:]|\.[0-9])")
_MAC = shape(
    r"(?<![\w:.-])(?:[0-9A-Fa-f]{2}(?P<by>[:-])(?:[0-9A-Fa-f]{2}(?P=by)){4}[0-9A-Fa-f]{2}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![\w:-]|\.[\w])"
)


def _no_version(text: str, start: int, end: int) -> Span | None:
    return None if is_version(text, start) else (start, end)


def _is_ipv6(text: str, start: int, end: int) -> Span | None:
    """As the standard library reads it; `a::b` of a program is none."""
    value = text[start:end]
    if value.endswith(":") and not value.endswith("::"):  # "from 2001:db8::1: refused"
        value, end = value[:-1], end - 1
    groups = [group for group in value.split(":") if group]
    if len(groups) < 2 or not any(character in "0123456789" for character in value):
        return None
    if len(groups) < 3 and len(groups[0]) < 3:  # "10::20" is rather a verse or a slice than an address
        return None
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return None
    return start, end


def _without_punctuation(text: str, start: int, end: int) -> Span | None:
    return start, start + len(text[start:end].rstrip(".,;:!?)]}"))


CREDENTIAL_URL = (Pattern("credential_url", _URL, _without_punctuation),)
EMAIL = (Pattern("email", _EMAIL), Pattern("email", _EMAIL_AFTER_A_SIGN))
IPV6 = (Pattern("ip", _IPV6, _is_ipv6),)
IPV4 = (Pattern("ip", _IPV4, _no_version, leads=(0,)),)
MAC = (Pattern("mac", _MAC),)
