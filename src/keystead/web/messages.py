"""Messages: what goes over the wire, strictly read.

Every request and reply is a `Message`: unknown fields are refused, values are not coerced, and the repr shows nothing,
because some of them hold passwords, plaintext or keys. What msgspec finds wrong is told as one plain sentence with a
hint, and without the value that was sent.
"""

import difflib
import re
from typing import Annotated, Any, NoReturn
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from keystead.core.errors import Refusal
from keystead.core.ids import LABEL
from keystead.core.page import MAX_LIMIT, PageRequest
from keystead.web.refusals import HttpRefusal


class Message(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The base of every request and reply."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def id_pattern(kind: str) -> str:
    """A regular expression for the ids of `kind`. A tenancy's id names its root compartment too."""
    word = "(compartment|tenancy)" if kind == "compartment" else kind
    return rf"^{LABEL}\.{word}\.[a-z0-9]+\.[a-z0-9-]{{1,32}}\.[a-z2-7]{{32}}$"


CompartmentRef = Annotated[
    str,
    Meta(pattern=id_pattern("compartment"), max_length=120, description="Id of a compartment; a tenancy's id "
         "names its root compartment."),
]  # fmt: skip
KeyRef = Annotated[str, Meta(pattern=id_pattern("key"), max_length=120, description="Id of a key.")]
VaultRef = Annotated[str, Meta(pattern=id_pattern("vault"), max_length=120, description="Id of a vault.")]
SystemRef = Annotated[
    str, Meta(pattern=id_pattern("mysqldbsystem"), max_length=120, description="Id of a database system.")
]
# The service that keeps the named thing checks the name and says best what is wrong; the pattern is for readers.
Name = Annotated[
    str,
    Meta(
        description="Name, unique among its kind in its place.",
        extra_json_schema={"pattern": r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$"},
    ),
]
Description = Annotated[str, Meta(max_length=400, description="What it is for, in your own words.")]

Tags = Annotated[dict[str, str], Meta(max_length=50, description="Your own names and values.")]


class Tagging(Message):
    """Tags, in place of those there were."""

    tags: Tags


class NoQuery(Message):
    """An operation without query parameters."""


class Listing(Message):
    """The query of every list."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many items at most; 50 when absent.")] | None = None
    page: Annotated[str, Meta(max_length=1024, description="The next_page of the answer before.")] | None = None

    def request(self) -> PageRequest:
        """As the services take it."""
        return PageRequest.of(self.limit, self.page)


class NamedListing(Listing):
    """The query of a list whose items have names."""

    name: Annotated[str, Meta(max_length=100, description="Only the item of exactly this name.")] | None = None


class CompartmentListing(NamedListing, kw_only=True):
    """The query of a list of what lies in one compartment."""

    compartment_id: CompartmentRef


def read_body(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    """Decode a request body.

    Raises:
        Refusal: not JSON, or not what the operation takes.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        _explain(str(error), decoder.type, "field")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _malformed(error)


def read_query(kind: type | None, raw: bytes) -> Any:
    """Decode a query string strictly: no unknown and no repeated parameters.

    Raises:
        Refusal: as above.
    """
    if not raw:
        pairs: list[tuple[str, str]] = []
    else:
        try:
            pairs = parse_qsl(
                raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=32
            )
        except ValueError as error:
            raise Refusal(
                "InvalidParameter", "the query string cannot be read", hint="write it as name=value&name=value"
            ) from error
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Refusal("InvalidParameter", "a query parameter is given twice", hint="give each parameter once")
    wanted = kind or NoQuery
    try:
        return msgspec.convert(values, wanted, strict=False)
    except msgspec.ValidationError as error:
        _explain(str(error), wanted, "query parameter")


def _malformed(error: Exception) -> NoReturn:
    at = re.search(r"\(byte (\d+)\)", str(error))
    where = f" (at byte {at[1]})" if at else ""
    if isinstance(error, UnicodeDecodeError):
        raise Refusal("MalformedBody", "the body is not UTF-8 text", hint="send JSON in UTF-8") from None
    raise Refusal("MalformedBody", f"the body is not valid JSON{where}", hint="send one JSON object in UTF-8") from None


_AT = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_HINTS = {
    "base64": "use the standard alphabet with padding, without white space",
}


def _explain(text: str, kind: Any, noun: str) -> NoReturn:
    """Turn msgspec's words into ours. The value itself is never repeated: it may be a secret."""
    found = _AT.match(text)
    what = found["what"] if found else text
    path = (found["path"] or "") if found else ""
    place = f"the {noun} {path[2:]!r}" if path.startswith("$.") else "the body"
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    if unknown := re.match(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        _unknown(unknown[1][:60], names, noun)
    if missing := re.match(r"Object missing required field `(.*)`", what):
        raise Refusal("InvalidParameter", f"the {noun} {missing[1]!r} is missing", hint=_listing(names, noun))
    if "base64" in what:
        raise Refusal("InvalidParameter", f"{place} is not valid base64", hint=_HINTS["base64"])
    if "matching regex" in what:
        _not_an_id(what, place)
    if wrong := re.match(r"Expected `(.*?)`,? ?(.*)$", what, re.DOTALL):
        _wrong(place, wrong[1], wrong[2])
    if what.startswith("Invalid enum value"):
        raise Refusal("InvalidParameter", f"{place} is none of the values allowed", hint="see the API description")
    raise Refusal("InvalidParameter", f"{place} cannot be read", hint="see the API description")


def _unknown(name: str, names: list[str], noun: str) -> NoReturn:
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else _listing(names, noun)
    raise Refusal("InvalidParameter", f"the {noun} {name!r} is not known here", hint=hint)


def _listing(names: list[str], noun: str) -> str:
    return f"{noun}s here: {', '.join(names)}" if names else f"there are no {noun}s here"


def _not_an_id(what: str, place: str) -> NoReturn:
    if kind := re.search(r"ks1\\\.(\(?[a-z|]+\)?)\\\.", what):
        word = kind[1].strip("()").replace("|", " or ")
        raise Refusal(
            "InvalidId", f"{place} is not the id of a {word}", hint="ids look like ks1.<type>.<realm>.<region>.<unique>"
        )
    raise Refusal("InvalidParameter", f"{place} is not spelled as it must be", hint="see the API description")


_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "bool": "true or false",
    "bytes": "a base64 string",
    "object": "an object",
    "array": "a list",
    "null": "null",
    "float": "a number",
    "datetime": "a moment (RFC 3339)",
}


def _wrong(place: str, wanted: str, rest: str) -> NoReturn:
    words = " or ".join(_TYPES.get(part.strip(), part.strip()) for part in wanted.split("|"))
    if got := re.match(r"got `(.*)`$", rest):
        sentence = f"{place} must be {words}, not {_TYPES.get(got[1], got[1])}"
    elif limit := re.match(r"of length (<=|>=) (\d+)$", rest):
        bound = "at most" if limit[1] == "<=" else "at least"
        sentence = f"{place} must have a length of {bound} {limit[2]}"
    elif limit := re.match(r"(<=|>=|<|>) (-?\d+)$", rest):
        bound = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}[limit[1]]
        sentence = f"{place} must be {bound} {limit[2]}"
    else:
        sentence = f"{place} must be {words}"
    raise Refusal("InvalidParameter", sentence)


def unsupported_media_type() -> HttpRefusal:
    """The body is labelled as something else than JSON."""
    return HttpRefusal(415, "UnsupportedMediaType", "the body must be JSON", hint="send Content-Type: application/json")


def read_if_match(raw: bytes) -> int | None:
    """The version in an If-Match header; None for `*`.

    Raises:
        Refusal: not an ETag of ours.
    """
    text = raw.strip()
    if text == b"*":
        return None
    digits = text[1:-1]
    if len(text) < 3 or text[:1] != b'"' or text[-1:] != b'"' or not digits.isdigit() or len(digits) > 15:
        raise Refusal("InvalidParameter", "the If-Match header is not an ETag of ours", hint='it looks like "3"')
    return int(digits)
