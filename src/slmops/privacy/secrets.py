"""API keys, tokens and private keys, by the shapes that their makers gave them, or by what they are called.

The prefixes are those that the services document (AWS, GitHub, GitLab, Slack, Stripe, Google, …). Knows no entropy: a
random word that nobody calls a key is none.
"""

from __future__ import annotations

from slmops.privacy.context import before
from slmops.privacy.types import Pattern, Span, shape

_KNOWN = (
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ABIA|ACCA)[A-Z0-9]{16}",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}",
    r"gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[\w-]{20,}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}",  # Slack
    r"[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/]{24,}",  # Stripe
    r"sk-[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic and others
    r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{28}",  # Google
    r"hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}",
    r"SG\.[\w-]{16,32}\.[\w-]{16,64}|key-[0-9a-f]{32}|(?:SK|AC)[0-9a-f]{32}",  # SendGrid, Mailgun, Twilio
    r"do[opr]_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|sq0[a-z]{3}-[\w-]{22,}",
    r"[0-9]{8,10}:AA[\w-]{33}|[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,}",  # Telegram, Discord
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",  # JSON Web Token
)
_TOKEN = shape(rf"(?<![A-Za-z0-9_-])(?a:{'|'.join(_KNOWN)})(?![A-Za-z0-9_-])")
_PRIVATE_KEY = shape(
    r"-----BEGIN (?P<what>[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?)-----[^-]{1,20000}(?:-----END (?P=what)-----)?"
)
_BEARER = shape(r"\bBearer\s{1,4}(?P<value>[A-Za-z0-9_.~+/-]{16,}=*)", ignore_case=True)
_SET = shape(r"(?:[:=]|\bis\b)\s{0,2}[\"']?(?P<value>[A-Za-z0-9_+/.~-]{16,}={0,2})(?![\w@])")
_CALLED = shape(
    r"(?:key|token|secret|passw(?:or)?d|pwd|signature)[\"']?\s{0,2}(?:[:=]|is)\s{0,2}[\"']?$", ignore_case=True
)


def _is_called_so(text: str, start: int, end: int) -> Span | None:
    return _is_mixed(text, start, end) if _CALLED.search(before(text, start)) else None


def _is_mixed(text: str, start: int, end: int) -> Span | None:
    """What a machine made has letters and digits: a word has no digits, a date no letters."""
    value = text[start:end].rstrip(".")
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and "//" not in value
    return (start, start + len(value)) if mixed else None


PRIVATE_KEY = (Pattern("secret", _PRIVATE_KEY),)
TOKENS = (
    Pattern("secret", _TOKEN),
    Pattern("secret", _BEARER, _is_mixed),
    Pattern("secret", _SET, _is_called_so),
)
