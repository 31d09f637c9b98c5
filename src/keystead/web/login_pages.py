"""The pages on which somebody lets a client in: plain HTML, no script, nothing from elsewhere.

Every text that comes from outside is escaped. The policy allows the page its own style by hash, forms to ourselves and,
after consent, the way back to the client on this machine; it is framed by nobody and tells nobody where it was.
"""

import base64
import hashlib
from collections.abc import Mapping
from html import escape

from keystead.web.exchange import Answer, Header

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem;color:#1b1f24}"
    "h1{font-size:1.3rem}label{display:block;margin:.8rem 0 .2rem}input{font:inherit;width:100%;padding:.4rem;"
    "box-sizing:border-box}button{font:inherit;margin:1.2rem .6rem 0 0;padding:.4rem 1rem}"
    ".told{border-left:4px solid #c33;padding:.2rem .8rem}dt{color:#555}dd{margin:0 0 .5rem}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HTML: Header = (b"content-type", b"text/html; charset=utf-8")


def page(title: str, inside: str, status: int = 200, back: str = "") -> Answer:
    """A page. `back`: an origin to which its form may lead, besides us."""
    policy = (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self' {back}".rstrip()
        + "; frame-ancestors 'none'; base-uri 'none'"
    )
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - Keystead</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{inside}</body></html>"
    )
    headers: tuple[Header, ...] = (
        HTML,
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
    )
    return Answer(status, body.encode(), headers)


def sign_in(asked: Mapping[str, str], told: str = "", status: int = 200) -> Answer:
    """Tenancy, user and password; for a device, its code as well."""
    device = "user_code" in asked
    code = _field("user_code", "Code that the device shows", asked.get("user_code", "")) if device else ""
    hidden = {name: value for name, value in asked.items() if name not in ("tenancy", "user", "user_code")}
    return page(
        "Sign in",
        f"<p>{'A device' if device else 'A command line on this machine'} asks to act as you in region "
        f"<strong>{escape(asked.get('region', ''))}</strong>. Go on only if you have just asked for it.</p>"
        f"{_told(told)}<form method=post action=/login/sign-in>{_hidden(hidden)}{code}"
        f"{_field('tenancy', 'Tenancy', asked.get('tenancy', ''))}{_field('user', 'User', asked.get('user', ''))}"
        f"{_field('password', 'Password', kind='password')}<button>Sign in</button></form>",
        status,
    )


def factor(
    asked: Mapping[str, str], challenge: str, offered: tuple[str, ...], told: str = "", status: int = 200
) -> Answer:
    """A code of a generator, or a recovery code."""
    typed = [name for name in ("totp", "recovery") if name in offered]
    if not typed:
        inside = (
            "<p>Your second factor cannot be shown on this page. Sign in on the command line instead: "
            "<code>keystead login --password</code></p>"
        )
        return page("A second factor", inside, 403)
    names = {"totp": "Code of your generator", "recovery": "Recovery code"}
    choices = "".join(
        f"<label><input type=radio name=factor value={name}{' checked' if name == typed[0] else ''} style>"
        f" {names[name]}</label>".replace(" style", "")
        for name in typed
    )
    return page(
        "A second factor",
        f"<p>The password is right and not enough.</p>{_told(told)}<form method=post action=/login/factor>"
        f"{_hidden({**asked, 'challenge': challenge, 'offered': ' '.join(offered)})}{choices}"
        f"{_field('code', 'Code')}<button>Go on</button></form>",
        status,
    )


def consent(who: str, tenancy: str, asked_from: str, ticket: str, region: str, back: str) -> Answer:
    """Who, and what."""
    return page(
        "Let it in?",
        f"<p>You are <strong>{escape(who)}</strong> of <strong>{escape(tenancy)}</strong>.</p>"
        f"<dl><dt>Who asks</dt><dd>the Keystead command line, from {escape(asked_from or 'this machine')}</dd>"
        f"<dt>What for</dt><dd>everything that you may do in region {escape(region)}, for 24 hours at most</dd></dl>"
        f"<form method=post action=/login/consent>{_hidden({'ticket': ticket})}"
        "<button name=decision value=allow>Allow</button><button name=decision value=deny>Deny</button></form>"
        "<p>You can end it at any time: <code>keystead session end</code></p>",
        back=back,
    )


def told(title: str, text: str, status: int = 200) -> Answer:
    """Something to read."""
    return page(title, f"<p>{escape(text)}</p>", status)


def _told(text: str) -> str:
    return f'<p class="told" role="alert">{escape(text)}</p>' if text else ""


def _hidden(fields: Mapping[str, str]) -> str:
    return "".join(
        f'<input type=hidden name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
    )


def _field(name: str, label: str, value: str = "", kind: str = "text") -> str:
    return (
        f'<label for={name}>{escape(label)}</label><input id={name} name={name} type={kind} value="{escape(value)}" '
        f"autocomplete={'current-password' if kind == 'password' else 'off'} required>"
    )
