"""A form to ask about one customer: a field for each feature, a choice for each category.

One page of its own, with the few lines of script that send what was filled in as JSON, because
`/predict` takes nothing else.
"""

from __future__ import annotations

from html import escape
from typing import Any

from features.categories import other_name

FORM = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}: ask</title>
<link rel="icon" href="data:,">
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem;
 margin: 2rem auto; padding: 0 1rem }}
 label {{ display: grid; grid-template-columns: 14rem 1fr; gap: 0 1rem; padding: .3rem 0 }}
 small {{ grid-column: 2; color: #667 }}
 output {{ display: block; font-size: 1.3rem; margin: 1rem 0 }}
 input, select, button {{ font: inherit; padding: .2rem .4rem }}
</style></head><body>
<h1>{name}, version {version}</h1>
<p>The probability {outcome}. <a href=".">About the model</a></p>
<form>{fields}<p><button>Ask</button></p><output aria-live="polite"></output></form>
<script>
const form = document.querySelector("form"), said = document.querySelector("output");
form.addEventListener("submit", async event => {{
  event.preventDefault();
  const customer = {{}};
  for (const field of form.querySelectorAll("[name]"))
    if (field.value !== "")
      customer[field.name] = field.dataset.kind === "number" ? Number(field.value) : field.value;
  const body = JSON.stringify({{customers: [customer]}});
  const headers = {{"content-type": "application/json"}};
  const answer = await fetch("predict", {{method: "POST", headers, body}});
  const content = await answer.json();
  said.textContent = answer.ok
    ? `${{content.predictions[0].probability.toFixed(3)}}: ` +
      (content.predictions[0].decision ? "contact" : "leave")
    : content.error;
}});
</script></body></html>"""


def form_page(name: str, version: int, outcome: str, features: list[dict[str, Any]]) -> str:
    """features: the bundle's schema.  outcome: `that …`, what the probability is of."""
    return FORM.format(
        name=escape(name),
        version=version,
        outcome=escape(outcome),
        fields="".join(_field(feature) for feature in features),
    )


def _field(feature: dict[str, Any]) -> str:
    name, required = escape(feature["name"]), "" if feature.get("missing") else " required"
    categories = list(feature.get("categories") or ())
    if categories:
        empty = "not known" if feature.get("missing") else "choose"
        choices = "".join(f"<option>{escape(text)}" for text in categories)
        other = f'<option value="{escape(other_name(categories))}">any other'
        field = (
            f'<select name="{name}" data-kind="text"{required}>'
            f'<option value="">{empty}{choices}{other}</select>'
        )
    else:
        limits = "".join(
            f' {word}="{feature[key]:g}"'
            for word, key in (("min", "low"), ("max", "high"))
            if feature.get(key) is not None
        )
        field = (
            f'<input name="{name}" data-kind="number" type="number" step="any"{limits}{required}>'
        )
    missing = f"; may be empty: {feature['missing']}" if feature.get("missing") else ""
    unit = "" if categories else f" ({feature['unit']})"
    about = escape(f"{feature['meaning']}{unit}{missing}")
    return f"<label><span>{name}</span>{field}<small>{about}</small></label>"
