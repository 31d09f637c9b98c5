"""The pages on which somebody lets a client in: plain HTML, nothing from elsewhere.

Every text that comes from outside is escaped. The policy allows the page its own style by hash, forms to ourselves and,
after consent, the way back to the client on this machine; it is framed by nobody and tells nobody where it was. Two
pages have a script, always the same text and allowed by its hash: browsers ask an authenticator by script alone
(W3C WebAuthn Level 2), and the page with the number looks by itself whether it was answered. What differs from page to
page is data in attributes, never script.
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
    "input[type=radio]{width:auto}.number{font-size:3rem;font-weight:600;letter-spacing:.2em;margin:.5rem 0}"
)
ASK_AUTHENTICATOR = (
    "const form=document.getElementById('shown'),told=document.getElementById('trouble');"
    "async function ask(){told.hidden=true;try{"
    "const asked=PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(form.dataset.options));"
    "const made=await navigator.credentials.get({publicKey:asked});"
    "form.elements.assertion.value=JSON.stringify(made.toJSON());form.submit()}catch{told.hidden=false}}"
    "document.getElementById('use').addEventListener('click',ask);ask()"
)
LOOK_AGAIN = "setTimeout(()=>document.getElementById('shown').submit(),2000)"
WAYS = {"webauthn": "Use your authenticator", "click": "Ask on another device of yours"}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HTML: Header = (b"content-type", b"text/html; charset=utf-8")


def page(title: str, inside: str, status: int = 200, back: str = "", script: str = "") -> Answer:
    """A page. `back`: an origin to which its form may lead, besides us. `script`: one of the two."""
    policy = (
        f"default-src 'none'; style-src {_hash(STYLE)}; form-action 'self' {back}".rstrip()
        + (f"; script-src {_hash(script)}" if script else "")
        + "; frame-ancestors 'none'; base-uri 'none'"
    )
    inside += f"<script>{script}</script>" if script else ""
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
    """Every factor that this sign-in can go on with: a code is typed here, for the others there is a page each."""
    kept = {**asked, "challenge": challenge, "offered": " ".join(offered)}
    ways = "".join(
        f"<form method=post action=/login/ask>{_hidden({**kept, 'factor': name})}<button>{text}</button></form>"
        for name, text in WAYS.items()
        if name in offered
    )
    inside = f"<p>A second factor is needed.</p>{_told(told)}{_typed(kept, offered)}{ways}"
    return page("A second factor", inside, status)


def _typed(kept: Mapping[str, str], offered: tuple[str, ...]) -> str:
    """The form for a code of a generator, or a recovery code."""
    names = {"totp": "Code of your authenticator app", "recovery": "Recovery code"}
    typed = [name for name in names if name in offered]
    if not typed:
        return ""
    choices = "".join(
        f"<label><input type=radio name=factor value={name}{' checked' if name == typed[0] else ''}>"
        f" {names[name]}</label>"
        for name in typed
    )
    field = '<label for="code">Code</label><input id="code" name="code" autocomplete="one-time-code" required>'
    form = "<form method=post action=/login/factor>"
    return f"{form}{_hidden(kept)}{choices}{field}<button>Go on</button></form>"


def authenticator(asked: Mapping[str, str], challenge: str, offered: tuple[str, ...], options: str) -> Answer:
    """The browser asks the authenticator. `options`: for navigator.credentials.get, as JSON."""
    kept = {**asked, "challenge": challenge, "offered": " ".join(offered), "factor": "webauthn", "assertion": ""}
    return page(
        "Your authenticator",
        f'<form id=shown method=post action=/login/factor data-options="{escape(options)}">{_hidden(kept)}'
        "<p>Touch your authenticator, or do what this browser asks.</p><button type=button id=use>Ask again</button>"
        '</form><p id=trouble class="told" role="alert" hidden>The authenticator did not answer.</p>'
        f"{_other_way({**asked, 'challenge': challenge, 'offered': ' '.join(offered)})}",
        script=ASK_AUTHENTICATOR,
    )


def number(asked: Mapping[str, str], challenge: str, offered: tuple[str, ...], shown: str) -> Answer:
    """The number that is typed where the same person is signed in already. The page looks by itself; so does a button,
    where scripts are off."""
    kept = {**asked, "challenge": challenge, "offered": " ".join(offered), "factor": "click", "number": shown}
    return page(
        "Another device",
        f"<p>On a device where you are signed in with a second factor, run</p>"
        f"<p><code>keystead factor answer {escape(shown)}</code></p><p>The number is</p>"
        f"<p class=number id=number>{escape(shown)}</p><p>Nobody but you should ever ask you for it.</p>"
        f"<form id=shown method=post action=/login/factor>{_hidden(kept)}<button>I have typed it</button></form>"
        f"{_other_way({**asked, 'challenge': challenge, 'offered': ' '.join(offered)})}",
        script=LOOK_AGAIN,
    )


def _other_way(kept: Mapping[str, str]) -> str:
    """Back to the choice."""
    form = "<form method=post action=/login/ask>"
    return f"{form}{_hidden(kept)}<button>Use another factor</button></form>"


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
