"""Sensitive data: what it looks like, by the name of a field and by the value itself. Pure.

    {"password": "x"}              by key: the name says what it is
    "pay with 4111 1111 1111 1111" by value: a shape, and where there is one its check digits

The two are told apart: a parameter that is called ``password_policy`` is no password, and a number
of sixteen digits is no card unless its digits add up. Guardrails look for it (``found``), people
and logs get it masked (``Redactor``). Patterns are compiled once, a text is passed over once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, get_args

Sort = Literal[
    "ssn",
    "card",
    "iban",
    "bank_account",
    "password",
    "api_key",
    "token",
    "private_key",
    "email",
    "phone",
]

SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
ALL: Final = frozenset(SORTS)
PERSONAL: Final[tuple[Sort, ...]] = ("ssn", "card", "iban", "bank_account", "email", "phone")
SECRETS: Final[tuple[Sort, ...]] = ("password", "api_key", "token", "private_key")
TEXT_CHARS_MAX: Final = 1_000_000
"""Of one text that is looked through; what is longer counts as sensitive as a whole."""
HIDDEN: Final = "[hidden]"
"""Stands for a field that its definition marks as sensitive."""
_DEPTH_MAX: Final = 70
HIDDEN_CHARS_MIN: Final = 4
"""Of a value that is hidden wherever it stands: a shorter one would stand anywhere."""
_ACCOUNT_DIGITS: Final = (6, 17)
_PHONE_DIGITS: Final = (7, 15)
_CARD_DIGITS: Final = (13, 19)

_WORDED: Final = re.compile(
    r"""
      (?P<private_key>-----BEGIN\ [A-Z\ ]{0,20}PRIVATE\ KEY-----(?:.*?-----END[^-]{0,40}-----|.*))
    | (?P<token>\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}|(?i:\bbearer)\ +[\w.~+/-]{16,}=*)
    | (?P<api_key>\b(?:sk-[A-Za-z0-9_-]{20,}|[sr]k_(?:live|test)_\w{16,}|AKIA[0-9A-Z]{16}
        |gh[opsru]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}
        |glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,}|SG\.[\w-]{16,}\.[\w-]{16,})(?![\w-]))
    | (?:\b(?i:api[ _-]?key|access[ _-]?key|secret[ _-]?key)["']?\ *[:=]\ *["']?
        (?P<api_key_of>[A-Za-z0-9_./+-]{8,}))
    | (?:\b(?i:passwords?|passwd|passphrase|pwd)["']?\ *(?:[:=]|\bis\b)\ *["']?
        (?P<password>[^\s"',;{}\[\]]{4,}))
    | (?:\b(?i:account|acct|routing)\ *(?i:number|no|nr|num)?\.?\ *[:\#]{0,2}\ *
        (?P<bank_account>\d(?:[ -]?\d){7,16})(?![\w-]))
    """,
    re.VERBOSE | re.DOTALL,
)
_MARKED: Final = re.compile(
    r"""
      (?:\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,60}:(?P<password_of>[^\s@/]{3,60})@)
    | (?P<email>(?<![\w.+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@
        (?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}[A-Za-z]{2,24}(?![\w@-]))
    """,
    re.VERBOSE,
)
_NUMBERS: Final = re.compile(
    r"""(?=[A-Z\d+(])(?<![\w.+-])(?:
      (?P<iban>[A-Z]{2}\d{2}(?:\ ?[A-Z0-9]{4}){2,7}(?:\ ?[A-Z0-9]{1,3})?)(?![A-Za-z0-9])
    | (?P<card>(?:[3-6]|2[2-7])\d{2,3}(?:[ -]?\d){9,16})(?![\w-]|\.\d)
    | (?P<ssn>(?!000|666|9\d\d)\d{3}(?P<s>[- ])(?!00)\d{2}(?P=s)(?!0000)\d{4})(?![\w-]|\.\d)
    | (?P<phone>\+[1-9]\d{0,2}[ .()-]{0,2}\d(?:[ .()/-]{0,2}\d){6,12}
        |\(\d{3}\)\ ?\d{3}[-. ]\d{4}|[2-9]\d{2}(?P<p>[-.])\d{3}(?P=p)\d{4})(?![\w-]|\.\d)
    )""",
    re.VERBOSE,
)
_WORDS_OF: Final = (
    *("-----begin", "eyj", "sk-", "sk_", "rk_", "akia", "gho_", "ghp_", "ghr_", "ghs_", "ghu_"),
    *("github_pat_", "xox", "aiza", "glpat-", "hf_", "sg.", "bearer"),
    *("key", "pass", "pwd", "account", "acct", "routing"),
)
_OF_MARKED: Final[frozenset[Sort]] = frozenset({"email", "password"})
_OF_WORDED: Final = frozenset[Sort](
    {"private_key", "token", "api_key", "password", "bank_account"}
)
_OF_NUMBERS: Final[frozenset[Sort]] = frozenset({"iban", "card", "ssn", "phone"})
_DIGITS_MIN: Final = 7
"""A text without any of these has nothing that the patterns look for: most texts end here."""
_GROUPS: Final[dict[str, Sort]] = dict(
    [*((sort, sort) for sort in SORTS), ("api_key_of", "api_key"), ("password_of", "password")]
)
_REFERENCE: Final = re.compile(
    r"\s*(?:\$\w+|\$\{[^}]*\}|\{\{.*\}\}|\*+|<[^<>]*>|\[redacted [a-z_]+\])\s*\Z"
)
"""Stands in the place of a value: a reference to it, or what is masked already."""
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_NAMES: Final[tuple[tuple[Sort, str], ...]] = (
    ("password", "password,passwd,pwd,passphrase,passcode,password hash,secret,client secret"),
    ("password", "password confirmation,secrets,credential,credentials"),
    ("api_key", "api key,apikey,access key,secret key,api secret,secret access key"),
    ("token", "access token,refresh token,auth token,id token,api token,bearer token"),
    ("token", "session token,token secret,authorization,cookie,set cookie,bearer"),
    ("private_key", "private key,signing key,encryption key"),
    ("ssn", "ssn,social security number,social security,social insurance number"),
    ("ssn", "ssn number,national id,passport number"),
    ("card", "card number,credit card,credit card number,cc number,debit card number,pan"),
    ("card", "card no,cvv,cvc,debit card,cvv2,creditcard"),
    ("iban", "iban"),
    ("bank_account", "bank account,bank account number,account number,routing number"),
    ("bank_account", "sort code,account no"),
    ("email", "email,e mail,email address,mail address"),
    ("phone", "phone,phone number,mobile,mobile number,telephone,cell phone,fax,msisdn"),
    ("phone", "mobile phone,telephone number,cell number"),
)
_KEYS: Final[dict[tuple[str, ...], Sort]] = {
    tuple(words.split()): sort for sort, names in _NAMES for words in names.split(",")
}
_KEY_WORDS_MAX: Final = max(map(len, _KEYS))
_INNER: Final = frozenset({"number", "value", "no"})
"""Fields of an object under a sensitive key that hold the value itself."""
_ONE_OF_MANY: Final = frozenset({"credential", "credentials", "secrets", "cookie"})

_IBAN_LENGTHS: Final = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24"
        "FI18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32"
        "LI21LT20LU20LV21MC27MD24ME22MK19MR27MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24"
        "SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20",
    )
}


class Found(NamedTuple):
    """Something sensitive: which sort, and where (``params.contacts[0].email``)."""

    sort: Sort
    path: str
    by_key: bool = False


class Span(NamedTuple):
    """A sensitive part of a text."""

    sort: Sort
    start: int
    end: int


def spans(text: str, sorts: frozenset[Sort] = ALL) -> list[Span]:
    """Return the parts of a text that look like one of these sorts, in order.

    Others may be among them: sorts are looked for together.
    """
    if len(text) > TEXT_CHARS_MAX:
        return [Span("token", 0, len(text))]
    found: list[Span] = []
    if "@" in text and sorts & _OF_MARKED:
        _look(_MARKED, text, found)
    if sorts & _OF_WORDED:
        low = text.lower()
        for word in _WORDS_OF:
            if word in low:
                _look(_WORDED, text, found)
                break
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) - len(raw.translate(None, b"0123456789")) >= _DIGITS_MIN and sorts & _OF_NUMBERS:
        _look(_NUMBERS, text, found)
    if len(found) > 1:
        found.sort(key=lambda each: (each.start, -each.end))
        found = [
            each
            for index, each in enumerate(found)
            if not any(before.end > each.start for before in found[:index])
        ]
    return found


def _look(pattern: re.Pattern[str], text: str, found: list[Span]) -> None:
    at = 0
    while (match := pattern.search(text, at)) is not None:
        group = next(
            name for name, value in match.groupdict().items() if value and name in _GROUPS
        )
        sort, value = _GROUPS[group], match[group]
        holds = _CHECKS.get(group)
        if _REFERENCE.match(value) or (holds is not None and not holds(value)):
            at = match.start() + 1  # only this reading is wrong: another may begin inside
            continue
        found.append(Span(sort, *match.span(group)))
        at = max(match.end(), at + 1)


@lru_cache(maxsize=4_096)
def of_key(key: str) -> Sort | None:
    """Return what sort of data a field of this name holds; None: nothing sensitive by its name.

    The last words of a name say what it is: ``user_password`` is one, ``password_policy`` is not.
    """
    words = tuple(each.lower() for each in _WORDS.findall(key))
    for count in range(min(_KEY_WORDS_MAX, len(words)), 0, -1):
        sort = _KEYS.get(words[-count:])
        if sort is not None:
            return sort
    return None


def found(value: Any, sorts: Iterable[Sort] = SORTS) -> list[Found]:
    """Return everything sensitive in a value, with its place; never the value itself."""
    told: list[Found] = []
    _find(value, frozenset(sorts), None, None, 0, told)
    return told


_Place = tuple[Any, str | int] | None
"""A place is what it is in, and its name there: it is written out only when it is told."""


def _find(  # noqa: PLR0917 - the hot path: once for each part of a value
    value: Any,
    sorts: frozenset[Sort],
    where: _Place,
    key: Sort | None,
    depth: int,
    told: list[Found],
) -> None:
    if depth > _DEPTH_MAX:
        return
    if isinstance(value, dict):
        for name, each in value.items():
            inner = of_key(name) or (key if name in _INNER else None)
            _find(each, sorts, (where, name), inner, depth + 1, told)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            _find(each, sorts, (where, index), key, depth + 1, told)
    elif key is not None and key in sorts and is_of(key, value):
        told.append(Found(key, _written(where), by_key=True))
    else:
        text = value if type(value) is str else _as_text(value)
        if text and (there := spans(text, sorts)):
            known = {each.sort for each in there} & sorts
            told += [Found(sort, _written(where)) for sort in SORTS if sort in known]


def _written(place: _Place) -> str:
    if place is None:
        return ""
    above, name = place
    before = _written(above)
    if isinstance(name, int):
        return f"{before}[{name}]"
    return f"{before}.{name}" if before else name


def is_of(sort: Sort, value: Any) -> bool:
    """Tell whether what stands under a sensitive key can be such a value at all."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return False
    text = str(value)
    if _REFERENCE.match(text):
        return False
    digits = sum(each.isdigit() for each in text)
    match sort:
        case "email":
            return "@" in text
        case "phone":
            low, high = _PHONE_DIGITS
            return low <= digits <= high and digits * 2 > len(text)
        case "card" | "ssn":
            return digits >= 3 and digits * 2 > len(text)  # noqa: PLR2004 - a CVV has three
        case "bank_account":
            low, high = _ACCOUNT_DIGITS
            return low <= digits <= high and digits * 2 > len(text)
        case _:
            return True


class Redactor:
    """Masks what is sensitive, for people and logs. Made once and used for everything.

    ``keys`` are names of fields that are sensitive as well; ``hidden`` are values that are masked
    wherever they stand, also inside of texts.
    """

    __slots__ = ("_hidden", "_keys", "_sorts", "_values")

    def __init__(
        self,
        sorts: Iterable[Sort] = SORTS,
        keys: Iterable[str] = (),
        hidden: Iterable[Any] = (),
    ) -> None:
        self._sorts: Final = frozenset(sorts)
        self._keys: Final = frozenset(each.lower() for each in keys)
        values = {str(each) for each in hidden}
        self._values: Final = frozenset(each for each in values if len(each) >= HIDDEN_CHARS_MIN)
        any_of = "|".join(map(re.escape, sorted(self._values, key=len, reverse=True)))
        self._hidden: Final = re.compile(rf"(?<!\w)(?:{any_of})(?!\w)") if any_of else None

    def hiding(self, values: Iterable[Any], keys: Iterable[str] = ()) -> Redactor:
        """Return one that masks these values and fields too."""
        return Redactor(self._sorts, (*self._keys, *keys), (*self._values, *values))

    def value(self, value: Any, key: str = "") -> Any:
        """Return a value with what is sensitive in it masked; ``key`` is its name."""
        return self._value(value, key, None, 0)

    def text(self, text: str) -> str:
        """Return a text with its sensitive parts masked."""
        if self._hidden is not None:
            text = self._hidden.sub(HIDDEN, text)
        if not self._sorts:
            return text
        parts: list[str] = []
        at = 0
        for each in spans(text, self._sorts):
            if each.sort in self._sorts:
                parts += [text[at : each.start], masked(each.sort)]
                at = each.end
        return text if not parts else "".join([*parts, text[at:]])

    def _value(self, value: Any, key: str, above: Sort | None, depth: int) -> Any:
        if depth > _DEPTH_MAX:
            return HIDDEN
        if key and key.lower() in self._keys and value is not None:
            return HIDDEN
        sort = (of_key(key) if key else None) or (above if key in _INNER or not key else None)
        if isinstance(value, Mapping):
            return {
                name: self._value(each, str(name), sort, depth + 1) for name, each in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._value(each, "", sort, depth + 1) for each in value]
        if value is None or isinstance(value, bool):
            return value
        if self._values and str(value) in self._values:
            return HIDDEN
        if sort is not None and sort in self._sorts and is_of(sort, value):
            return masked(sort)
        text = value if isinstance(value, str) else _as_text(value)
        if not text:
            return value
        shown = self.text(text)
        return value if shown == text else shown


def masked(sort: Sort) -> str:
    """Return what stands in the place of a value."""
    return f"[redacted {sort}]"


def luhn(text: str) -> bool:
    """Tell whether the digits of a text add up as those of a card do."""
    digits = [int(each) for each in reversed(text) if each.isdigit()]
    return sum(digits[::2]) % 10 == -sum(sum(divmod(2 * each, 10)) for each in digits[1::2]) % 10


def _card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    low, high = _CARD_DIGITS
    if not low <= len(digits) <= high or len(set(digits)) == 1:
        return False
    two, four = int(digits[:2]), int(digits[:4])
    lengths: tuple[int, ...] = ()
    if digits[0] == "4":
        lengths = (13, 16, 19)
    elif 51 <= two <= 55 or 2221 <= four <= 2720 or four == 6011 or two == 65:  # noqa: PLR2004
        lengths = (16,)
    elif 3528 <= four <= 3589 or 6440 <= four <= 6499 or two == 62:  # noqa: PLR2004 - issuers
        lengths = (16, 19)
    elif two in {34, 37}:
        lengths = (15,)
    elif two in {36, 38, 39} or 3000 <= four <= 3059:  # noqa: PLR2004 - issuers
        lengths = (14,)
    return len(digits) in lengths and luhn(digits)


def _iban(text: str) -> bool:
    plain = text.replace(" ", "")
    if _IBAN_LENGTHS.get(plain[:2]) != len(plain):
        return False
    turned = plain[4:] + plain[:4]
    return int("".join(str(int(each, 36)) for each in turned)) % 97 == 1


def _password(text: str) -> bool:
    """Tell whether what follows the word can be one: ``password: required`` is about passwords."""
    plain = text.strip(".!?()").lower()
    return plain not in _NO_PASSWORDS and not plain.startswith(("http", "null", "none"))


_NO_PASSWORDS: Final = frozenset(
    {
        *("required", "optional", "missing", "invalid", "incorrect", "wrong", "empty", "expired"),
        *("changed", "reset", "string", "text", "true", "false", "correct", "strong", "weak"),
        *("hidden", "protected", "stored", "unset", "given", "needed", "hashed", "never", "valid"),
        *("short", "long", "secret", "forgotten", "encrypted", "rotated", "hers", "mine", "yours"),
        *("about", "what", "your", "their", "this", "that", "important", "case", "default"),
    }
)


def _key(text: str) -> bool:
    """Tell whether a text looks drawn: letters and digits, and not words with marks between."""
    return any(each.isdigit() for each in text) and not text.isdigit()


_CHECKS: Final[dict[str, Callable[[str], bool]]] = {
    "card": _card,
    "iban": _iban,
    "password": _password,
    "api_key_of": _key,
}


def _as_text(value: Any) -> str:
    """Return a scalar as the text that patterns are for; empty when it can be none."""
    if isinstance(value, str):
        return value
    if type(value) is int and 10 ** (_CARD_DIGITS[0] - 1) <= value < 10 ** _CARD_DIGITS[1]:
        return str(value)
    return ""
