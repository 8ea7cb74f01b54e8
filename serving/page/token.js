// Asks for the token. It is handed on and kept nowhere else.

const $ = (id) => document.getElementById(id);

/** Shows the small form over nothing else; resolves with what was typed in. */
export function tokenFromPerson(refusedBefore) {
  const entry = $("token-field");
  const others = $("content").hidden;
  $("token").hidden = false;
  $("content").hidden = true;
  $("token-problem").textContent = refusedBefore ? "This token was not accepted." : "";
  entry.value = "";
  entry.focus();
  return new Promise((resolve) => {
    $("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      $("token").hidden = true;
      $("content").hidden = others;
      resolve(entry.value);
    }, { once: true });
  });
}
